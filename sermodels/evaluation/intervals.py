"""How far a figure of a test side can be trusted: bootstrap over speakers.

Clips of one speaker are alike, so clips are no sample of independent size: speakers are drawn, each with all its clips.
The plain percentile interval is too narrow for few of them; its tails are widened as Hesterberg (2015, The American
Statistician 69, section 3.1) does, by Student's t and √(n / (n − 1)), where n counts what is independent: the speakers,
or the networks that answered them if those are fewer, since two speakers of one fold share a network's luck. Left out
is what other seeds would have made of the same folds.

S speakers, K emotions, D draws.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

CONFIDENCE = 0.95
DRAWS = 20_000
Confusions = Mapping[str, Sequence[Sequence[int]]]  # speaker → [true][predicted], counts
Figure = Callable[[np.ndarray], np.ndarray]  # (…, K, K) counts → (…)


class Interval(NamedTuple):
    """A figure, and the interval that holds its true value with about 95 % confidence; infinite if nothing is known."""

    value: float
    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether the sign of the figure is more than noise."""
        return self.low > 0 or self.high < 0


def over_speakers(confusions: Confusions, figure: Figure, networks: int) -> Interval:
    """A figure of all clips pooled, and its interval when speakers are drawn anew.

    Args:
        confusions: of each speaker.
        figure: `metrics.uar` or `metrics.wa`.
        networks: how many, trained on different folds, answered. Infinite for one network or one speaker.
    """
    return _interval([_stacked(confusions, sorted(confusions))], figure, networks)


def difference_over_speakers(one: Confusions, other: Confusions, figure: Figure, networks: int) -> Interval:
    """How much a figure of one system is above another's, on the same draws of the speakers that both have heard.

    Raises:
        ValueError: they have no speaker in common.
    """
    speakers = sorted(one.keys() & other.keys())
    if not speakers:
        raise ValueError("no speaker in common")
    return _interval([_stacked(one, speakers), _stacked(other, speakers)], figure, networks)


def _stacked(confusions: Confusions, speakers: Sequence[str]) -> np.ndarray:
    return np.array([confusions[speaker] for speaker in speakers], dtype=np.int64)  # (S, K, K)


def _interval(systems: Sequence[np.ndarray], figure: Figure, networks: int) -> Interval:
    """Of the first system's figure, minus the second's if there is one."""
    speakers = len(systems[0])
    value = _first_minus_second([figure(counts_SKK.sum(0)) for counts_SKK in systems])
    independent = min(speakers, networks)
    if independent < 2:
        return Interval(float(value), -math.inf, math.inf)
    draws_DS = np.random.default_rng(0).multinomial(speakers, np.full(speakers, 1 / speakers), size=DRAWS)
    drawn = _first_minus_second([figure(np.tensordot(draws_DS, counts_SKK, 1)) for counts_SKK in systems])
    tail = _tail(independent)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _tail(independent: int) -> float:
    """The share of the draws beyond either end of the interval."""
    quantile = student_t.ppf((1 + CONFIDENCE) / 2, independent - 1)
    return float(norm.cdf(-math.sqrt(independent / (independent - 1)) * quantile))


def _first_minus_second(figures: Sequence[np.ndarray]) -> np.ndarray:
    return figures[0] - figures[1] if len(figures) > 1 else figures[0]
