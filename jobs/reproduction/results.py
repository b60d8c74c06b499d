"""What has been measured: one JSON file, a line a lane, under the name of what determined it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from search.run.stage_graph import Measured, Wanted
from sermodels.config.parsing import to_plain
from sermodels.config.settings import Lane
from sermodels.errors import UserError
from sermodels.files import replacing

NEEDED = {
    "fold",
    "seed",
    "wa",
    "uar",
    "items",
    "best_epoch",
    "epochs",
    "confusion",
    "trained_by",
    "config",
}  # of a lane
LaneRecord = Mapping[str, Any]  # a Measured as JSON has it, of which an older file may lack what is not NEEDED


class Results:
    """The lanes measured so far, by any run on any machine."""

    def __init__(self, path: Path):
        """Open a file of results, or begin one.

        Raises:
            UserError: it is there and holds something else.
        """
        self.path = path
        self._lanes = self._read()

    def __contains__(self, key: str) -> bool:
        return key in self._lanes

    def add(self, lanes: Mapping[str, Measured]) -> None:
        """Keep some lanes; the file is replaced as a whole. Another run may be adding to it, too."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            self._lanes = self._read() | {key: to_plain(lane) for key, lane in lanes.items()}
            lines = [f"{json.dumps(key)}: {json.dumps(self._lanes[key])}" for key in sorted(self._lanes)]
            with replacing(self.path) as unfinished:
                unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")

    def missing(self, wanted: Wanted) -> list[Wanted]:
        """What is still to be measured of a configuration."""
        return wanted.only([stage.lane for stage in wanted.of_lanes() if stage.id not in self])

    def of(self, wanted: Wanted) -> list[LaneRecord]:
        """The lanes of a configuration, each with its `key`: of its folds, and of every seed that has all of them.

        Of the seeds asked for those too that lack some, if no seed is complete.
        """
        folds = wanted.config.folds
        by_seed = {
            seed: [
                {"key": stage.id, **self._lanes[stage.id]}
                for fold in folds
                if (stage := wanted.of_lane(Lane(fold, seed))).id in self._lanes
            ]
            for seed in sorted({lane["seed"] for lane in self._lanes.values()})
        }
        complete = [lane for lanes in by_seed.values() if len(lanes) == len(folds) for lane in lanes]
        return complete or [lane for seed in wanted.config.seeds for lane in by_seed.get(seed, [])]

    def _read(self) -> dict[str, LaneRecord]:
        if not self.path.exists():
            return {}
        try:
            lanes = json.loads(self.path.read_text("utf-8"))
            lacking = {name: NEEDED - lane.keys() for name, lane in lanes.items() if NEEDED - lane.keys()}
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"{self.path}: not results of jobs/paper.py ({error}): move it away") from None
        for name, keys in lacking.items():
            raise UserError(f"{self.path}: {name[:12]} has no {min(keys)}: not results of jobs/paper.py: move it away")
        return lanes


def pooled(lanes: Sequence[LaneRecord]) -> dict[str, np.ndarray]:
    """Confusion matrices of some lanes added up, by speaker."""
    total: dict[str, np.ndarray] = {}
    for lane in lanes:
        for speaker, counts in lane["confusion"].items():
            total[speaker] = total.get(speaker, 0) + np.array(counts)
    return total
