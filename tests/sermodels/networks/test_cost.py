"""The published sizes of the paper's networks: parameters to the last one, MACs as printed and as counted by hand."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sermodels.config.settings import ChainConfig, Teacher
from sermodels.networks.cost import costs, count_macs, count_parameters
from sermodels.networks.factory import build_student, build_teacher
from sermodels.networks.network import Network

IMAGE, CLASSES, TOKENS = (128, 128), 7, 1 + 128
PAPER = ChainConfig()
LARGE = ChainConfig(teacher=Teacher(depth=12, heads=12))


def vit_macs(depth: int, heads: int, channels: int) -> int:
    """Patch embedding, blocks and classifier at token size 256, MLP size 256 and head size 64."""
    attention = TOKENS * 256 * 4 * heads * 64 + 2 * heads * TOKENS**2 * 64
    return 128 * channels * 128 * 256 + depth * (attention + TOKENS * 256 * 256 * 2) + 256 * CLASSES


STEM_MACS = 128 * 128 * 9 * sum(before * after for before, after in pairwise((1, *PAPER.teacher.stem)))


@pytest.mark.parametrize(
    ("build", "config", "parameters", "printed_gmacs", "macs"),
    [
        (build_teacher, PAPER, 2_912_200, 1.19, STEM_MACS + vit_macs(6, 5, channels=3)),
        (build_student, PAPER, 1_417_991, 0.21, vit_macs(3, 5, channels=1)),
        (build_teacher, LARGE, 11_180_488, 2.50, STEM_MACS + vit_macs(12, 12, channels=3)),
    ],
    ids=["teacher 6/5", "student 3/5", "teacher 12/12"],
)
def test_sizes_are_the_published_ones(build, config, parameters, printed_gmacs, macs):
    network: Network = build(config, IMAGE, CLASSES, 0)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    assert count_parameters(network) == parameters
    assert count_macs(network, IMAGE) == macs
    assert round(macs / 1e9, 2) == printed_gmacs
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())  # nothing was moved away


def test_student_costs_the_same_whatever_its_teacher():
    assert count_parameters(build_student(LARGE, IMAGE, CLASSES, 0)) == 1_417_991


@pytest.mark.parametrize("patch", ["128x1", "16x16", "8x32"])
@pytest.mark.parametrize("build", [build_teacher, build_student])
def test_macs_are_those_that_torch_counts_while_all_tokens_are_computed(build, patch):
    config = ChainConfig(patch=patch, dim=20, mlp=12, head_dim=6, teacher=Teacher(depth=2, heads=3, stem=(4, 2)))
    network = build(config, IMAGE, CLASSES, 0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.classify(network.encoder(network._tokens(torch.rand(1, 1, *IMAGE)))[:, 0])
    assert count_macs(network, IMAGE) == counter.get_total_flops() // 2


def test_costs_are_those_of_the_paper():
    figures = costs(ChainConfig(), (128, 128), 7)
    assert figures["teacher/parameters"] == 2_912_200
    assert figures["student/parameters"] == 1_417_991
    assert figures["teacher/macs"] > 5 * figures["student/macs"]
