"""What a chain says of its lanes together: after each epoch, and at its end."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sermodels.cache import History
from sermodels.stages import StageName


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


def mean_over_lanes(stage: StageName, epoch: int, histories: list[History], active: Sequence[int]) -> dict[str, float]:
    """What is reported of an epoch: its metrics as STAGE/NAME, the spread of the UAR, the share that was reused.

    Args:
        stage: the metrics are of.
        epoch: 1 is the first.
        histories: of each lane.
        active: the lanes that were trained, not reused.
    """
    rows = [history[epoch - 1] for history in histories]
    metrics = {f"{stage}/{name}": statistics.fmean(row[name] for row in rows) for name in rows[0]}
    if "val_uar" in rows[0]:
        spread = statistics.stdev(row["val_uar"] for row in rows) if len(rows) > 1 else 0.0
        metrics[f"{stage}/val_uar_std"] = spread
    return metrics | {f"{stage}/reused": 1 - len(active) / len(rows)}
