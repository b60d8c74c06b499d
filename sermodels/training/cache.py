"""Finished and half-finished lanes of stages on disk, by the key of all that determined them.

    ROOT/STAGE/KEY/epoch-0050.safetensors     a lane after 50 epochs: finished, or the latest of one in training
    ROOT/STAGE/KEY/features-0050.safetensors  the finished teacher's features of its fold's rows
    ROOT/STAGE/KEY/training.jsonl             what was trained, by whom and when (training_log.py)
    ROOT/STAGE/KEY/lock                       held by the process that trains it

A checkpoint is a lane's state, with its history and provenance as JSON in the header: one file, written as a whole;
reading it executes nothing. Any number of processes on any number of nodes may share one folder, on a file system with
file locks (flock); each lane of a stage is trained by one of them at a time.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from sermodels.files import replacing
from sermodels.training import training_log
from sermodels.training.stage import Stage
from sermodels.training.training_log import Entry

logger = logging.getLogger(__name__)

History = list[dict[str, float]]  # the metrics of epoch 1, 2, …


class BusyError(Exception):
    """Another process is training a lane of a stage just now."""

    def __init__(self, stage: Stage):
        super().__init__(f"another process is training {stage}")
        self.stage = stage


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A lane of a stage after some epoch; its tensors are still on disk.

    The file is held open: another process may delete it, and it is still this epoch that is loaded.
    """

    file: safe_open
    epoch: int
    history: History  # one entry an epoch

    @property
    def computed_by(self) -> dict[str, Any]:
        """What `StageCache.save` was given as `computed_by`."""
        computed_by: dict[str, Any] = json.loads(self.file.metadata()["about"])["computed by"]
        return computed_by

    def load(self, device: str = "cpu") -> dict[str, Tensor]:
        """The lane's state."""
        return {name: self.file.get_tensor(name).to(device) for name in self.file.keys()}  # noqa: SIM118


class StageCache:
    """The checkpoints below one folder."""

    def __init__(self, root: Path):
        self.root = root

    def find(self, stage: Stage) -> Checkpoint | None:
        """Return the furthest checkpoint not past the stage's epochs. Pass over an unreadable file with a warning."""
        numbered = [
            (epoch, path) for path in _checkpoints(self.folder(stage)) if (epoch := _epoch(path)) <= stage.epochs
        ]
        for _, path in sorted(numbered, reverse=True):
            if checkpoint := _open(path):
                with suppress(OSError):  # another user's, or just deleted
                    os.utime(path)  # the least recently used are pruned first
                return checkpoint
        return None

    def save(
        self, stage: Stage, state: Mapping[str, Tensor], history: History, *, computed_by: Mapping[str, Any]
    ) -> None:
        """Write the state after epoch len(history) and delete older checkpoints of an unfinished stage; claim it first.

        Args:
            stage: that is trained; finished if the history has all its epochs.
            state: the tensors.
            history: metrics of each epoch so far.
            computed_by: where and with what (provenance.py); decides nothing.
        """
        folder, epoch = self.folder(stage), len(history)
        about = {"determined by": stage.determined_by, "computed by": computed_by}
        header = {"history": json.dumps(history), "about": json.dumps(about)}
        header["finished"] = json.dumps(epoch == stage.epochs)
        _write(folder / f"epoch-{epoch:04}.safetensors", state, header)
        killed = folder.glob(".*.safetensors.*")  # what processes were writing when they were killed
        before = (path for path in _checkpoints(folder) if _epoch(path) < epoch and not _is_finished(path))
        for path in (*killed, *before):
            path.unlink(missing_ok=True)

    def has_features(self, teacher: Stage) -> bool:
        """Return whether the features of a finished teacher are there."""
        return self._features(teacher).exists()

    def load_features(self, teacher: Stage) -> Tensor | None:
        """Return the features of a finished teacher, (n, D) for the n rows of its fold in order; or None.

        Pass over an unreadable file with a warning.
        """
        path = self._features(teacher)
        try:
            return load_file(path)["features"]
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError) as error:
            logger.warning("%s: not readable features, passed over: %s", path, error)
            return None

    def save_features(self, teacher: Stage, features_nD: Tensor) -> None:
        """Keep the features of a finished teacher, for the n rows of its fold in order."""
        _write(self._features(teacher), {"features": features_nD}, {})

    def claim(self, stages: Iterable[Stage]) -> ExitStack:
        """Take the right to train some stages; given back at the end of a `with`, or with the process.

        Raises:
            BusyError: another process has one of them; none is held then.
            OSError: the file system knows no locks.
        """
        with ExitStack() as claims:
            for stage in sorted(stages, key=lambda stage: stage.key):
                try:
                    claims.enter_context(lock_of(self.folder(stage)))
                except Timeout:
                    raise BusyError(stage) from None
            return claims.pop_all()

    def is_busy(self, stage: Stage) -> bool:
        """Return whether some process is training a stage just now."""
        try:
            self.claim([stage]).close()
        except BusyError:
            return True
        return False

    def log(self, stage: Stage, *, epoch: int, seconds: float, owner: str) -> None:
        """Record in the training log that an epoch was trained: how long that took, and which trial did it."""
        fold, seed = stage.lane
        entry = Entry(stage=stage.name, key=stage.key, epoch=epoch, fold=fold, seed=seed, seconds=seconds, owner=owner)
        training_log.append(self.folder(stage), entry)

    def owners(self, stage: Stage) -> dict[int, str]:
        """Return who trained each epoch of a stage, by the training log."""
        return {entry.epoch: entry.owner for entry in training_log.read(self.folder(stage))}

    def folder(self, stage: Stage) -> Path:
        """Return where the files of a stage lie."""
        return self.root / stage.name / stage.key

    def _features(self, teacher: Stage) -> Path:
        return self.folder(teacher) / f"features-{teacher.epochs:04}.safetensors"


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a stage, held by the process that trains it; to take a busy one raises `filelock.Timeout`.

    Args:
        folder: that the files of the stage lie in; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "lock", blocking=False, thread_local=False, fallback_to_soft=False)


def _checkpoints(folder: Path) -> Iterable[Path]:
    return folder.glob("epoch-*.safetensors")


def _epoch(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))


def _open(path: Path) -> Checkpoint | None:
    try:
        file = safe_open(path, "pt", backend="pread")  # header and tensors are then read of one open file
        history = json.loads(file.metadata()["history"])
        if len(history) != _epoch(path):
            raise ValueError(f"holds {len(history)} epochs")
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s: not a readable checkpoint, passed over: %s", path, error)
        return None
    return Checkpoint(file=file, epoch=len(history), history=history)


def _is_finished(path: Path) -> bool:
    """False for an unreadable one too: it is of no use."""
    try:
        finished: bool = json.loads((safe_open(path, "pt", backend="pread").metadata() or {})["finished"])
    except (SafetensorError, OSError, KeyError, ValueError):
        return False
    return finished


def _write(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    with replacing(path) as unfinished:
        # Not save_file, whose files only their owner may read: a home may be shared.
        unfinished.write_bytes(save({name: t.contiguous().cpu() for name, t in tensors.items()}, header))
