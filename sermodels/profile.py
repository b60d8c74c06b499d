"""What a network costs: parameters and multiply–accumulate operations (MACs)."""

import math

from torch import nn

from sermodels.networks import Network


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: Network, image: tuple[int, int]) -> int:
    """MACs of one image of (H, W) pixels: convolutions, linear layers and both products of attention.

    Of all tokens in every block, as papers count; in fact the last block runs for the pooled tokens only.
    """
    # By arithmetic: importing torch's FlopCounterMode imports the compiler, 0.9 s in every trial.
    pixels = math.prod(image)
    patches = pixels // math.prod(network.embed.shape)
    tokens = 1 + patches  # with the class token
    inner = sum(block.attention.out.in_features for block in network.encoder.blocks)  # heads · head size, summed
    return (
        pixels * _weights(network.stem)
        + patches * _weights(network.embed)
        + tokens * _weights(network.encoder)
        + 2 * tokens**2 * inner
        + _weights(network.classify)
    )


def _weights(part: nn.Module) -> int:
    return sum(m.weight.numel() for m in part.modules() if isinstance(m, nn.Conv2d | nn.Linear))
