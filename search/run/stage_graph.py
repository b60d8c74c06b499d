"""Fixed configurations on Ray: each lane of each stage trained once, as a task that waits for the stage before it.

Where configurations agree in a stage they share its task, as trials share it in the cache; what an earlier run has
finished is found there. Nothing is chosen here: a configuration is trained on its folds, and tested on each.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from search.run.cluster import living_nodes
from sermodels.config.parsing import to_plain
from sermodels.config.settings import STAGES, ChainConfig, Lane, Protocol, StageName
from sermodels.errors import UserError
from sermodels.evaluation.evaluate import confusion_by_speaker
from sermodels.memory import give_back, keep_freed
from sermodels.metrics import uar, wa
from sermodels.networks.cost import count_parameters
from sermodels.store.fetch import local_store
from sermodels.store.open import Store, open_store
from sermodels.store.splits import split
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData
from sermodels.training.stage import Stage, lane_stages, stages_of

SIGN_OF_LIFE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class BestEpoch:
    """The epoch whose network would have been taken, had the test side been asked."""

    epoch: int  # 1 is the first
    wa: float
    uar: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a lane's network says of the clips its fold holds out, how it came there, and where it was trained.

    `to_plain` makes of it what JSON holds.
    """

    corpus: str
    store: str  # fingerprint
    protocol: Protocol
    stage: StageName
    fold: int
    seed: int
    epochs: int
    items: int  # clips tested
    wa: float  # 0…1
    uar: float  # 0…1
    best_epoch: BestEpoch
    emotions: tuple[str, ...]
    confusion: dict[str, list[list[int]]]  # speaker → counts [true][predicted]
    parameters: int
    seconds: float  # of training
    trained_by: dict[str, Any] | None  # see provenance.py; None: not known
    config: dict[str, Any]  # keys of ChainConfig, without folds and seeds


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A stage of a configuration, all lanes of it, on a store."""

    config: ChainConfig
    stage: StageName
    store: str  # absolute path, the same on every node, or an address
    fingerprint: str  # of the store

    def of_lane(self, lane: Lane) -> Stage:
        """Return the stage of a lane, which need not be one of the configuration's; its id names the lane's result."""
        return lane_stages(self.config, self.fingerprint, lane)[self.stage]

    def of_lanes(self) -> tuple[Stage, ...]:
        """Return the stages of its lanes, in their order."""
        return stages_of(self.config, self.fingerprint)[self.stage]

    def only(self, lanes: Sequence[Lane]) -> "list[Wanted]":
        """The same for some of its lanes: as few parts as folds × seeds can be made of."""
        folds_of = {seed: tuple(fold for fold, own in lanes if own == seed) for _, seed in lanes}
        parts = {folds: tuple(seed for seed in folds_of if folds_of[seed] == folds) for folds in folds_of.values()}
        return [replace(self, config=replace(self.config, folds=folds, seeds=seeds)) for folds, seeds in parts.items()]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where tasks run, and what they use there."""

    stages: str  # absolute path of the stage cache
    cpus: float  # cores of a task, and its threads
    gpus: float  # GPUs of a task, or a part of one; with any, the lanes of a configuration train as one program
    owner: str  # who is said to have trained, in the training log


