"""Bootstrap over speakers against distributions worked out by hand."""

import math

import numpy as np
import pytest

from sermodels.intervals import difference_over_speakers, over_speakers
from sermodels.metrics import uar, wa

RIGHT, WRONG = [[4, 0], [0, 4]], [[0, 4], [4, 0]]


def of(*hits: int, of_each: int = 10) -> dict[str, list[list[int]]]:
    """Speakers with so many of ten clips of each of two emotions right."""
    return {f"s{i}": [[n, of_each - n], [of_each - n, n]] for i, n in enumerate(hits)}


def test_the_figure_is_that_of_all_clips_pooled():
    confusions = {"a": [[8, 0], [2, 2]], "b": [[1, 3], [0, 4]]}
    assert over_speakers(confusions, uar).value == pytest.approx((9 / 12 + 6 / 8) / 2)
    assert over_speakers(confusions, wa).value == pytest.approx(15 / 20)


def test_two_speakers_are_drawn_twice_in_a_quarter_of_the_draws_each():
    found = over_speakers({"a": RIGHT, "b": WRONG}, uar)
    assert found == (0.5, 0.0, 1.0)


def test_one_speaker_says_nothing_of_others():
    assert over_speakers({"a": RIGHT}, wa) == (1.0, -math.inf, math.inf)


def test_the_interval_is_about_the_normal_one_for_many_speakers():
    rng = np.random.default_rng(0)
    hits = rng.integers(3, 10, size=200)
    found = over_speakers(of(*hits), wa)
    half = 1.96 * np.std(hits / 10) / math.sqrt(len(hits))
    assert found.low == pytest.approx(found.value - half, abs=half / 20)
    assert found.high == pytest.approx(found.value + half, abs=half / 20)


def test_a_difference_is_taken_on_the_same_speakers():
    """Speakers differ far more than the systems do; drawn together, that cancels."""
    one, other = of(2, 4, 6, 8, 10), of(1, 3, 5, 7, 9)
    assert difference_over_speakers(one, other, wa) == pytest.approx((0.1, 0.1, 0.1))
    assert difference_over_speakers(one, one, uar) == (0, 0, 0)
    assert not difference_over_speakers(one, one, uar).excludes_zero()
    assert difference_over_speakers(one, other, wa).excludes_zero()
    assert over_speakers(one, wa).low < over_speakers(other, wa).high


def test_only_speakers_that_both_heard_count():
    one, other = of(5, 5, 10), of(5, 5)
    assert difference_over_speakers(one, other, wa).value == 0
    with pytest.raises(ValueError, match="no speaker in common"):
        difference_over_speakers({"a": RIGHT}, {"b": RIGHT}, wa)


def test_the_interval_is_the_same_every_time():
    assert over_speakers(of(1, 5, 9), uar) == over_speakers(of(1, 5, 9), uar)
