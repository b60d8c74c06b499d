"""Writing files so that a killed process leaves the old one or the new one, never a part."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
