"""How long a search would train: a few steps of every distinct network are timed, here and now."""

import time
from collections.abc import Iterable
from typing import Any

import torch

from sermodels.config.settings import STAGES, ChainConfig, StageName
from sermodels.networks.factory import Builder
from sermodels.store.open import Store
from sermodels.store.splits import split
from sermodels.training.batches import Order, Source, draw_order
from sermodels.training.data import TrialData
from sermodels.training.lanes import LoopedLanes
from sermodels.training.losses import loss_of
from sermodels.training.stage import Stage, lane_stages

STEPS_TIMED = 2


def distinct_stages(configs: Iterable[ChainConfig], fingerprint: str) -> dict[Stage, ChainConfig]:
    """Return the stages that some configurations hold on a store, of one lane, each with a configuration that has it.

    Of stages with one key there is that with the most epochs: the others are prefixes of it.
    """
    longest: dict[str, tuple[Stage, ChainConfig]] = {}
    for config in configs:
        for stage in lane_stages(config, fingerprint, config.lanes[0]).values():
            if stage.key not in longest or stage.epochs > longest[stage.key][0].epochs:
                longest[stage.key] = stage, config
    return dict(longest.values())


def count_stages(stages: Iterable[Stage]) -> dict[StageName, int]:
    """Return how many teachers, matches and students there are among some stages."""
    names = [stage.name for stage in stages]
    return {name: names.count(name) for name in STAGES}


def estimate_seconds(store: Store, configs: Iterable[ChainConfig], device: str, threads: int) -> float:
    """Seconds to train every distinct stage of some configurations once, all lanes, in one process.

    Args:
        store: to train on.
        configs: the configurations.
        device: "cpu" or "cuda", of this machine.
        threads: of PyTorch on the CPU; stays set.
    """
    torch.set_num_threads(threads)
    step_seconds: dict[tuple[Any, ...], float] = {}
    total = 0.0
    for stage, config in distinct_stages(configs, store.fingerprint).items():
        shape = _shape(stage.name, config)
        if shape not in step_seconds:
            step_seconds[shape] = _time_step(store, config, stage.name, device)
        rows = len(split(store, config.protocol, config.folds[0], config.split_seed).train)
        total += stage.epochs * len(config.lanes) * rows / config.settings(stage.name).batch * step_seconds[shape]
    return total


def _shape(stage: StageName, config: ChainConfig) -> tuple[Any, ...]:
    """What a step's duration depends on: match and student train the same network."""
    own = (config.teacher.network, config.teacher.stem, config.encoding) if stage == "teacher" else ()
    network = config.teacher if stage == "teacher" else config.student
    batch = config.settings(stage).batch
    shared = (config.patch, config.dim, config.mlp, config.head_dim, config.pooling)
    return (stage == "teacher", batch, network.depth, network.heads, *shared, *own)


def _time_step(store: Store, config: ChainConfig, stage: StageName, device: str) -> float:
    """Seconds a training step takes, the first one left out."""
    data = TrialData(store, config, device)
    network = Builder(config=config, image=data.image, classes=data.classes)(stage, 0).to(device)
    size = 0 if stage == "teacher" else config.dim
    source = Source(data=data, targets=torch.zeros(1, len(data), size, dtype=data.dtype, device=device))
    batch = config.settings(stage).batch
    order = draw_order(data, config.lanes[:1], stage=stage, epoch=1, batch=batch)
    first = Order(order.rows[:, :1], order.weights[:, :1])
    lanes, loss = LoopedLanes([network], [None]), loss_of(stage, config)
    for step in range(1 + STEPS_TIMED):
        if step == 1:
            began = time.perf_counter()
        lanes.train_epoch(first, source, loss, 1e-4, lambda: None)
    return (time.perf_counter() - began) / STEPS_TIMED
