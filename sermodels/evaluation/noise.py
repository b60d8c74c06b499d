"""Is it more than noise? Intervals of means over lanes, and of the difference between two configurations."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TypeVar

from scipy.stats import t as student_t

from sermodels.evaluation.intervals import CONFIDENCE, Interval

K = TypeVar("K")


def interval(values: Sequence[float]) -> Interval:
    """Of the mean of values, n ≥ 1, by Student's t."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def lead(one: Mapping[K, float], other: Mapping[K, float]) -> Interval | None:
    """Of the difference between two configurations on the lanes that both have, lane by lane; None if there are none.

    Args:
        one: lane, or fold → score.
        other: the same of the other.
    """
    common = [lane for lane in one if lane in other]
    return interval([one[lane] - other[lane] for lane in common]) if common else None
