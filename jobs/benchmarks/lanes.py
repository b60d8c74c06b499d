"""`lanes`: many seeds of a configuration trained as one program, against one after the other, on the device at hand.

Three ways take the same steps, at batch 4, of the teacher and of the student stage: the stack (StackedLanes) of L
lanes; a single lane (LoopedLanes), as PyTorch trains a network; and several processes that share the device, each with
a single lane. A step of the stack counts L. Networks are of the paper's sizes; images are noise and the student's
targets are drawn, for neither changes the time of a step. Stack and single lane take turns, and must arrive at the same
losses.

What is required is meant for an H200, which a single lane leaves idle; on a CPU one lane fills a core, and there is
little to gain. Two minutes on two cores.
"""

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from jobs.benchmarks.inputs import generated_store
from jobs.benchmarks.result import Result
from jobs.shared.progress import counted
from sermodels.config.settings import ChainConfig, StageName
from sermodels.memory import keep_freed
from sermodels.networks.cost import macs_as_run
from sermodels.networks.factory import build_student, build_teacher
from sermodels.networks.network import Network
from sermodels.store.open import open_store
from sermodels.training.batches import Order, Source, draw_order
from sermodels.training.data import TrialData
from sermodels.training.lanes import LoopedLanes, StackedLanes
from sermodels.training.losses import loss_of

STAGES: tuple[StageName, ...] = ("student", "teacher")
REQUIRED = {"student": "≥ 20", "teacher": "≥ 8"}
ROWS = 280  # of the store: 168 to train on, which is 42 steps of 4
LANES = {"cpu": (1, 4), "cuda": (1, 4, 16, 64, 256)}
PROCESSES = {"cpu": 2, "cuda": 4}
STEPS = {"cpu": 3, "cuda": 20}  # a turn
ROUNDS = 5
SAME = 1e-3  # relative, of losses: sums are in another order
SQUARE = {"cpu": 1024, "cuda": 8192}  # rows and columns of the product that tells the device's peak
COPIED = {"cpu": 1 << 26, "cuda": 1 << 30}  # bytes
PATIENCE_S = 600  # with a process that shares the device
PASSES = 3  # over a network's products in a step of training: forward, and two backward


class Place(NamedTuple):
    """What is trained, on which rows, and where."""

    stage: StageName
    config: ChainConfig
    store: Path
    device: str  # "cpu" or "cuda"


def measure(
    scratch: Path, config: ChainConfig | None = None, lanes: Sequence[int] | None = None, rounds: int = ROUNDS
) -> Result:
    """Train both stages in all ways.

    Raises:
        ArithmeticError: stack and single lane arrive at other losses, so that the times compare nothing.
    """
    torch.set_num_threads(1)
    keep_freed()
    device, config = "cuda" if torch.cuda.is_available() else "cpu", config or ChainConfig()
    store, found = generated_store(scratch / "noise.arrow", ROWS), {}
    for stage in STAGES:
        place = Place(stage, config, store, device)
        rates = _take_turns(place, lanes or LANES[device], rounds)
        rates[f"{PROCESSES[device]} processes"] = _shared(place, rounds)
        found[stage] = rates, _million_macs(place)
    return _result(found, device, _peak(device))


class _Side:
    """Some lanes of a stage, trained one way, on the batches of its first epoch over and over."""

    def __init__(self, place: Place, lanes: int, kind: type[LoopedLanes] | type[StackedLanes]):
        self.stage, self.config, self.lanes = place.stage, place.config, lanes
        data = TrialData(open_store(place.store), place.config, place.device)
        self._trained = kind([_network(place, data, seed) for seed in range(lanes)], [None] * lanes)
        self._source = Source(data=data, targets=_targets(place, data).expand(lanes, -1, -1))
        pairs = [(place.config.folds[0], seed) for seed in range(lanes)]
        batch = place.config.settings(place.stage).batch
        self._order = draw_order(data, pairs, stage=place.stage, epoch=1, batch=batch)
        self._next = 0

    def train(self, steps: int) -> tuple[list[float], float]:
        """Some steps of every lane: their mean losses, and the seconds they took."""
        part = slice(self._next, self._next + steps)
        order = Order(self._order.rows[:, part], self._order.weights[:, part])
        self._next = (self._next + steps) % (self._order.rows.shape[1] - steps)
        lr, loss = self.config.settings(self.stage).lr, loss_of(self.stage, self.config)
        began = time.perf_counter()
        losses = self._trained.train_epoch(order, self._source, loss, lr, tick=lambda: None)
        return losses, time.perf_counter() - began  # the losses are on the CPU: a GPU has done its work


def _network(place: Place, data: TrialData, seed: int) -> Network:
    build = build_teacher if place.stage == "teacher" else build_student
    return build(place.config, data.image, data.classes, seed).to(place.device)


