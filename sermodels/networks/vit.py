"""The parts of a vision transformer on spectrograms: patches, positional encodings, attention, encoder.

B images, C channels, H × W pixels, N tokens, M of them wanted, D token size, K heads, E head size.
Block and sizes as the paper's authors published them: pre-norm, head size independent of D, no dropout.
"""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ALL = slice(None)  # tokens


def to_patches(images_BCHW: Tensor, shape: tuple[int, int]) -> Tensor:
    """Cut images into patches, row by row.

    Args:
        images_BCHW: H and W must be multiples of the patch's.
        shape: height and width of a patch, in pixels.

    Returns:
        (B, N, C · height · width).
    """
    height, width = shape
    tiles: Tensor = images_BCHW.unflatten(3, (-1, width)).unflatten(2, (-1, height))  # B C rows height columns width
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def coordinates(height: int, width: int) -> Tensor:
    """Image coordinate encoding: (2, H, W), first the row's then the column's place, −1 at the first, 1 at the last."""
    y = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width)[None, :].expand(height, width)
    return torch.stack([y, x])


def sinusoids(length: int, dim: int) -> Tensor:
    """Fixed positional encoding (Vaswani et al. 2017, section 3.5): (length, dim), sines in the even places."""
    position = torch.arange(length)[:, None]
    rate = 10_000.0 ** (-torch.arange(0, dim, 2) / dim)
    table = torch.zeros(length, dim)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : dim // 2]
    return table


class PatchEmbedding(nn.Module):
    """Patches → tokens: layer norm, linear, layer norm."""

    def __init__(self, shape: tuple[int, int], channels: int, dim: int):
        super().__init__()
        self.shape = shape
        size = channels * shape[0] * shape[1]
        self.project = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, dim), nn.LayerNorm(dim))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) → (B, N, D)."""
        tokens_BND: Tensor = self.project(to_patches(images_BCHW, self.shape))
        return tokens_BND


class Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values without bias."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, dim)

    def forward(self, x_BND: Tensor, wanted: slice = ALL) -> Tensor:
        """(B, N, D) → (B, M, D): what the wanted tokens take from all."""
        q_BKME, k_BKNE, v_BKNE = self._heads(x_BND, wanted)
        mixed_BKME = _attend(q_BKME, k_BKNE) @ v_BKNE
        taken_BMD: Tensor = self.out(mixed_BKME.transpose(1, 2).flatten(2))
        return taken_BMD

    def weights(self, x_BND: Tensor) -> Tensor:
        """How much each token (third axis) attends to each (fourth): (B, K, N, N), rows summing to 1."""
        q_BKNE, k_BKNE, _ = self._heads(x_BND, ALL)
        return _attend(q_BKNE, k_BKNE)

    def _heads(self, x_BND: Tensor, wanted: slice) -> tuple[Tensor, Tensor, Tensor]:
        inner = self.out.in_features  # K · E
        q_weight, kv_weight = self.qkv.weight.split((inner, 2 * inner))
        x_BMD = x_BND[:, wanted].contiguous()  # else F.linear rounds in another way where no gradient is asked for
        q_BMKE: Tensor = F.linear(x_BMD, q_weight).unflatten(2, (self.heads, -1))
        kv: Tensor = F.linear(x_BND, kv_weight).unflatten(2, (2, self.heads, -1))  # B N 2 K E
        k_BKNE, v_BKNE = kv.permute(2, 0, 3, 1, 4).unbind(0)
        return q_BMKE.transpose(1, 2), k_BKNE, v_BKNE


def _attend(q_BKME: Tensor, k_BKNE: Tensor) -> Tensor:
    # Written out: as fast on a CPU as the fused kernel at some hundred tokens, and torch.func.vmap can batch it.
    scale: float = q_BKME.shape[-1] ** -0.5
    return (q_BKME @ k_BKNE.mT * scale).softmax(dim=-1)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, dim: int, heads: int, head_dim: int, mlp: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, head_dim)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, mlp), nn.GELU(), nn.Linear(mlp, dim))

    def forward(self, x_BND: Tensor, wanted: slice = ALL) -> Tensor:
        """(B, N, D) → (B, M, D): the wanted tokens after the block."""
        x_BMD: Tensor = x_BND[:, wanted] + self.attention(self.norm(x_BND), wanted)
        change_BMD: Tensor = self.mlp(x_BMD)
        return x_BMD + change_BMD


def blocks(made: Iterable[Block]) -> Sequence[Block]:
    """Return blocks as a list whose parameters are the network's."""
    return cast("Sequence[Block]", nn.ModuleList(made))  # ModuleList does not say what it holds


class Encoder(nn.Module):
    """`depth` blocks and one more layer norm."""

    def __init__(self, dim: int, depth: int, heads: int, head_dim: int, mlp: int):
        super().__init__()
        self.blocks = blocks(Block(dim, heads, head_dim, mlp) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BND: Tensor, wanted: slice = ALL) -> Tensor:
        """(B, N, D) → (B, M, D): the wanted tokens after the last block, which computes no others."""
        *earlier, last = self.blocks
        for block in earlier:
            x_BND = block(x_BND)
        x_BMD: Tensor = self.norm(last(x_BND, wanted))
        return x_BMD

    def attention(self, x_BND: Tensor) -> list[Tensor]:
        """The attention weights of each block: a list of (B, K, N, N)."""
        weights = []
        for block in self.blocks:
            weights.append(block.attention.weights(block.norm(x_BND)))
            x_BND = block(x_BND)
        return weights
