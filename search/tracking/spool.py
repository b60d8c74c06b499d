"""What a sweep tells its tracker, on disk first: the tracker may be away, and the process may die at any moment.

In the folder HOME/spool/NAME lie
    records.jsonl  a record a line, in order; only ever appended to
    sent           how many bytes of it the tracker has confirmed
    tracker        address of the tracker, without credentials
    lock           held by the process that writes, while it lives
and the winner's bundle, once there is one.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from search.tracking.records import Record, decode, encode
from sermodels.credentials import without_credentials
from sermodels.errors import UserError
from sermodels.files import replacing, whole_lines

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 16  # read at once: what a slow tracker was sent in vain is sent again


class SpoolClosedError(Exception):
    """The spool was closed by another thread."""


class Spool:
    """The spool of one sweep, open for one process at a time."""

    def __init__(self, folder: Path):
        """Open it; it is made if missing, and a last line that a killed process left unfinished is cut off.

        Raises:
            UserError: another process has it, or it cannot be written.
        """
        self.folder = folder
        self.grown = threading.Event()  # set by `append`; whoever waits for it clears it
        self._unwritten: list[bytes] = []
        self._guard, self._closed = threading.Lock(), False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / "lock", blocking=False, thread_local=False, fallback_to_soft=False)
            self._lock.acquire()
            self._file = os.open(folder / "records.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._size = whole_lines(self._file)
            os.ftruncate(self._file, self._size)
        except Timeout:
            raise UserError(f"sweep {folder.name} is running: another process holds {folder / 'lock'}") from None
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, record: Record) -> None:
        """Write a record. If the disk is full it is kept in memory and written with a later one, in order."""
        with self._open():
            first = not self._unwritten
            self._unwritten.append(encode(record))
            self._write(warn=first)
        self.grown.set()

    def read(self, since: int) -> tuple[list[Record], int]:
        """Records from a byte on, some of them if there are many, and the byte behind the last.

        Raises:
            SpoolClosedError: it was closed.
        """
        with self._open():
            data = os.pread(self._file, min(MOST_BYTES, self._size - since), since)
            if b"\n" not in data:  # none, or one that is longer
                data = os.pread(self._file, self._size - since, since)
        whole = data[: data.rfind(b"\n") + 1]
        return [record for line in whole.splitlines() if (record := _parsed(line, self.folder))], since + len(whole)

    def read_all(self) -> list[Record]:
        """Every record since the sweep began."""
        records, at = [], 0
        while at < self._size:
            more, at = self.read(at)
            records += more
        return records

    @property
    def sent(self) -> int:
        """How many bytes the tracker has confirmed."""
        try:
            return min(int((self.folder / "sent").read_text()), self._size)
        except (OSError, ValueError):
            return 0

    def mark_sent(self, to: int) -> None:
        """Note that the tracker has confirmed everything before a byte; a full disk costs sending it again."""
        try:
            with self._open(), replacing(self.folder / "sent") as unfinished:
                unfinished.write_text(str(to))
        except OSError as error:
            logger.warning("%s: cannot be written: %s", self.folder / "sent", error)

    @property
    def unsent(self) -> int:
        """How many bytes the tracker has not confirmed."""
        return self._size - self.sent

    def close(self) -> None:
        """Write what a full disk kept back, and let others have the spool."""
        with self._open():
            self._write(warn=False)
            if self._unwritten:
                logger.warning("%s: still cannot be written: %d records are lost", self.folder, len(self._unwritten))
            self._closed = True
            os.close(self._file)
        self._lock.release()

    @contextmanager
    def _open(self) -> Iterator[None]:
        """One thread at a time, and none after the end: the number of the file may be another's by then."""
        with self._guard:
            if self._closed:
                raise SpoolClosedError(str(self.folder))
            yield

    def _write(self, *, warn: bool) -> None:
        data = memoryview(b"".join(self._unwritten))
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            os.ftruncate(self._file, self._size)  # no part of a line stays
            if warn:
                logger.warning("%s: cannot be written, kept in memory: %s", self.folder, error.strerror)
            return
        self._size += sum(map(len, self._unwritten))
        self._unwritten.clear()


def read_records(folder: Path) -> list[Record]:
    """Every whole record of a spool; another process may be writing it."""
    data = (folder / "records.jsonl").read_bytes()
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return [record for line in lines if (record := _parsed(line, folder))]


def remember_tracker(folder: Path, uri: str) -> None:
    """Note where a spool is sent; a name and password in the address are left out."""
    with replacing(folder / "tracker") as unfinished:
        unfinished.write_text(without_credentials(uri))


def remembered_tracker(folder: Path) -> str | None:
    """Where a spool is sent, as far as it is known."""
    try:
        return (folder / "tracker").read_text().strip() or None
    except OSError:
        return None


def _parsed(line: bytes, folder: Path) -> Record | None:
    try:
        return decode(line)
    except ValueError as error:
        logger.warning("%s: a damaged line is passed over: %s", folder / "records.jsonl", error)
        return None
