"""Losses against figures counted by hand, the learning rate, and what is measured after an epoch."""

import math

import pytest
import torch

from sermodels.config.settings import STAGES, ChainConfig, StageSettings
from sermodels.networks.factory import Builder
from sermodels.networks.network import Output
from sermodels.training.batches import Batch
from sermodels.training.losses import learning_rate, loss_of, measure

LOGITS = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0], [50.0, -50.0]])
LABELS = torch.tensor([1, 1, 1])
FEATURES = torch.tensor([[1.0, 2.0], [0.0, 0.0], [9.0, 9.0]])
TARGETS = torch.tensor([[0.0, 4.0], [0.0, 1.0], [0.0, 0.0]])
OUTPUT = Output(LOGITS, FEATURES)
CROSS_ENTROPIES = [math.log(4 / 3), math.log(5), 100.0]
DISTANCES = [1.5, 0.5, 9.0]  # mean over D


def batch(weights: list[float]) -> Batch:
    return Batch(torch.empty(3, 1, 2, 2), LABELS, torch.tensor(weights), TARGETS)


@pytest.mark.parametrize(
    ("weights", "rows"), [([1, 1, 1], [0, 1, 2]), ([1, 1, 0], [0, 1]), ([0, 1, 0], [1])], ids=["all", "two", "one"]
)
def test_losses_are_means_over_the_rows_that_weigh(weights, rows):
    entropy = sum(CROSS_ENTROPIES[row] for row in rows) / len(rows)
    distance = sum(DISTANCES[row] for row in rows) / len(rows)
    expected = {"teacher": entropy, "match": distance, "student": entropy + 0.3 * distance}
    for stage in STAGES:
        loss = loss_of(stage, ChainConfig(alpha=0.3))(OUTPUT, batch(weights))
        assert loss.item() == pytest.approx(expected[stage], rel=1e-6)


@pytest.mark.parametrize("stage", STAGES)
def test_a_batch_of_padding_alone_is_a_loss_of_zero_without_gradient(stage):
    logits, features = LOGITS.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    loss = loss_of(stage, ChainConfig())(Output(logits, features), batch([0, 0, 0]))
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, [logits, features], allow_unused=True):
        assert gradient is None or not gradient.any()


def test_no_gradient_flows_from_a_stage_to_what_it_does_not_judge():
    logits, features = LOGITS.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    for stage, used in {"teacher": [True, False], "match": [False, True], "student": [True, True]}.items():
        loss = loss_of(stage, ChainConfig())(Output(logits, features), batch([1, 1, 1]))
        gradients = torch.autograd.grad(loss, [logits, features], allow_unused=True)
        assert [gradient is not None for gradient in gradients] == used


def test_the_learning_rate_is_halved_every_so_many_epochs():
    settings = StageSettings(lr=0.08, halve_every=3)
    assert [learning_rate(settings, epoch) for epoch in range(1, 8)] == [0.08, 0.08, 0.08, 0.04, 0.04, 0.04, 0.02]
    paper = ChainConfig().teacher
    assert [learning_rate(paper, epoch) for epoch in (1, 10, 11, 50)] == [1e-4, 1e-4, 5e-5, 1e-4 / 16]


def test_each_stage_has_its_own_settings():
    config = ChainConfig()
    assert [config.settings(stage) for stage in STAGES] == [config.teacher, config.match, config.student]


def test_match_and_student_train_the_same_network_and_the_teacher_is_another(tiny_config):
    build = Builder(config=tiny_config(), image=(32, 32), classes=7)
    teacher, match, student = (build(stage, 3).state_dict() for stage in STAGES)
    assert match.keys() == student.keys() != teacher.keys()
    assert all(torch.equal(match[name], student[name]) for name in match)


def test_each_stage_measures_what_it_trains():
    figures = {stage: measure(stage, OUTPUT, torch.tensor([1, 0, 1]), TARGETS) for stage in STAGES}
    assert figures["teacher"]["val_wa"] == pytest.approx(2 / 3)
    assert figures["teacher"]["val_uar"] == pytest.approx((1 + 1 / 2) / 2)
    assert figures["teacher"]["val_loss"] == pytest.approx((math.log(4 / 3) + math.log(5 / 4) + 100) / 3)
    assert figures["match"]["val_l1"] == pytest.approx(sum(DISTANCES) / 3)
    assert figures["match"]["val_cosine"] == pytest.approx(8 / (5**0.5 * 4) / 3)
    assert figures["student"] == figures["teacher"] | figures["match"]
    assert not figures["teacher"].keys() & figures["match"].keys()
