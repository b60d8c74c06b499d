"""Where a network looks: masks of its attention over an image, and how stable they are when the clip is altered.

B images, H × W pixels, K heads, N patches.
"""

import math

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from sermodels.errors import UserError
from sermodels.networks.network import Network
from sermodels.store.open import Store

SMOOTH = 2.0  # pixels: standard deviation of the Gaussian (paper, figure 6: its width is not given)


@torch.no_grad()
def attention_masks(
    network: Network, images_B1HW: Tensor, layer: int | None = None, smooth: float = SMOOTH
) -> np.ndarray:
    """What the class token attends to, heads averaged, as a picture (paper, figure 6).

    A network that pools by the mean over its patches is asked for the mean over what they attend to.

    Args:
        network: in evaluation mode.
        images_B1HW: pixels in 0…1, of the network's precision.
        layer: one block, 0 being the first; None: all of them, by attention rollout (Abnar & Zuidema 2020).
        smooth: standard deviation of a Gaussian, in pixels; 0: none.

    Returns:
        (B, H, W) float32, not negative; each sums to 1.

    Raises:
        UserError: no such layer.
    """
    weights = [weights_BKTT.mean(1) for weights_BKTT in network.attention(images_B1HW)]
    if layer is not None and not 0 <= layer < len(weights):
        raise UserError(f"layer {layer}: the network has {len(weights)} blocks, 0 to {len(weights) - 1}")
    attended_BTT = rollout(weights) if layer is None else weights[layer]
    asking = slice(1) if network.pooling == "token" else slice(1, None)
    patches_BN = attended_BTT[:, asking, 1:].mean(1)
    patches_BN = patches_BN / patches_BN.sum(1, keepdim=True)
    height, width = images_B1HW.shape[2:]
    masks = _as_image(patches_BN, network.embed.shape, (height, width)).float().cpu().numpy()
    return gaussian_filter(masks, (0, smooth, smooth), mode="reflect") if smooth else masks


def rollout(weights: list[Tensor]) -> Tensor:
    """Attention through all blocks, half of each taken from the token itself for the residual: (B, 1 + N, 1 + N)."""
    through = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    for weights_BTT in weights:
        through = (weights_BTT + torch.eye(weights_BTT.shape[-1]).to(weights_BTT)) / 2 @ through
    return through


def undone(mask_HW: np.ndarray, shift_columns: float = 0.0, speed: float = 1.0) -> np.ndarray:
    """A mask of an altered view, as it would lie over the original; NaN where the view does not show it.

    Args:
        mask_HW: over the view.
        shift_columns: by which the view is later than the original.
        speed: by which the view is shorter. Its pitch, higher by the same factor, is left as it is.
    """
    width = mask_HW.shape[1]
    places = np.arange(width) / speed + shift_columns
    columns = np.stack([np.interp(places, np.arange(width), row, left=np.nan, right=np.nan) for row in mask_HW])
    return columns.astype(np.float32)


def stability(
    network: Network, store: Store, clips: np.ndarray, layer: int | None = None, smooth: float = SMOOTH
) -> dict[str, float | None]:
    """How much the masks of altered views look like that of the original, after undoing shift and speed.

    Args:
        network: of the store's images.
        store: its views, and what was drawn for them.
        clips: (n,) numbers of clips, n ≥ 1.
        layer: as in `attention_masks`.
        smooth: as there.

    Returns:
        By altered view the mean over clips of the correlation between the two masks, −1…1, on those columns that both
        show and that lie within the recording; None if no mask had any structure.
    """
    found: dict[str, list[float]] = {}
    dtype = next(network.parameters()).dtype
    for clip in clips:
        rows = np.flatnonzero(store.clip == clip)
        images = torch.from_numpy(store.pixels[rows].copy()).to(dtype).unsqueeze(1)
        original, *altered = attention_masks(network, images, layer, smooth)
        heard = _columns(store, store.duration_s[rows[0]])
        for row, mask in zip(rows[1:], altered, strict=True):
            shift, speed = (values[row] for values in (store.shift_s, store.speed))
            there = undone(mask, _columns(store, np.nan_to_num(shift)), 1.0 if np.isnan(speed) else speed)
            found.setdefault(str(store.view[row]), []).append(_correlation(original, there, math.ceil(heard)))
    return {view: _mean(values) for view, values in found.items()}


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def _columns(store: Store, seconds: float) -> float:
    """Seconds as columns of the store's images."""
    return seconds / store.frontend.clip_s * store.frontend.width


def _correlation(one: np.ndarray, other: np.ndarray, columns: int) -> float:
    """Of the first columns, where both are known; NaN if one of them is flat."""
    one, other = one[:, :columns], other[:, :columns]
    known = ~np.isnan(other)
    if known.sum() < 2 or one[known].std() == 0 or other[known].std() == 0:
        return math.nan
    return float(np.corrcoef(one[known], other[known])[0, 1])


def _as_image(patches_BN: Tensor, patch: tuple[int, int], image: tuple[int, int]) -> Tensor:
    """Each patch's share spread over its pixels: (B, N) → (B, H, W)."""
    grid: Tensor = patches_BN.unflatten(1, (image[0] // patch[0], image[1] // patch[1])) / math.prod(patch)
    return grid.repeat_interleave(patch[0], 1).repeat_interleave(patch[1], 2)
