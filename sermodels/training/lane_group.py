"""The lanes of a stage that train together just now: an epoch of training, its figures, its checkpoints."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from sermodels.networks.factory import AnyNetwork
from sermodels.provenance import provenance
from sermodels.training.batches import Source, draw_order
from sermodels.training.cache import History
from sermodels.training.chain_context import ChainContext
from sermodels.training.lanes import State, Tick
from sermodels.training.losses import learning_rate, loss_of, measure, require_finite
from sermodels.training.stage import Stage


class LaneGroup:
    """Some lanes of one stage, their networks and optimizers."""

    def __init__(
        self,
        context: ChainContext,
        stages: Sequence[Stage],
        networks: Sequence[AnyNetwork],
        states: Sequence[State | None],
        targets: Sequence[Tensor],
    ):
        """Take over networks.

        Args:
            context: of the chain.
            stages: of the lanes, all of one name.
            networks: of each lane.
            states: of each lane: parameters and Adam's moments to go on from; None: fresh ones.
            targets: of each lane: the teacher's features (R, D), R the rows of TrialData; (R, 0) in the teacher stage.
        """
        self.stages = list(stages)
        self._context = context
        self._name = stages[0].name
        self._lanes = context.lanes_type(networks, states)
        self._source = Source(data=context.data, targets=torch.stack(list(targets)))

    def train_epoch(self, epoch: int, tick: Tick) -> list[dict[str, float]]:
        """Train every lane for an epoch, 1 being the first, and return the metrics of each; `tick` after each step.

        Raises:
            NonFiniteLossError: a figure of a lane is infinite or not a number.
        """
        config, data, lanes = self._context.config, self._context.data, [stage.lane for stage in self.stages]
        settings, began = config.settings(self._name), time.perf_counter()
        order = draw_order(data, lanes, stage=self._name, epoch=epoch, batch=settings.batch)
        lr = learning_rate(settings, epoch)
        losses = self._lanes.train_epoch(order, self._source, loss_of(self._name, config), lr, tick)
        valid = [data.folds[lane.fold].valid for lane in lanes]
        outputs = self._lanes.outputs(self._source, valid)
        seconds = (time.perf_counter() - began) / len(lanes)
        figures = [
            {"loss": loss, "lr": lr}
            | measure(self._name, output, data.labels[rows], self._source.targets[place, rows])
            | {"seconds": seconds}
            for place, (loss, output, rows) in enumerate(zip(losses, outputs, valid, strict=True))
        ]
        require_finite(self._name, epoch, lanes, figures)
        return figures

    def save(self, histories: Sequence[History]) -> None:
        """Record the last epoch of each lane in the training log, and write its checkpoint."""
        cache, where = self._context.cache, provenance(self._context.data.device)
        for stage, state, history in zip(self.stages, self._lanes.states(), histories, strict=True):
            cache.log(stage, epoch=len(history), seconds=history[-1]["seconds"], owner=self._context.owner)
            cache.save(stage, state, history, computed_by=where)

    def states(self) -> dict[Stage, State]:
        """Return a copy of each lane's state."""
        return dict(zip(self.stages, self._lanes.states(), strict=True))
