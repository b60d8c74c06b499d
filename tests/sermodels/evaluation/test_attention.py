"""Masks of attention against small cases computed by hand, and their stability on views that are known to be alike."""

import dataclasses

import numpy as np
import pytest
import torch

from sermodels.errors import UserError
from sermodels.evaluation.attention import attention_masks, rollout, stability, undone
from sermodels.networks.factory import build_student

VIEWS = ("noise", "shift", "speed")


@pytest.fixture(scope="module")
def network(store, tiny_config):
    """A student of two blocks that looks at columns; it has no positions, so it does not care for their order."""
    config = tiny_config(patch="32x1", dim=32, **{"student.depth": 2})
    return build_student(config, store.pixels.shape[1:], len(store.emotions), seed=1).eval()


@pytest.fixture(scope="module")
def images(store):
    return torch.from_numpy(store.pixels[:4].astype(np.float32)).unsqueeze(1)


@pytest.mark.parametrize("layer", [None, 0, 1])
@pytest.mark.parametrize("smooth", [0, 2.0])
def test_a_mask_is_a_share_of_the_whole_for_each_pixel(network, images, layer, smooth):
    masks = attention_masks(network, images, layer, smooth)
    assert masks.shape == (4, 32, 32)
    assert masks.min() >= 0
    assert masks.sum((1, 2)) == pytest.approx(np.ones(4), abs=1e-5)


def test_columns_have_one_weight_from_top_to_bottom(network, images):
    masks = attention_masks(network, images, smooth=0)
    assert (masks == masks[:, :1]).all()
    assert masks.std(axis=2).min() > 0


def test_one_layer_is_the_class_tokens_row_of_its_heads_mean(network, images):
    expected = network.attention(images)[1].mean(1)[:, 0, 1:]
    expected = expected / expected.sum(1, keepdim=True)
    masks = attention_masks(network, images, layer=1, smooth=0)
    assert masks[:, 0] * 32 == pytest.approx(expected.detach().numpy(), rel=1e-5)


def test_squares_are_laid_out_row_by_row(store, tiny_config, images):
    config = tiny_config(patch="16x8")
    squares = build_student(config, store.pixels.shape[1:], len(store.emotions), seed=1).eval()
    expected = squares.attention(images)[0].mean(1)[:, 0, 1:]
    masks = attention_masks(squares, images, layer=0, smooth=0)
    for patch in range(8):
        block = masks[:, patch // 4 * 16 :, patch % 4 * 8 :][:, :16, :8]
        assert np.ptp(block, axis=(1, 2)).max() == 0
        share = (expected[:, patch] / expected.sum(1)).detach().numpy()
        assert block[:, 0, 0] * 16 * 8 == pytest.approx(share, rel=1e-5)


def test_a_network_that_pools_by_the_mean_is_asked_for_all_its_patches(store, tiny_config, images):
    config = tiny_config(patch="32x1", pooling="mean")
    network = build_student(config, store.pixels.shape[1:], len(store.emotions), seed=1).eval()
    expected = network.attention(images)[0].mean(1)[:, 1:, 1:].mean(1)
    expected = expected / expected.sum(1, keepdim=True)
    found = attention_masks(network, images, layer=0, smooth=0)[:, 0] * 32
    assert found == pytest.approx(expected.detach().numpy(), rel=1e-5)


def test_rollout_by_hand():
    first = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    second = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    # (second + 1) / 2 · (first + 1) / 2
    expected = torch.tensor([[0.5, 0.5], [0.5, 0.5]]) @ torch.tensor([[0.75, 0.25], [0.0, 1.0]])
    assert torch.allclose(rollout([first, second])[0], expected)


def test_an_unknown_layer_is_refused(network, images):
    with pytest.raises(UserError, match="layer 2: the network has 2 blocks, 0 to 1"):
        attention_masks(network, images, layer=2)


def test_a_shift_is_undone_and_what_left_the_image_is_unknown():
    mask = np.arange(12, dtype=float).reshape(2, 6)
    later = np.concatenate([np.full((2, 2), -1), mask[:, :4]], axis=1)
    back = undone(later, shift_columns=2)
    assert (back[:, :4] == mask[:, :4]).all()
    assert np.isnan(back[:, 4:]).all()


def test_a_change_of_speed_is_undone():
    fast = np.array([[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]])  # twice as fast as 0, 1, 2 …
    assert undone(fast, speed=2.0)[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_views_that_are_the_same_clip_have_the_same_mask(network, store):
    pixels, shift_s = store.pixels.copy(), store.shift_s.copy()
    for clip in range(len(store.clip_id)):
        first = 4 * clip
        pixels[first + 1 : first + 4] = pixels[first]
        pixels[first + 2] = np.roll(pixels[first], 5, axis=1)
        shift_s[first + 2] = 5 / store.frontend.width * store.frontend.clip_s
    alike = dataclasses.replace(store, pixels=pixels, shift_s=shift_s, speed=np.full(len(pixels), np.nan))
    found = stability(network, alike, np.arange(5), smooth=0)
    assert found == {view: pytest.approx(1, abs=1e-4) for view in VIEWS}


def test_views_of_other_clips_have_other_masks(network, store):
    pixels = store.pixels.copy()
    pixels[1:4] = pixels[np.arange(1, 4) + 80]
    other = dataclasses.replace(store, pixels=pixels)
    assert max(stability(network, other, np.array([0])).values()) < 0.9


def test_what_was_drawn_for_a_view_is_in_the_store(store):
    for values, view in ((store.shift_s, "shift"), (store.speed, "speed")):
        assert (~np.isnan(values) == (store.view == view)).all()
    assert (store.duration_s > 0).all()
