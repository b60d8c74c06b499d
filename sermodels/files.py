"""Writing files so that a killed process leaves the old one or the new one; of lines appended; hashes."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

AT_ONCE = 1 << 20  # bytes read


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path`, as a whole, at the end.

    Folders on the way are made. After an error in the block the temporary file is gone and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Containers on one file system may have the same process number.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}")
    try:
        yield unfinished
        _flush(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        error.filename = str(path)  # not the temporary one, and `write` names none at all
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete what processes of this machine that were killed within `replacing(path)` have left."""
    for file in path.parent.glob(f".{escape(path.name)}.*"):
        pid = file.name.rpartition(".")[2]
        if pid.isdecimal() and not _is_alive(int(pid)):
            file.unlink(missing_ok=True)


def whole_lines(file: int) -> int:
    """Bytes of an open file up to the end of its last whole line: a killed process may have left a part of one."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - AT_ONCE)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def file_sha256(path: Path) -> str | None:
    """Hash of a file in hex, None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
