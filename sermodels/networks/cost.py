"""What a network costs: parameters and multiply–accumulate operations (MACs)."""

import copy
import math

import torch
from torch import nn

from sermodels.config.settings import ChainConfig
from sermodels.networks.factory import Builder
from sermodels.networks.network import Network


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, image: tuple[int, int], *, attention: bool = True) -> int:
    """MACs of one image of (H, W) pixels: convolutions, linear layers and both products of attention.

    Of all tokens in every block, as papers count; in fact a Network's last block runs for the pooled tokens only.

    Args:
        network: a Network, or a peer.
        image: its shape.
        attention: count the products of attention, queries by keys and weights by values; some tools do not.
    """
    if not isinstance(network, Network):
        return macs_as_run(network, image, attention=attention)
    # By arithmetic: importing torch's FlopCounterMode imports the compiler, 0.9 s in every trial.
    pixels = math.prod(image)
    patches = pixels // math.prod(network.embed.shape)
    tokens = 1 + patches  # with the class token
    inner = sum(block.attention.out.in_features for block in network.encoder.blocks)  # heads · head size, summed
    return (
        pixels * _weights(network.stem)
        + patches * _weights(network.embed)
        + tokens * _weights(network.encoder)
        + attention * 2 * tokens**2 * inner
        + _weights(network.classify)
    )


def macs_as_run(network: nn.Module, image: tuple[int, int], *, attention: bool = True) -> int:
    """MACs of one image of (H, W) pixels that a forward pass really does; the arguments are those of `count_macs`."""
    from torch.utils.flop_counter import FlopCounterMode

    shapes_only = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_only(torch.empty(1, 1, *image, device="meta"))
    flops: dict[object, int] = counter.get_flop_counts()["Global"]
    products = {operator for operator in flops if "bmm" in str(operator) or "dot_product_attention" in str(operator)}
    return sum(count for operator, count in flops.items() if attention or operator not in products) // 2


def costs(config: ChainConfig, image: tuple[int, int], classes: int) -> dict[str, int]:
    """Return parameters, and MACs of one image of (H, W) pixels, of teacher and student: `teacher/macs` and so on."""
    figures = {}
    build = Builder(config=config, image=image, classes=classes)
    for stage in ("teacher", "student"):
        network = build(stage, seed=0)
        figures[f"{stage}/parameters"] = count_parameters(network)
        figures[f"{stage}/macs"] = count_macs(network, image)
    return figures


def _weights(part: nn.Module) -> int:
    return sum(m.weight.numel() for m in part.modules() if isinstance(m, nn.Conv2d | nn.Linear))