def _targets(place: Place, data: TrialData) -> Tensor:
    """Features that a student is to have, drawn: (1, R, D); (1, R, 0) for a teacher."""
    size = 0 if place.stage == "teacher" else place.config.dim
    drawn = torch.randn(1, len(data), size, generator=torch.Generator().manual_seed(0))
    return drawn.to(place.device, data.dtype)


def _take_turns(place: Place, lanes: Sequence[int], rounds: int) -> dict[str, float]:
    """Steps of single lanes a second, of a single lane and of each stack."""
    sides = {"alone": _Side(place, 1, LoopedLanes)}
    sides |= {f"{count} stacked": _Side(place, count, StackedLanes) for count in lanes}
    steps, rates = STEPS[place.device], {name: [] for name in sides}
    with counted(f"{place.stage} turns") as progress:
        for done in range(rounds + 1):
            losses = {}
            for name, side in sides.items():
                (losses[name], *_), took_s = side.train(steps)
                rates[name].append(side.lanes * steps / took_s)
            _check(place.stage, losses)
            progress(done, rounds)
    return {name: median(each[1:]) for name, each in rates.items()}  # in the first turn memory is allotted


def _check(stage: str, losses: Mapping[str, float]) -> None:
    """The first lane of each is the same."""
    for name, loss in losses.items():
        if not abs(loss / losses["alone"] - 1) < SAME:
            raise ArithmeticError(f"{stage}, {name}: loss {loss}, alone {losses['alone']}: they do not train the same")


def _shared(place: Place, rounds: int) -> float:
    """Steps a second of all processes together that share the device, each with a single lane."""
    context, count = multiprocessing.get_context("spawn"), PROCESSES[place.device]
    barrier, taken = context.Barrier(count), context.Queue()
    processes = [context.Process(target=_alone, args=(place, rounds, barrier, taken)) for _ in range(count)]
    for process in processes:
        process.start()
    spans = [taken.get(timeout=PATIENCE_S) for _ in processes]  # one that died tells nothing
    for process in processes:
        process.join()
    return count * rounds * STEPS[place.device] / median(spans)


def _alone(place: Place, rounds: int, barrier: Barrier, taken: Queue) -> None:
    """A process with a single lane; tells the seconds that its steps took while the others took theirs."""
    torch.set_num_threads(1)
    keep_freed()
    side = _Side(place, 1, LoopedLanes)
    side.train(STEPS[place.device])
    barrier.wait(PATIENCE_S)
    taken.put(sum(side.train(STEPS[place.device])[1] for _ in range(rounds)))


def _million_macs(place: Place) -> float:
    """Of a training step of one lane, about: PASSES times those of the forward pass over its batch."""
    data = TrialData(open_store(place.store), place.config)
    forward = macs_as_run(_network(place._replace(device="cpu"), data, seed=0), data.image)
    return PASSES * place.config.settings(place.stage).batch * forward / 1e6


def _peak(device: str) -> dict[str, float]:
    """What the device reaches with a large matrix product in float32, and copying."""
    square = torch.rand(SQUARE[device], SQUARE[device], device=device)
    block = torch.empty(COPIED[device], dtype=torch.uint8, device=device)
    product_s = _seconds(partial(torch.mm, square, square), device)
    copy_s = _seconds(block.clone, device)
    return {
        "product_gmacs_a_s": SQUARE[device] ** 3 / product_s / 1e9,
        "copy_gb_a_s": 2 * COPIED[device] / copy_s / 1e9,  # read and written
    }


def _seconds(call: partial[Tensor], device: str) -> float:
    """Median of ten calls; the first is not counted."""
    times = []
    for _ in range(11):
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times[1:])


def _result(found: Mapping[str, tuple[dict[str, float], float]], device: str, peak: dict[str, float]) -> Result:
    results: tuple[Result, ...] = ()
    for stage, (rates, million_macs) in reversed(found.items()):
        best = max((name for name in rates if name.endswith("stacked")), key=rates.__getitem__)
        most = 1e3 * peak["product_gmacs_a_s"] / million_macs
        shares = {f"{name}_share_of_product": rate / most for name, rate in rates.items()}
        where = torch.cuda.get_device_name() if device == "cuda" else f"one of {os.cpu_count()} cores"
        results = (
            Result(
                name="lanes" if results else f"lanes, {stage}",
                compared=f"steps of the {stage} stage: {best} in one program, against a single lane; {where}",
                value=rates[best] / rates["alone"],
                unit="× more steps a second",
                required=REQUIRED[stage],
                limit=f"a step's products as fast as a large one: {most / rates['alone']:.1f}×",
                parts={f"{name}_steps_a_s": rate for name, rate in rates.items()}
                | shares
                | {"million_macs_a_step": million_macs, **peak},
                further=results,
            ),
        )
    return results[0]
