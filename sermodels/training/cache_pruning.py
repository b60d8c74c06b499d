"""Keeping the stage cache below a size: the least recently used lanes of stages go first."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from sermodels.training.cache import StageCache, lock_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Lane:
    """The checkpoints and features of one lane of a stage."""

    folder: Path
    files: list[Path]
    size: int  # bytes
    used_s: float  # last written or found, since 1970


def prune(cache: StageCache, most: float) -> int:
    """Delete checkpoints and features until the cache holds at most `most` bytes; returns the bytes deleted.

    A lane goes as a whole, but for its training log. One that a process is training stays. Whoever needs what was
    deleted trains it again.
    """
    lanes = sorted(_lanes(cache.root), key=lambda lane: lane.used_s)
    total = before = sum(lane.size for lane in lanes)
    for lane in lanes:
        if total <= most:
            break
        total -= _delete(lane)
    if before > total:
        logger.info("%s: %.2f of %.2f GB deleted", cache.root, (before - total) / 1e9, before / 1e9)
    return before - total


def _lanes(root: Path) -> list[_Lane]:
    return [lane for folder in root.glob("*/*") if (lane := _lane(folder))]


def _lane(folder: Path) -> _Lane | None:
    """What a folder holds; None if nothing that could be deleted."""
    about = [(path, stat) for path in folder.glob("*.safetensors") if (stat := _stat(path))]
    if not about:
        return None
    size, used_s = sum(stat.st_size for _, stat in about), max(stat.st_mtime for _, stat in about)
    return _Lane(folder=folder, files=[path for path, _ in about], size=size, used_s=used_s)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # others go on meanwhile
        return None


def _delete(lane: _Lane) -> int:
    """Returns the bytes deleted: none of a lane that is being trained, was used meanwhile, or is another user's."""
    try:
        with lock_of(lane.folder):
            now = _lane(lane.folder)
            if now is None or now.used_s > lane.used_s:
                return 0
            for path in now.files:
                path.unlink(missing_ok=True)
            return now.size
    except Timeout:
        return 0
    except OSError as error:
        logger.warning("%s: cannot be pruned: %s", lane.folder, error)
        return 0
