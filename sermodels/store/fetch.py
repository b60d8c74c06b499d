"""A store that lies elsewhere: fetched once a machine from S3, Google Cloud, HDFS or a shared folder, and checked."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa
from filelock import FileLock

from sermodels.credentials import without_credentials
from sermodels.errors import UserError
from sermodels.files import remove_leftovers, replacing
from sermodels.store.open import manifest_of, open_store

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

Progress = Callable[[int, int], None]  # megabytes fetched, of how many
CHUNK = 8 << 20  # bytes of a request; one of S3 takes some 50 ms before the first byte


def copies() -> Path:
    """Where fetched stores are kept on this machine: `ser-search/stores` in the user's cache; safe to delete."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ser-search" / "stores"


class _DamagedError(Exception):
    """What was fetched is not what was built."""


def is_address(where: str) -> bool:
    """Whether a store is to be fetched, and does not lie at a path."""
    return "://" in where


def local_store(where: str, progress: Progress = lambda *_: None, fingerprint: str | None = None) -> Path:
    """The file of a store on this machine. What an address names is fetched, unless a copy is here already.

    Processes that ask at the same time wait for the one that fetches. The copy is verified, image by image, before it
    gets its name, which is its fingerprint.

    Args:
        where: a path, which is taken as it is; or an address of pyarrow's file systems: `s3://bucket/emodb.arrow`,
            `s3://bucket/emodb.arrow?endpoint_override=127.0.0.1:9000&scheme=http`, `gs://…`, `hdfs://…`; with
            `file:///shared/emodb.arrow` also from a shared folder. Credentials are found as usual there: in the
            environment, in ~/.aws/credentials, by the machine's role.
        progress: called while fetching.
        fingerprint: of the store that is expected; with it, nothing is asked of the network once the copy is here.

    Raises:
        UserError: nothing there, no connection, not a store, damaged, or another one than expected.
    """
    if not is_address(where):
        return Path(where)
    shown = without_credentials(where)
    if fingerprint and (copy := copies() / f"{fingerprint}.arrow").exists():
        return copy
    try:
        system, path = _file_system(where)
        with system.open_input_file(path) as remote:
            found = manifest_of(shown, pa.ipc.open_file(remote).schema).fingerprint
        if fingerprint not in (None, found):
            raise UserError(f"{shown}: holds the store {found[:12]} now, not {fingerprint[:12]}")
        return _fetched(system, path, copies() / f"{found}.arrow", progress)
    except _DamagedError as error:
        raise UserError(f"{shown}: damaged there, or on the way: {error}") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{shown}: cannot be fetched: {without_credentials(str(error))}") from None


def _file_system(address: str) -> "tuple[FileSystem, str]":
    from pyarrow.fs import FileSystem  # loads the clients of all clouds

    found: tuple[FileSystem, str] = FileSystem.from_uri(address)
    return found


def _fetched(system: "FileSystem", path: str, copy: Path, progress: Progress) -> Path:
    copy.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(copy.with_suffix(".lock")):
        if copy.exists():
            return copy
        remove_leftovers(copy)
        with replacing(copy) as unfinished:
            with system.open_input_file(path) as remote, unfinished.open("wb") as file:
                _copy(remote, file, progress)
            _verify(unfinished, copy.stem)
    return copy


def _verify(file: Path, fingerprint: str) -> None:
    try:
        store = open_store(file)
        store.verify()
        if store.fingerprint != fingerprint:
            raise _DamagedError(f"it was replaced by the store {store.fingerprint[:12]} meanwhile; type the same again")
    except UserError as error:
        raise _DamagedError(str(error).removeprefix(f"{file}: ").partition(";")[0]) from None


def _copy(remote: pa.NativeFile, file: IO[bytes], progress: Progress) -> None:
    size = remote.size()
    while chunk := remote.read(CHUNK):
        file.write(chunk)
        progress(file.tell() // 10**6, size // 10**6)
