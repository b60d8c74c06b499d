"""What the networks of the paper's table 3 cost: parameters, MACs, milliseconds a clip; always at full size."""

import statistics
import time
from collections.abc import Iterable

import torch
from torch import nn

from jobs.reproduction.systems import Book
from jobs.reproduction.tables import Row
from sermodels.networks.cost import count_macs, count_parameters
from sermodels.networks.factory import Builder

HEIGHT, WIDTH, CLASSES = 128, 128, 7  # of the paper's images and of EmoDB
ENOUGH_S, MOST = 2.0, 50  # seconds of timing, and runs


def complexity_row(book: Book, name: str) -> Row:
    """Costs of a system's network on this machine, one thread, beside what the paper prints."""
    system, config = book.system(name), book.config(name, "full", {})
    image = (HEIGHT, system.width or WIDTH)
    network = Builder(config=config, image=image, classes=CLASSES)(system.stage, seed=0).eval()
    return {
        "system": system.title,
        "name": name,
        "parameters": count_parameters(network),
        "printed_mparameters": system.printed_mparameters,
        "macs": count_macs(network, image),
        "macs_without_attention_products": count_macs(network, image, attention=False),
        "printed_gmacs": system.printed_gmacs,
        "ms_a_clip": _milliseconds(network, image),
    }


def complexity_rows(book: Book, names: Iterable[str]) -> list[Row]:
    """Costs of some systems' networks; sets PyTorch to one thread."""
    torch.set_num_threads(1)
    return [complexity_row(book, name) for name in names]


@torch.no_grad()
def _milliseconds(network: nn.Module, image: tuple[int, int]) -> float:
    """Median of some forward passes of one clip, the first left out."""
    clip, took = torch.rand(1, 1, *image), []
    network(clip)
    while sum(took) < ENOUGH_S and len(took) < MOST:
        began = time.perf_counter()
        network(clip)
        took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took)
