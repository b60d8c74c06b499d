"""What a network costs: parameters and multiply–accumulate operations (MACs)."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters())


def count_macs(network: nn.Module, image: tuple[int, int]) -> int:
    """MACs of one image of (H, W) pixels: convolutions, linear layers and both products of attention.

    Runs on the meta device: nothing is computed.
    """
    abstract = copy.deepcopy(network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        abstract(torch.empty(1, 1, *image, device="meta", dtype=next(abstract.parameters()).dtype))
    return counter.get_total_flops() // 2
