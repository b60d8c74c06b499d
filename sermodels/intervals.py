"""How far a figure of a test side can be trusted: bootstrap over speakers.

Clips of one speaker are alike, so clips are no sample of independent size: speakers are drawn, each with all its clips.
S speakers, K emotions, D draws.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000
Confusions = Mapping[str, Sequence[Sequence[int]]]  # speaker → [true][predicted], counts
Figure = Callable[[np.ndarray], np.ndarray]  # (…, K, K) counts → (…)


class Interval(NamedTuple):
    """A figure and the interval that holds its true value with 95 % confidence; infinite where nothing says so."""

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether the sign of the figure is more than noise."""
        return self.low > 0 or self.high < 0


def over_speakers(confusions: Confusions, figure: Figure) -> Interval:
    """A figure of all clips pooled, and its percentile interval when speakers are drawn anew.

    Infinite for a single speaker.
    """
    return _interval([_stacked(confusions, sorted(confusions))], figure)


def difference_over_speakers(one: Confusions, other: Confusions, figure: Figure) -> Interval:
    """How much a figure of one system is above another's, on the same draws of the speakers that both have heard.

    Raises:
        ValueError: they have no speaker in common.
    """
    speakers = sorted(one.keys() & other.keys())
    if not speakers:
        raise ValueError("no speaker in common")
    return _interval([_stacked(one, speakers), _stacked(other, speakers)], figure)


def _stacked(confusions: Confusions, speakers: Sequence[str]) -> np.ndarray:
    return np.array([confusions[speaker] for speaker in speakers], dtype=np.int64)  # (S, K, K)


def _interval(systems: Sequence[np.ndarray], figure: Figure) -> Interval:
    """Of the first system's figure, minus the second's if there is one."""
    speakers = len(systems[0])
    value = _first_minus_second([figure(counts_SKK.sum(0)) for counts_SKK in systems])
    if speakers < 2:
        return Interval(float(value), -np.inf, np.inf)
    draws_DS = np.random.default_rng(0).multinomial(speakers, np.full(speakers, 1 / speakers), size=DRAWS)
    drawn = _first_minus_second([figure(np.tensordot(draws_DS, counts_SKK, 1)) for counts_SKK in systems])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _first_minus_second(figures: Sequence[np.ndarray]) -> np.ndarray:
    return figures[0] - figures[1] if len(figures) > 1 else figures[0]
