"""Bootstrap over speakers against distributions worked out by hand."""

import math

import numpy as np
import pytest

from sermodels.evaluation import intervals
from sermodels.evaluation.intervals import difference_over_speakers, over_speakers
from sermodels.metrics import uar, wa

RIGHT, WRONG = [[4, 0], [0, 4]], [[0, 4], [4, 0]]


def of(*hits: int, of_each: int = 10) -> dict[str, list[list[int]]]:
    """Speakers with so many of ten clips of each of two emotions right."""
    return {f"s{i}": [[n, of_each - n], [of_each - n, n]] for i, n in enumerate(hits)}


def test_the_figure_is_that_of_all_clips_pooled():
    confusions = {"a": [[8, 0], [2, 2]], "b": [[1, 3], [0, 4]]}
    assert over_speakers(confusions, uar, networks=2).value == pytest.approx((9 / 12 + 6 / 8) / 2)
    assert over_speakers(confusions, wa, networks=2).value == pytest.approx(15 / 20)


def test_two_speakers_say_that_anything_is_possible():
    assert over_speakers({"a": RIGHT, "b": WRONG}, uar, networks=2) == (0.5, 0.0, 1.0)


def test_one_speaker_or_one_network_says_nothing_of_others():
    assert over_speakers({"a": RIGHT}, wa, networks=5) == (1.0, -math.inf, math.inf)
    assert over_speakers({"a": RIGHT, "b": WRONG}, wa, networks=1) == (0.5, -math.inf, math.inf)


def test_the_interval_is_about_the_normal_one_for_many_speakers():
    rng = np.random.default_rng(0)
    hits = rng.integers(3, 10, size=200)
    found = over_speakers(of(*hits), wa, networks=200)
    half = 1.96 * np.std(hits / 10) / math.sqrt(len(hits))
    assert found.low == pytest.approx(found.value - half, abs=half / 20)
    assert found.high == pytest.approx(found.value + half, abs=half / 20)


def test_a_difference_is_taken_on_the_same_speakers():
    """Speakers differ far more than the systems do; drawn together, that cancels."""
    one, other = of(2, 4, 6, 8, 10), of(1, 3, 5, 7, 9)
    assert difference_over_speakers(one, other, wa, networks=5) == pytest.approx((0.1, 0.1, 0.1))
    assert difference_over_speakers(one, one, uar, networks=5) == (0, 0, 0)
    assert not difference_over_speakers(one, one, uar, networks=5).excludes_zero()
    assert difference_over_speakers(one, other, wa, networks=5).excludes_zero()
    assert over_speakers(one, wa, networks=5).low < over_speakers(other, wa, networks=5).high


@pytest.mark.parametrize(("speakers", "folds"), [(10, 10), (10, 5), (5, 5)])
def test_two_systems_that_are_alike_are_rarely_told_apart(speakers, folds, monkeypatch):
    """With speakers of one fold sharing their network's luck; a plain percentile interval is wrong in up to 16 %."""
    monkeypatch.setattr(intervals, "DRAWS", 4000)
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        ability = rng.normal(5, 1, speakers)
        luck = [np.repeat(rng.normal(0, 0.4, folds), speakers // folds) for _ in range(2)]
        one, other = (of(*np.clip(np.rint(ability + own), 0, 10).astype(int)) for own in luck)
        wrong += difference_over_speakers(one, other, wa, folds).excludes_zero()
    assert wrong <= 20


def test_only_speakers_that_both_heard_count():
    one, other = of(5, 5, 10), of(5, 5)
    assert difference_over_speakers(one, other, wa, networks=2).value == 0
    with pytest.raises(ValueError, match="no speaker in common"):
        difference_over_speakers({"a": RIGHT}, {"b": RIGHT}, wa, networks=1)


def test_the_interval_is_the_same_every_time():
    assert over_speakers(of(1, 5, 9), uar, networks=3) == over_speakers(of(1, 5, 9), uar, networks=3)
