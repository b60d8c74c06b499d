"""L networks of one shape, trained as one: the seeds and folds of a configuration are lanes.

Two ways with the same meaning: `LoopedLanes` trains lane after lane (faster on a CPU, and simplest);
`StackedLanes` puts a leading axis L before every parameter and trains all lanes in each step (for a GPU).

A lane's state is a flat dict: `network.*`, Adam's `exp_avg.*` and `exp_avg_sq.*`, and `step`, its steps so far.
L lanes, S steps, B rows of a batch, D feature size, K classes.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from sermodels.library_internals import adam_step
from sermodels.networks.factory import AnyNetwork
from sermodels.networks.network import Output
from sermodels.training.batches import Batch, Order, Source

Loss = Callable[[Output, Batch], Tensor]  # mean over the rows of a batch, by weight
State = dict[str, Tensor]
Tick = Callable[[], None]
T = TypeVar("T")

logger = logging.getLogger(__name__)

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's usual constants (Kingma & Ba 2015)
ROWS_AT_ONCE = 8  # of an evaluation; with more, malloc asks the kernel for fresh pages in every layer of a stem


class LoopedLanes:
    """Each lane a network and an optimizer of its own, one after the other."""

    def __init__(self, networks: Sequence[AnyNetwork], states: Sequence[State | None]):
        """Take over networks; a state, where there is one, replaces parameters and Adam's moments."""
        self._lanes = [_Lane(network, state) for network, state in zip(networks, states, strict=True)]

    def train_epoch(self, order: Order, source: Source, loss: Loss, lr: float, tick: Tick) -> list[float]:
        """One epoch of every lane; returns each lane's mean loss over its rows. `tick` is called after each step."""
        losses = []
        for place, lane in enumerate(self._lanes):
            summed = 0.0
            for rows_B, weights_B in zip(order.rows[place], order.weights[place], strict=True):
                rows_B = rows_B[weights_B > 0]
                if len(rows_B):
                    summed += len(rows_B) * lane.step(source.of_lane(place, rows_B), loss, lr)
                    tick()
            losses.append(summed / int(order.weights[place].sum()))
        return losses

    def outputs(self, source: Source, rows: Sequence[Tensor]) -> list[Output]:
        """What each lane's network says of its rows, without gradients: logits (n, K), features (n, D) a lane."""
        return [infer(lane.network, source, own) for lane, own in zip(self._lanes, rows, strict=True)]

    def states(self) -> list[State]:
        """A copy of each lane's state."""
        return [lane.state() for lane in self._lanes]


class _Lane:
    """One network and Adam's state of each of its parameters, by name."""

    def __init__(self, network: AnyNetwork, state: State | None):
        self.network = network
        if state is not None:
            network.load_state_dict(network_state(state))
        self._parameters = dict(network.named_parameters())
        self._exp_avg = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._exp_avg_sq = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._steps = {name: torch.zeros((), device=p.device) for name, p in self._parameters.items()}
        if state is not None:
            self._restore(state)

    def step(self, batch: Batch, loss: Loss, lr: float) -> float:
        """One step of Adam; returns the loss before it."""
        self.network.zero_grad()
        value = loss(self.network(batch.images), batch)
        value.backward()
        self._adam(lr)
        return value.item()

    def state(self) -> State:
        state = {"step": torch.stack(list(self._steps.values())).max().cpu()}
        for name, parameter in self._parameters.items():
            state[f"network.{name}"] = parameter.detach().clone()
            state[f"exp_avg.{name}"] = self._exp_avg[name].clone()
            state[f"exp_avg_sq.{name}"] = self._exp_avg_sq[name].clone()
        return state

    def _adam(self, lr: float) -> None:
        # The classifier gets no gradient, and stays as it is, when features alone are matched.
        gradients = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        adam_step(
            [self._parameters[name] for name in gradients],
            list(gradients.values()),
            [self._exp_avg[name] for name in gradients],
            [self._exp_avg_sq[name] for name in gradients],
            [self._steps[name] for name in gradients],
            lr=lr,
            betas=(BETA_1, BETA_2),
            epsilon=EPSILON,
        )

    def _restore(self, state: State) -> None:
        for name in self._parameters:
            self._exp_avg[name].copy_(state[f"exp_avg.{name}"])
            self._exp_avg_sq[name].copy_(state[f"exp_avg_sq.{name}"])
            self._steps[name].copy_(state["step"])


