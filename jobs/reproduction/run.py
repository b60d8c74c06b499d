"""Training what the tables miss, lane by lane, telling how far it is."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from jobs.reproduction.results import Results
from search.run.stage_graph import Measured, Place, Wanted
from sermodels.training.training_log import read_all


def train(wanted: Mapping[str, Wanted], place: Place, results: Results, address: str | None) -> list[str]:
    """Train and test what is missing of some systems, keeping each lane as it comes; returns why tasks failed.

    Args:
        wanted: the systems by name.
        place: where to train.
        results: what there is, and where to add to.
        address: of a Ray cluster; None: see `ray_session`.
    """
    parts = [part for one in wanted.values() for part in results.missing(one)]
    if not parts:
        return []
    from search.run.cluster import ray_session
    from search.run.stage_graph import run_graph

    names = {stage.id: name for name, one in wanted.items() for stage in one.of_lanes() if stage.id not in results}
    told, failures = _Progress(names), []
    with ray_session(address):
        for lanes, failure in run_graph(parts, place):
            if lanes:
                results.add(lanes)
                told(lanes)
            elif not failure:
                told.alive(Path(place.stages), place.owner)
            if failure:
                failures.append(failure)
                print(f"failed: {failure}", file=sys.stderr, flush=True)
    return failures


class _Progress:
    """A line on standard error for each lane."""

    def __init__(self, names: Mapping[str, str]):
        self._names, self._done, self._began = names, 0, time.time()

    def __call__(self, lanes: Mapping[str, Measured]) -> None:
        for key, lane in lanes.items():
            self._done += 1
            left = self._minutes() / self._done * (len(self._names) - self._done)
            figures = f"WA {lane.wa:.3f}, UAR {lane.uar:.3f}"
            what = f"{self._names[key]}, fold {lane.fold}, seed {lane.seed}: {figures}"
            print(f"{self._far()}, about {left:.0f} left: {what}", file=sys.stderr, flush=True)

    def alive(self, stages: Path, owner: str) -> None:
        """Say how many epochs were trained so far: at the paper's sizes a lane takes hours on a CPU."""
        epochs = sum(entry.owner == owner and entry.time_s >= self._began for entry in read_all(stages))
        print(f"{self._far()}, {epochs} epochs trained", file=sys.stderr, flush=True)

    def _far(self) -> str:
        return f"{self._done}/{len(self._names)} lanes, {self._minutes():.0f} min"

    def _minutes(self) -> float:
        return (time.time() - self._began) / 60
