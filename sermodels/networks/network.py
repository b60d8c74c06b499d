"""Teacher and student: one network, with or without a convolutional stem and positional encoding.

B images, H × W pixels, N patches, D token size, K classes.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sermodels.config.settings import Encoding, Pooling
from sermodels.errors import UserError
from sermodels.networks.vit import Encoder, PatchEmbedding, coordinates, sinusoids


class Output(NamedTuple):
    """What a network says of a batch of images."""

    logits: Tensor  # (B, K)
    features: Tensor  # (B, D): what enters the classifier; the matched feature (paper, stage 2)


class Network(nn.Module):
    """Stem → encoding → patches → encoder → pooling → linear classifier; stem and encoding may be absent."""

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
        pooling: Pooling,
        stem: tuple[int, ...] = (),
        encoding: Encoding = "none",
    ):
        """Build with fresh parameters from torch's global generator.

        Args:
            image: height and width in pixels; must be multiples of the patch's.
            classes: number of emotions.
            patch: height and width in pixels.
            dim: token size.
            depth: number of blocks.
            heads: attention heads of each block.
            head_dim: size of one head.
            mlp: hidden size of each block's MLP.
            pooling: the feature is the class token or the mean over the other tokens.
            stem: output channels of the 3×3 convolutions.
            encoding: ice adds two channels to the stem's output; sinusoidal and learned add to the tokens.

        Raises:
            UserError: the patch does not divide the image.
        """
        super().__init__()
        require_fit(patch, image)
        self.encoding, self.pooling = encoding, pooling
        self.stem = _stem(stem)
        channels = stem[-1] if stem else 1
        self.embed = PatchEmbedding(patch, channels + 2 * (encoding == "ice"), dim)
        self.token = nn.Parameter(torch.randn(dim))
        self.encoder = Encoder(dim, depth, heads, head_dim, mlp)
        self.classify = nn.Linear(dim, classes)
        self._add_encoding(image, math.prod(image) // math.prod(patch), dim)

    def forward(self, images_B1HW: Tensor) -> Output:
        """(B, 1, H, W) with pixels in 0…1 → logits (B, K) and features (B, D)."""
        pooled = slice(1) if self.pooling == "token" else slice(1, None)  # the class token comes first
        features_BD = self.encoder(self._tokens(images_B1HW), pooled).mean(1)
        return Output(self.classify(features_BD), features_BD)

    def attention(self, images_B1HW: Tensor) -> list[Tensor]:
        """The attention weights of each block: (B, heads, 1 + N, 1 + N), the class token first."""
        return self.encoder.attention(self._tokens(images_B1HW))

    def _tokens(self, images_B1HW: Tensor) -> Tensor:
        x = self.stem(images_B1HW)
        if self.encoding == "ice":
            x = torch.cat([x, self.positions.expand(x.shape[0], -1, -1, -1)], dim=1)
        x_BND = self.embed(x)
        if self.encoding in ("sinusoidal", "learned"):
            x_BND = x_BND + self.positions
        # Not len(): a graph that is exported would keep the size of its example's batch.
        return torch.cat([self.token.expand(x_BND.shape[0], 1, -1), x_BND], dim=1)

    def _add_encoding(self, image: tuple[int, int], tokens: int, dim: int) -> None:
        if self.encoding == "ice":
            self.register_buffer("positions", coordinates(*image), persistent=False)
        elif self.encoding == "sinusoidal":
            self.register_buffer("positions", sinusoids(tokens, dim), persistent=False)
        elif self.encoding == "learned":
            self.positions = nn.Parameter(0.02 * torch.randn(tokens, dim))


def require_fit(patch: tuple[int, int], image: tuple[int, int]) -> None:
    """Make sure that patches tile an image, both (height, width) in pixels.

    Raises:
        UserError: they do not.
    """
    if image[0] % patch[0] or image[1] % patch[1]:
        size, tile = "×".join(map(str, image)), "x".join(map(str, patch))
        raise UserError(f"patch {tile} does not divide the image of {size} pixels")


def _stem(channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((1, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.InstanceNorm2d(after), nn.GELU()]
    return nn.Sequential(*layers)