class StackedLanes:
    """All lanes in one program: parameters, gradients and Adam's moments have a leading axis L.

    Where the device lacks memory for the activations of all of them, half as many take a step at once from there on.
    """

    def __init__(self, networks: Sequence[AnyNetwork], states: Sequence[State | None]):
        """Stack networks of one shape; a state, where there is one, replaces parameters and Adam's moments."""
        self.template = networks[0]
        parameters, _ = stack_module_state(list(networks))
        self.parameters = {name: p.detach() for name, p in parameters.items()}
        self.exp_avg = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.exp_avg_sq = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.steps_L = torch.zeros(len(networks), device=next(iter(self.parameters.values())).device)
        self.at_once = len(networks)
        for lane, state in enumerate(states):
            if state is not None:
                self._restore(lane, state)

    def train_epoch(self, order: Order, source: Source, loss: Loss, lr: float, tick: Tick) -> list[float]:
        """One epoch of every lane; returns each lane's mean loss over its rows. `tick` is called after each step."""

        def loss_of_lane(parameters: State, batch: Batch) -> Tensor:
            return loss(functional_call(self.template, parameters, (batch.images,)), batch)

        gradients_of_all = vmap(grad_and_value(loss_of_lane))

        def gradients(rows_LB: Tensor, weights_LB: Tensor, part: slice) -> tuple[State, Tensor]:
            return gradients_of_all(self._of(part), source.of_all(rows_LB, weights_LB, part))

        summed_L = torch.zeros_like(order.weights[:, 0, 0])
        for rows_LB, weights_LB in zip(order.rows.unbind(1), order.weights.unbind(1), strict=True):
            rows_L = weights_LB.sum(1)
            for part, (found, losses) in self._parts(partial(gradients, rows_LB, weights_LB)):
                self._adam(part, found, lr, active=rows_L[part] > 0)
                summed_L[part] += rows_L[part] * losses
            tick()
        return (summed_L / order.weights.sum((1, 2))).tolist()

    @torch.no_grad()
    def outputs(self, source: Source, rows: Sequence[Tensor]) -> list[Output]:
        """What each lane's network says of its rows, without gradients: logits (n, K), features (n, D) a lane."""
        padded_LR = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)

        def of_lane(parameters: State, images: Tensor) -> Output:
            output: Output = functional_call(self.template, parameters, (images,))
            return output

        def answers(rows_LB: Tensor, part: slice) -> Output:
            return vmap(of_lane)(self._of(part), source.data.images(rows_LB[part]))

        chunks = []
        for rows_LB in padded_LR.split(ROWS_AT_ONCE, dim=1):
            found = [output for _, output in self._parts(partial(answers, rows_LB))]
            chunks.append([torch.cat(pieces) for pieces in zip(*found, strict=True)])
        logits, features = (torch.cat(pieces, dim=1) for pieces in zip(*chunks, strict=True))
        return [Output(logits[lane, : len(own)], features[lane, : len(own)]) for lane, own in enumerate(rows)]

    def states(self) -> list[State]:
        """A copy of each lane's state."""
        return [self._state(lane) for lane in range(len(self.steps_L))]

    def _parts(self, compute: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
        """What is computed of all lanes, part by part: as many lanes as fit into the device's memory."""
        first = 0
        while first < len(self.steps_L):
            part = slice(first, first + self.at_once)
            try:
                computed = compute(part)
            except torch.OutOfMemoryError:
                if self.at_once == 1:
                    raise
                self.at_once = -(-self.at_once // 2)
                logger.warning("the device's memory is full: %d lanes take a step at once from now on", self.at_once)
                continue
            yield part, computed  # outside of the `try`: what is done with it must not be done twice
            first = part.stop

    def _of(self, part: slice) -> State:
        """The parameters of some lanes."""
        return {name: stacked[part] for name, stacked in self.parameters.items()}

    @torch.no_grad()
    def _adam(self, part: slice, gradients: State, lr: float, active: Tensor) -> None:
        # A lane past its last step keeps parameters and moments; each lane counts its own steps.
        self.steps_L[part] += active
        steps = self.steps_L[part].clamp(min=1).double()  # in float32, 1 − 0.999 would keep five digits only
        for name, gradient in gradients.items():
            across = (-1, *[1] * (gradient.dim() - 1))
            going = active.view(across).to(gradient.dtype)
            parameter, first, second = (table[name][part] for _, table in self._tables())  # views
            first += going * (1 - BETA_1) * (gradient - first)
            second += going * (1 - BETA_2) * (gradient * gradient - second)
            scale = (1 - BETA_2**steps).to(gradient.dtype).view(across)
            size = (lr / (1 - BETA_1**steps)).to(gradient.dtype).view(across)
            parameter -= going * size * first / ((second / scale).sqrt() + EPSILON)

    def _restore(self, lane: int, state: State) -> None:
        for prefix, table in self._tables():
            for name, stacked in table.items():
                stacked[lane] = state[f"{prefix}.{name}"]
        self.steps_L[lane] = state["step"]

    def _state(self, lane: int) -> State:
        state = {
            f"{prefix}.{name}": stacked[lane].clone()
            for prefix, table in self._tables()
            for name, stacked in table.items()
        }
        return state | {"step": self.steps_L[lane].clone()}

    def _tables(self) -> list[tuple[str, State]]:
        return [("network", self.parameters), ("exp_avg", self.exp_avg), ("exp_avg_sq", self.exp_avg_sq)]


@torch.no_grad()
def infer(network: AnyNetwork, source: Source, rows: Tensor) -> Output:
    """What one network says of some rows, in chunks: logits (n, K), features (n, D)."""
    parts = [network(source.data.images(chunk)) for chunk in rows.split(ROWS_AT_ONCE)]
    return Output(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))


def network_state(state: State) -> State:
    """The parameters within a lane's state, by the network's own names."""
    return {name.removeprefix("network."): t for name, t in state.items() if name.startswith("network.")}
