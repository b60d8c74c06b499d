"""Metrics against figures counted by hand."""

import numpy as np
import pytest
import torch

from sermodels.metrics import cosine, score

TRUTH = np.array([0, 0, 0, 0, 1, 1, 3, 3])  # class 2 does not occur
PREDICTED = np.array([0, 0, 0, 1, 1, 2, 3, 0])


def test_scores_are_those_counted_by_hand():
    scores = score(TRUTH, PREDICTED, classes=4)
    assert scores.wa == 5 / 8
    assert scores.uar == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    f1 = [2 * 3 / (4 + 4), 2 * 1 / (2 + 2), 2 * 1 / (2 + 1)]  # 2 · hits / (true + predicted)
    assert scores.macro_f1 == pytest.approx(sum(f1) / 3)
    assert scores.confusion == [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1]]


@pytest.mark.filterwarnings("error")
def test_one_answer_for_everything_is_chance_and_warns_of_nothing():
    truth = np.repeat(np.arange(7), [10, 1, 1, 1, 1, 1, 1])
    scores = score(truth, np.zeros_like(truth), classes=7)
    assert scores.uar == pytest.approx(1 / 7)
    assert scores.wa == 10 / 16
    assert scores.macro_f1 == pytest.approx(2 * 10 / 26 / 7)


def test_all_right_is_one_even_where_classes_are_missing():
    scores = score(np.array([2, 2, 5]), np.array([2, 2, 5]), classes=7)
    assert (scores.wa, scores.uar, scores.macro_f1) == (1, 1, 1)


def test_cosine_is_the_mean_over_rows_and_blind_to_length():
    features = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    reference = torch.tensor([[6.0, 8.0], [0.0, 5.0], [0.0, -1.0]])
    assert cosine(features, reference) == pytest.approx((1 + 0 - 1) / 3)
