"""SepTr, the separable transformer: attention along frequency, then along time (Ristea, Ionescu, Khan 2022).

Written from its paper, arXiv 2203.09581. Where that is silent the numbers decide: with heads of 256, and one position
for each row and each column, there are the 8.7 million parameters that Kim & Lee print.

B images, F × T patches (frequency rows, time columns), D token size.
"""

import torch
from torch import Tensor, nn

from sermodels.networks.network import Output, require_fit
from sermodels.networks.vit import Block, PatchEmbedding, blocks


class SepTr(nn.Module):
    """Patches → pairs of blocks, the first within columns of time, the second within rows of frequency → classifier."""

    def __init__(
        self,
        *,
        image: tuple[int, int],
        classes: int,
        patch: tuple[int, int],
        dim: int,
        depth: int,
        heads: int,
        head_dim: int,
        mlp: int,
    ):
        """Build with fresh parameters from torch's global generator.

        Args:
            image: height and width in pixels; must be multiples of the patch's.
            classes: number of emotions.
            patch: height and width in pixels.
            dim: token size.
            depth: pairs of blocks.
            heads: attention heads of each block.
            head_dim: size of one head.
            mlp: hidden size of each block's MLP.

        Raises:
            UserError: the patch does not divide the image.
        """
        super().__init__()
        require_fit(patch, image)
        self.rows, self.columns = image[0] // patch[0], image[1] // patch[1]
        self.embed = PatchEmbedding(patch, 1, dim)
        self.row_positions = nn.Parameter(0.02 * torch.randn(self.rows, 1, dim))
        self.column_positions = nn.Parameter(0.02 * torch.randn(self.columns, dim))
        self.token = nn.Parameter(0.02 * torch.randn(dim))
        self.vertical = blocks(Block(dim, heads, head_dim, mlp) for _ in range(depth))
        self.horizontal = blocks(Block(dim, heads, head_dim, mlp) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, classes)

    def forward(self, images_B1HW: Tensor) -> Output:
        """(B, 1, H, W) with pixels in 0…1 → logits (B, K) and features (B, D)."""
        x_BFTD = self.embed(images_B1HW).unflatten(1, (self.rows, self.columns))
        x_BFTD = x_BFTD + self.row_positions + self.column_positions
        token_BD = self.token.expand(x_BFTD.shape[0], -1)
        for vertical, horizontal in zip(self.vertical, self.horizontal, strict=True):
            x_BTFD, token_BD = along_last(vertical, x_BFTD.transpose(1, 2), token_BD)
            x_BFTD, token_BD = along_last(horizontal, x_BTFD.transpose(1, 2), token_BD)
        features_BD = self.norm(token_BD)
        return Output(self.classify(features_BD), features_BD)


def along_last(block: Block, x_BSND: Tensor, token_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Attention within each of S sequences of N tokens; the class token joins all of them and leaves as their mean."""
    batch, sequences = x_BSND.shape[:2]
    tokens = token_BD[:, None, None].expand(-1, sequences, 1, -1)
    mixed = block(torch.cat([tokens, x_BSND], dim=2).flatten(0, 1)).unflatten(0, (batch, sequences))
    return mixed[:, :, 1:], mixed[:, :, 0].mean(1)
