"""What a finished chain reports: the figures of its lanes, and the seconds that were trained and reused."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sermodels.config.settings import StageName
from sermodels.training.cache import History, StageCache
from sermodels.training.stage import Stage


class Seconds(NamedTuple):
    """Of training."""

    trained: float
    reused: float  # epochs from the cache: the seconds that they took where they were trained


@dataclass(frozen=True, kw_only=True)
class ChainResult:
    """What a finished chain says of its configuration; one entry a lane, in the order of `ChainConfig.lanes`."""

    val_uar: tuple[float, ...]  # of the last epoch
    val_wa: tuple[float, ...]
    val_macro_f1: tuple[float, ...]
    best_val_uar: tuple[float, ...]  # of the best epoch: told, never used to select
    trained_seconds: Mapping[StageName, float]  # spent by this chain's owner on epochs, all lanes
    reused_seconds: Mapping[StageName, float]  # spent by others, who left their epochs in the cache

    def summary(self) -> dict[str, float]:
        """Mean and standard deviation over lanes, and seconds, under the names that trackers show."""
        figures: dict[str, float] = {}
        for name in ("val_uar", "val_wa", "val_macro_f1", "best_val_uar"):
            values = getattr(self, name)
            figures[name] = statistics.fmean(values)
            figures[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
        for name in ("trained_seconds", "reused_seconds"):
            seconds = getattr(self, name)
            figures |= {f"{stage}/{name}": spent for stage, spent in seconds.items()} | {name: sum(seconds.values())}
        return figures


def seconds_of(cache: StageCache, stages: Sequence[Stage], histories: Sequence[History], owner: str) -> Seconds:
    """Return the seconds of a stage's epochs, all lanes: those that an owner trained, and those that others did.

    Args:
        cache: with the training log.
        stages: of each lane.
        histories: of each lane.
        owner: as the training log has it.
    """
    trained = reused = 0.0
    for stage, history in zip(stages, histories, strict=True):
        owners = cache.owners(stage)
        for epoch, row in enumerate(history, start=1):
            own = owners.get(epoch) == owner
            trained, reused = trained + own * row["seconds"], reused + (not own) * row["seconds"]
    return Seconds(trained, reused)
