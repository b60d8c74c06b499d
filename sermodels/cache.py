"""Finished and half-finished lanes of stages on disk, by the key of all that determined them.

    ROOT/STAGE/KEY/latest.safetensors       the last epoch of a stage under way
    ROOT/STAGE/KEY/epoch-0050.safetensors   a stage trained to the end, for some number of epochs
    ROOT/STAGE/KEY/features-0050.safetensors  the finished teacher's features of its fold's rows

A checkpoint is a lane's state, with its history and provenance as JSON in the header: one file, replaced as a whole;
reading it executes nothing.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from sermodels.files import replacing

logger = logging.getLogger(__name__)

History = list[dict[str, float]]  # the metrics of epoch 1, 2, …


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A lane of a stage after some epoch; its tensors are still on disk.

    The file is held open: another process may replace or delete it, and it is still this epoch that is loaded.
    """

    file: safe_open
    epoch: int
    history: History  # one entry an epoch

    def load(self, device: str = "cpu") -> dict[str, Tensor]:
        """The lane's state."""
        return {name: self.file.get_tensor(name).to(device) for name in self.file.keys()}  # noqa: SIM118


class StageCache:
    """The checkpoints below one folder; safe for many processes on one shared file system."""

    def __init__(self, root: Path):
        self.root = root

    def find(self, stage: str, key: str, epochs: int) -> Checkpoint | None:
        """The furthest checkpoint not past `epochs`, or None. An unreadable file is passed over with a warning."""
        folder = self.root / stage / key
        wanted = folder / f"epoch-{epochs:04}.safetensors"
        if checkpoint := _open(wanted):
            return checkpoint
        others = {*folder.glob("epoch-*.safetensors"), folder / "latest.safetensors"} - {wanted}
        found = [checkpoint for path in others if (checkpoint := _open(path)) and checkpoint.epoch <= epochs]
        return max(found, key=lambda checkpoint: checkpoint.epoch, default=None)

    def save(
        self,
        stage: str,
        key: str,
        state: Mapping[str, Tensor],
        history: History,
        *,
        finished: bool,
        about: Mapping[str, Any],
    ) -> None:
        """Write the state after epoch len(history), replacing the one of the epoch before.

        Args:
            stage: name of the stage.
            key: of the lane.
            state: its tensors.
            history: metrics of each epoch so far.
            finished: this was the stage's last epoch.
            about: what determined it and where it was computed; for people, not read back.
        """
        folder = self.root / stage / key
        name = f"epoch-{len(history):04}" if finished else "latest"
        header = {"history": json.dumps(history), "about": json.dumps(about)}
        _write(folder / f"{name}.safetensors", state, header)
        if finished:
            (folder / "latest.safetensors").unlink(missing_ok=True)

    def load_features(self, key: str, epochs: int) -> Tensor | None:
        """The features of a teacher trained for `epochs`, (R, D) for the R rows of its fold in order; or None.

        An unreadable file is passed over with a warning.
        """
        path = self.root / "teacher" / key / f"features-{epochs:04}.safetensors"
        try:
            return load_file(path)["features"]
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError) as error:
            logger.warning("%s: not readable features, passed over: %s", path, error)
            return None

    def save_features(self, key: str, epochs: int, features_RD: Tensor) -> None:
        """Keep the features of a finished teacher, for the R rows of its fold in order."""
        path = self.root / "teacher" / key / f"features-{epochs:04}.safetensors"
        _write(path, {"features": features_RD}, {})


def _open(path: Path) -> Checkpoint | None:
    try:
        file = safe_open(path, "pt", backend="pread")  # header and tensors are then read of one open file
        history = json.loads(file.metadata()["history"])
        epoch = len(history)
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s: not a readable checkpoint, passed over: %s", path, error)
        return None
    return Checkpoint(file=file, epoch=epoch, history=history)


def _write(path: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> None:
    with replacing(path) as unfinished:
        # Not save_file, whose files only their owner may read: a home may be shared.
        unfinished.write_bytes(save({name: t.contiguous().cpu() for name, t in tensors.items()}, header))
