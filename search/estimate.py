"""How long a search would train: a few steps of every distinct network are timed, here and now."""

import itertools
import time
from collections.abc import Iterable
from typing import Any

import torch

from sermodels.batches import Order, Source, draw_order
from sermodels.build import Builder
from sermodels.config import ChainConfig
from sermodels.data import TrialData
from sermodels.keys import stage_key
from sermodels.lanes import LoopedLanes
from sermodels.splits import split
from sermodels.stages import STAGES, StageName, loss_of, settings_of
from sermodels.store import Store

STEPS_TIMED = 2


def estimate_seconds(store: Store, configs: Iterable[ChainConfig], device: str, threads: int) -> float:
    """Seconds to train every distinct stage of some configurations once, all lanes, in one process.

    Args:
        store: to train on.
        configs: the configurations.
        device: "cpu" or "cuda", of this machine.
        threads: of PyTorch on the CPU; stays set.
    """
    torch.set_num_threads(threads)
    distinct: dict[tuple[str, str, int], ChainConfig] = {}
    for config, stage in itertools.product(configs, STAGES):
        key = stage_key(config, store.fingerprint, config.lanes[0], stage)
        distinct[stage, key, settings_of(stage, config).epochs] = config
    step_seconds: dict[tuple[Any, ...], float] = {}
    total = 0.0
    for (stage, _, epochs), config in distinct.items():
        shape = _shape(stage, config)
        if shape not in step_seconds:
            step_seconds[shape] = _time_step(store, config, stage, device)
        rows = len(split(store, config.protocol, config.folds[0], config.split_seed).train)
        total += epochs * len(config.lanes) * rows / settings_of(stage, config).batch * step_seconds[shape]
    return total


def _shape(stage: StageName, config: ChainConfig) -> tuple[Any, ...]:
    """What a step's duration depends on: match and student train the same network."""
    own = (config.teacher.network, config.teacher.stem, config.encoding) if stage == "teacher" else ()
    settings = settings_of("student" if stage == "match" else stage, config)
    batch = settings_of(stage, config).batch
    shared = (config.patch, config.dim, config.mlp, config.head_dim, config.pooling)
    return (stage == "teacher", batch, settings.depth, settings.heads, *shared, *own)


def _time_step(store: Store, config: ChainConfig, stage: StageName, device: str) -> float:
    """Seconds a training step takes, the first one left out."""
    data = TrialData(store, config, device)
    network = Builder(config=config, image=data.image, classes=data.classes)(stage, 0).to(device)
    size = 0 if stage == "teacher" else config.dim
    source = Source(data=data, targets=torch.zeros(1, len(data), size, dtype=data.dtype, device=device))
    batch = settings_of(stage, config).batch
    order = draw_order(data, config.lanes[:1], stage=stage, epoch=1, batch=batch)
    first = Order(order.rows[:, :1], order.weights[:, :1])
    lanes, loss = LoopedLanes([network], [None]), loss_of(stage, config)
    for step in range(1 + STEPS_TIMED):
        if step == 1:
            began = time.perf_counter()
        lanes.train_epoch(first, source, loss, 1e-4, lambda: None)
    return (time.perf_counter() - began) / STEPS_TIMED
