"""What has been measured: one JSON file, a line a lane, under the name of what determined it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from search.stage_graph import Measured, Wanted, result_key
from sermodels.errors import UserError
from sermodels.files import replacing


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
            self._lanes = self._read() | lanes
            lines = [f"{json.dumps(key)}: {json.dumps(self._lanes[key])}" for key in sorted(self._lanes)]
            with replacing(self.path) as unfinished:
                unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")

    def _read(self) -> dict[str, Measured]:
        if not self.path.exists():
            return {}
        try:
            lanes = json.loads(self.path.read_text("utf-8"))
            if not all("confusion" in lane for lane in lanes.values()):
                raise ValueError("a lane without confusion matrices")
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UserError(f"{self.path}: not results of jobs/paper.py ({error}): move it away") from None
        return lanes

    def of(self, wanted: Wanted) -> list[Measured]:
        """All lanes of a configuration, those of other folds and seeds too; each with its `key`."""
        found = [
            {"key": key} | lane
            for key, lane in self._lanes.items()
            if key == result_key(wanted, (lane["fold"], lane["seed"]))
        ]
        return sorted(found, key=lambda lane: (lane["seed"], lane["fold"]))


def pooled(lanes: Sequence[Measured]) -> dict[str, np.ndarray]:
    """Confusion matrices of some lanes added up, by speaker."""
    total: dict[str, np.ndarray] = {}
    for lane in lanes:
        for speaker, counts in lane["confusion"].items():
            total[speaker] = total.get(speaker, 0) + np.array(counts)
    return total
