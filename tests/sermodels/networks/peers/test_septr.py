"""SepTr: sizes of the paper, what each block may look at, and training through the teacher stage."""

import pytest
import torch

from sermodels.config.settings import ChainConfig, Teacher
from sermodels.networks.cost import count_macs, count_parameters
from sermodels.networks.factory import build_teacher
from sermodels.networks.peers.septr import along_last

IMAGE = (32, 24)


def septr(patch="8x8", depth=1, image=IMAGE, **changes):
    teacher = Teacher(network="septr", depth=depth, heads=changes.pop("heads", 2), stem=())
    sizes = {"dim": 12, "mlp": 10, "head_dim": 4, "encoding": "none", "precision": "float64"} | changes
    return build_teacher(ChainConfig(patch=patch, teacher=teacher, **sizes), image, 7, seed=0)


@pytest.mark.parametrize(("patch", "parameters", "gmacs"), [("1x1", 8_730_633, 175.56), ("16x16", 8_734_983, 0.64)])
def test_sizes_are_those_that_the_paper_prints(patch, parameters, gmacs):
    """8.7 M and 0.6 G; of 1×1 patches it prints 143.2 G, which is about this without the products of attention."""
    network = septr(patch, 3, (128, 128), dim=256, mlp=256, head_dim=256, heads=5, precision="float32")
    assert count_parameters(network) == parameters
    assert round(count_macs(network, (128, 128)) / 1e9, 2) == gmacs


def test_macs_are_those_counted_by_hand():
    rows, columns, dim, inner, mlp = 4, 3, 12, 8, 10
    embed = rows * columns * 64 * dim

    def block(sequences, tokens):
        return sequences * (tokens * (4 * dim * inner + 2 * dim * mlp) + 2 * tokens**2 * inner)

    by_hand = embed + block(columns, rows + 1) + block(rows, columns + 1) + dim * 7
    assert count_macs(septr(), IMAGE) == by_hand
    products = columns * 2 * (rows + 1) ** 2 * inner + rows * 2 * (columns + 1) ** 2 * inner
    assert count_macs(septr(), IMAGE, attention=False) == by_hand - products


def test_a_vertical_block_looks_along_frequency_and_a_horizontal_one_along_time():
    network, token = septr(), torch.zeros(1, 12, dtype=torch.float64)
    one = torch.randn(1, 4, 3, 12, dtype=torch.float64)  # 4 rows of frequency, 3 columns of time
    other = one.clone()
    other[0, 2, 1] = torch.randn(12)  # another patch

    vertical = [along_last(network.vertical[0], x.transpose(1, 2), token)[0].transpose(1, 2) for x in (one, other)]
    horizontal = [along_last(network.horizontal[0], x, token)[0] for x in (one, other)]
    in_column = (vertical[0] != vertical[1]).any(-1)[0]
    in_row = (horizontal[0] != horizontal[1]).any(-1)[0]
    assert in_column.tolist() == [[False, True, False]] * 4
    assert in_row.tolist() == [[row == 2] * 3 for row in range(4)]


def test_position_counts_and_the_batch_does_not():
    network = septr(depth=2)
    images = torch.rand(3, 1, *IMAGE, dtype=torch.float64)
    logits, features = network(images)
    assert (logits.shape, features.shape) == ((3, 7), (3, 12))
    assert torch.allclose(network(images[1:2]).logits, logits[1:2], atol=1e-12)
    assert not torch.allclose(network(images.flip(3)).logits, logits, atol=1e-6)
    assert not torch.allclose(network(images.flip(2)).logits, logits, atol=1e-6)


def test_every_parameter_is_trained():
    network = septr(depth=2)
    network(torch.rand(2, 1, *IMAGE, dtype=torch.float64)).logits.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
