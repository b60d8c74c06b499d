"""Intervals against figures from a table of Student's t."""

import math

import pytest

from sermodels.evaluation.noise import interval, lead


def test_the_interval_of_four_values_is_that_of_the_table():
    mean, low, high = interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182 * 1.29099 / 2  # t(0.975, 3 degrees) · standard deviation / √4
    assert mean == 2.5
    assert (low, high) == (pytest.approx(2.5 - half, abs=1e-3), pytest.approx(2.5 + half, abs=1e-3))


def test_one_value_says_nothing_of_the_noise():
    assert interval([0.4]) == (0.4, -math.inf, math.inf)
    assert not interval([0.4]).excludes_zero()


def test_a_lead_is_judged_lane_by_lane():
    one = {"fold 0": 0.30, "fold 1": 0.62, "fold 2": 0.45}
    other = {"fold 0": 0.25, "fold 1": 0.56, "fold 2": 0.40, "fold 3": 0.9}
    ahead = lead(one, other)  # folds differ far more than the two do
    assert ahead.value == pytest.approx((0.05 + 0.06 + 0.05) / 3)
    assert ahead.excludes_zero()
    assert not lead(one, one).excludes_zero()


def test_without_a_common_lane_nothing_is_compared():
    assert lead({"fold 0": 0.3}, {"fold 1": 0.2}) is None
