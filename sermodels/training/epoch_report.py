"""What a chain reports after each epoch of a stage."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sermodels.config.settings import StageName
from sermodels.training.cache import History


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch of a stage: its metrics, means over the lanes of a configuration."""

    stage: StageName
    epoch: int  # within the stage; 1 is the first
    metrics: Mapping[str, float]  # loss, lr, seconds of a lane, val_…, and val_uar_std: the spread over lanes
    reused: float  # share of the lanes whose epoch came from the cache, 0…1

    def figures(self) -> dict[str, float]:
        """Return metrics and share under the names that trackers show: `teacher/val_uar`, `teacher/reused`."""
        return {f"{self.stage}/{name}": value for name, value in {**self.metrics, "reused": self.reused}.items()}


Report = Callable[[EpochReport], None]


def mean_over_lanes(stage: StageName, epoch: int, histories: Sequence[History], trained: int) -> EpochReport:
    """Return the report of an epoch.

    Args:
        stage: that the histories are of.
        epoch: 1 is the first.
        histories: of each lane.
        trained: how many of the lanes were trained in this epoch, not taken from the cache.
    """
    rows = [history[epoch - 1] for history in histories]
    metrics = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    if "val_uar" in rows[0]:
        metrics["val_uar_std"] = statistics.stdev(row["val_uar"] for row in rows) if len(rows) > 1 else 0.0
    return EpochReport(stage=stage, epoch=epoch, metrics=metrics, reused=1 - trained / len(rows))