def run_graph(wanted: Sequence[Wanted], place: Place) -> Iterator[tuple[dict[str, Measured], str]]:
    """Train what is missing and test it; a Ray session is open.

    Args:
        wanted: of protocols in `splits.FIXED`; may agree in stages, or be the same.
        place: where.

    Yields:
        For each task that tested something, as it ends: its results by `Stage.id`, and why it failed, or "".
        Neither, every SIGN_OF_LIFE_S in which none ended.

    Raises:
        UserError: no node has what a task uses.
    """
    _require_room(place)
    task = ray.remote(num_cpus=place.cpus, num_gpus=place.gpus)(_train)
    parts = [part for one in wanted for part in _parts(one, together=place.gpus > 0)]
    tested = {part.of_lanes(): part for part in parts}
    tasks: dict[tuple[Stage, ...], ray.ObjectRef[dict[str, Measured]]] = {}
    for part in parts:
        before: list[ray.ObjectRef[dict[str, Measured]]] = []
        for stage in STAGES[: STAGES.index(part.stage) + 1]:
            step = replace(part, stage=stage)
            stages = step.of_lanes()
            if stages not in tasks:
                tasks[stages] = task.remote(step, place, stages in tested, *before)
            before = [tasks[stages]]
    pending = [tasks[stages] for stages in tested]
    while pending:
        ended, pending = ray.wait(pending, num_returns=1, timeout=SIGN_OF_LIFE_S)
        try:
            yield ray.get(ended[0]) if ended else {}, ""
        except ray.exceptions.RayTaskError as error:
            yield {}, f"{type(error.cause).__name__}: {error.cause}"
        except ray.exceptions.RayError as error:  # its process died, again and again
            yield {}, f"{type(error).__name__}: {str(error).partition('.')[0]}"


def _require_room(place: Place) -> None:
    if place.cpus <= 0 or place.gpus < 0 or (place.gpus > 1 and place.gpus % 1):
        raise UserError(f"--cpus {place.cpus} --gpus {place.gpus}: cores above 0; GPUs 0, a part of one, or whole ones")
    nodes = living_nodes()
    if not any(node.get("CPU", 0) >= place.cpus and node.get("GPU", 0) >= place.gpus for node in nodes):
        there = "; ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UserError(f"--cpus {place.cpus:g} --gpus {place.gpus:g}: no node has as many; there are {there}")


def _parts(wanted: Wanted, *, together: bool) -> list[Wanted]:
    """What is trained in one task: all lanes as one program, or one lane."""
    return [wanted] if together else [part for lane in wanted.config.lanes for part in wanted.only([lane])]


def _train(wanted: Wanted, place: Place, test: bool, *_before: Any) -> dict[str, Measured]:
    """In a process of Ray's: train a stage, those before it being in the cache; test its networks if asked to."""
    torch.set_num_threads(max(1, int(place.cpus)))
    keep_freed()
    store = open_store(local_store(wanted.store, fingerprint=wanted.fingerprint))
    if store.fingerprint != wanted.fingerprint:
        raise UserError(f"{store.path} on this node is another store: delete it, or copy the right one there")
    data = TrialData(store, wanted.config, "cuda" if place.gpus else "cpu")
    chain = Chain(wanted.config, data, StageCache(Path(place.stages)), owner=place.owner)
    histories = chain.train(wanted.stage)[wanted.stage]
    results = {
        stage.id: _test(chain, wanted, store, lane, histories[lane])
        for lane, stage in enumerate(wanted.of_lanes())
        if test
    }
    give_back()
    return results


def _test(chain: Chain, wanted: Wanted, store: Store, lane: int, history: Sequence[Mapping[str, float]]) -> Measured:
    """Test a lane's network on the clips that its fold holds out."""
    config, stage = wanted.config, chain.stages[wanted.stage][lane]
    (fold, seed), network = stage.lane, chain.network(stage.name, lane)
    rows = split(store, config.protocol, fold, config.split_seed).test
    confusion = confusion_by_speaker(network, store, rows)
    counts = np.sum([*confusion.values()], axis=0)
    best = max(range(len(history)), key=lambda epoch: history[epoch]["val_wa"])
    return Measured(
        corpus=store.corpus,
        store=store.fingerprint,
        protocol=config.protocol,
        stage=stage.name,
        fold=fold,
        seed=seed,
        epochs=len(history),
        items=len(rows),
        wa=float(wa(counts)),
        uar=float(uar(counts)),
        best_epoch=BestEpoch(epoch=best + 1, wa=history[best]["val_wa"], uar=history[best]["val_uar"]),
        emotions=store.emotions,
        confusion=confusion,
        parameters=count_parameters(network),
        seconds=sum(epoch["seconds"] for epoch in history),
        trained_by=chain.computed_by(stage),
        config={name: value for name, value in to_plain(config).items() if name not in ("folds", "seeds")},
    )
