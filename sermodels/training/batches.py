"""Which rows make a batch, and the batch itself.

L lanes, S steps of an epoch, B rows of a batch, R rows of the trial, D feature size, H × W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sermodels.config.settings import Lane, StageName
from sermodels.randomness import generator
from sermodels.training.data import TrialData


class Batch(NamedTuple):
    """What a loss sees; stacked lanes have one more axis, L, in front."""

    images: Tensor  # (B, 1, H, W) in 0…1
    labels: Tensor  # (B,) class numbers
    weights: Tensor  # (B,) 1, or 0 where the row only pads the batch
    targets: Tensor  # (B, D) the teacher's features; (B, 0) in the teacher stage


class Order(NamedTuple):
    """The batches of one epoch of every lane; shorter lanes and last batches are padded with weight 0."""

    rows: Tensor  # (L, S, B) int64
    weights: Tensor  # (L, S, B) 0 or 1, in the trial's precision


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows → batches, for the lanes that train together."""

    data: TrialData
    targets: Tensor  # (L, R, D), or (L, R, 0) where the stage has none

    def of_lane(self, lane: int, rows_B: Tensor) -> Batch:
        """A batch of one lane, all rows with weight 1."""
        weights = torch.ones(len(rows_B), dtype=self.data.dtype, device=self.data.device)
        return Batch(self.data.images(rows_B), self.data.labels[rows_B], weights, self.targets[lane, rows_B])

    def of_all(self, rows_LB: Tensor, weights_LB: Tensor, part: slice) -> Batch:
        """A batch of each of some lanes, with an axis for them in front of everything."""
        lanes, rows = torch.arange(len(rows_LB), device=rows_LB.device)[part, None], rows_LB[part]
        return Batch(self.data.images(rows), self.data.labels[rows], weights_LB[part], self.targets[lanes, rows])


def draw_order(data: TrialData, lanes: Sequence[Lane], *, stage: StageName, epoch: int, batch: int) -> Order:
    """Shuffle each lane's training rows into batches.

    A function of (seed, fold, stage, epoch) alone, never of a lane's place in the stack.

    Args:
        data: the trial's rows.
        lanes: fold and seed of each.
        stage: the purpose of the draw, since each stage has its own order.
        epoch: 1 is the first.
        batch: rows a step.
    """
    orders = []
    for fold, seed in lanes:
        rows = data.folds[fold].train.cpu().numpy()
        orders.append(generator(seed, stage, "order", fold, epoch).permutation(rows))
    steps = -(-max(map(len, orders)) // batch)
    rows = np.zeros((len(lanes), steps * batch), dtype=np.int64)
    weights = np.zeros(rows.shape)
    for lane, order in enumerate(orders):
        rows[lane, : len(order)] = order
        weights[lane, : len(order)] = 1
    shape = (len(lanes), steps, batch)
    return Order(
        torch.from_numpy(rows.reshape(shape)).to(data.device),
        torch.from_numpy(weights.reshape(shape)).to(data.device, data.dtype),
    )
