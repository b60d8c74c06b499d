"""The three stages in order, for all lanes of a trial: resumable, and asking the cache before it trains.

teacher → features of the frozen teacher, computed once → match → student → scores of the last epoch.
L lanes, R rows of the trial, D feature size.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sermodels.batches import Source, draw_order
from sermodels.cache import Checkpoint, History, StageCache
from sermodels.config import ChainConfig
from sermodels.data import TrialData
from sermodels.keys import stage_key, stage_material
from sermodels.lanes import LoopedLanes, StackedLanes, State, Tick, infer, network_state
from sermodels.networks import Network
from sermodels.provenance import provenance
from sermodels.stages import STAGES, Builder, StageName, learning_rate, loss_of, measure, settings_of

Report = Callable[[int, Mapping[str, float]], None]


class NonFiniteLossError(ArithmeticError):
    """Training diverged: a loss, or a figure of the validation rows, is not finite; the message says where."""


@dataclass(frozen=True, kw_only=True)
class ChainResult:
    """What a finished chain says of its configuration; one entry a lane, in the order of `ChainConfig.lanes`."""

    val_uar: tuple[float, ...]  # of the last epoch
    val_wa: tuple[float, ...]
    val_macro_f1: tuple[float, ...]
    best_val_uar: tuple[float, ...]  # of the best epoch: told, never used to select
    trained_seconds: float  # spent now
    reused_seconds: float  # spent earlier, by whoever left the stages in the cache

    def summary(self) -> dict[str, float]:
        """Mean and standard deviation over lanes, under the names that trackers show."""
        figures: dict[str, float] = {}
        for name in ("val_uar", "val_wa", "val_macro_f1", "best_val_uar"):
            values = getattr(self, name)
            figures[name] = statistics.fmean(values)
            figures[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
        return figures | {"trained_seconds": self.trained_seconds, "reused_seconds": self.reused_seconds}


class Chain:
    """One configuration on one store. `run` may be called again after any interruption and goes on from the cache."""

    def __init__(self, config: ChainConfig, data: TrialData, cache: StageCache, *, stacked: bool | None = None):
        """Prepare; nothing is trained yet.

        Args:
            config: of the trial.
            data: its rows, on the device to train on.
            cache: finished and half-finished stages.
            stacked: train all lanes in one program instead of one after the other; None: on a GPU.
        """
        self.config, self.data, self.cache = config, data, cache
        self.build = Builder(config=config, image=data.image, classes=data.classes)
        self._lanes_type = StackedLanes if (stacked is None and data.device != "cpu") or stacked else LoopedLanes
        self._seconds = {"trained": 0.0, "reused": 0.0}

    def run(self, report: Report = lambda *_: None, tick: Tick = lambda: None) -> ChainResult:
        """Train what is missing of the three stages.

        Args:
            report: called with the number of each epoch within its stage, 1 being the first, and its metrics, named
                `teacher/val_uar` and so on: means over lanes, with `…_std` for the spread. `STAGE/reused` is the share
                of lanes whose epoch came from the cache. An exception of the callable ends the run; the cache keeps
                every finished epoch.
            tick: called after each step.

        Raises:
            NonFiniteLossError: a lane's loss became infinite or not a number.
        """
        self._seconds = {"trained": 0.0, "reused": 0.0}
        for stage in STAGES:
            histories = self._run_stage(stage, report, tick)
        last = [history[-1] for history in histories]
        return ChainResult(
            val_uar=tuple(row["val_uar"] for row in last),
            val_wa=tuple(row["val_wa"] for row in last),
            val_macro_f1=tuple(row["val_macro_f1"] for row in last),
            best_val_uar=tuple(max(row["val_uar"] for row in history) for history in histories),
            trained_seconds=self._seconds["trained"],
            reused_seconds=self._seconds["reused"],
        )

    def student(self, lane: int) -> Network:
        """The trained student of one lane; `run` must have finished."""
        return self._network("student", lane)

    def _run_stage(self, stage: StageName, report: Report, tick: Tick) -> list[History]:
        epochs = settings_of(stage, self.config).epochs
        found = [self._find(stage, lane) for lane in range(len(self.config.lanes))]
        done = [checkpoint.epoch if checkpoint else 0 for checkpoint in found]
        histories = [list(checkpoint.history) if checkpoint else [] for checkpoint in found]
        under_way: _UnderWay | None = None
        for epoch in range(1, epochs + 1):
            active = [lane for lane, finished in enumerate(done) if finished < epoch]
            if active and (under_way is None or under_way.lanes != active):
                under_way = self._take_up(stage, active, found, under_way)
            if under_way:
                for lane, row in zip(active, self._epoch(stage, under_way, epoch, tick), strict=True):
                    histories[lane].append(row)
                self._save(stage, under_way, histories)
            self._account(epoch, histories, active)
            report(epoch, _mean_over_lanes(stage, epoch, histories, active))
        return histories

    def _take_up(
        self, stage: StageName, active: list[int], found: list[Checkpoint | None], before: "_UnderWay | None"
    ) -> "_UnderWay":
        # Lanes join when the others have caught up with the epoch their checkpoint stopped at.
        current = dict(zip(before.lanes, before.trained.states(), strict=True)) if before else {}
        states = [self._resume_state(lane, current, found[lane]) for lane in active]
        networks = [self._start(stage, lane) for lane in active]
        targets = torch.stack([self._targets(stage, lane) for lane in active])
        source = Source(data=self.data, targets=targets)
        return _UnderWay(lanes=active, trained=self._lanes_type(networks, states), source=source)

    def _resume_state(self, lane: int, current: dict[int, State], found: Checkpoint | None) -> State | None:
        if lane in current:
            return current[lane]
        return found.load(self.data.device) if found else None

    def _epoch(self, stage: StageName, under_way: "_UnderWay", epoch: int, tick: Tick) -> list[dict[str, float]]:
        settings, began = settings_of(stage, self.config), time.perf_counter()
        lanes, source = [self.config.lanes[lane] for lane in under_way.lanes], under_way.source
        order = draw_order(self.data, lanes, stage=stage, epoch=epoch, batch=settings.batch)
        lr = learning_rate(settings, epoch)
        losses = under_way.trained.train_epoch(order, source, loss_of(stage, self.config), lr, tick)
        valid = [self.data.folds[fold].valid for fold, _ in lanes]
        outputs = under_way.trained.outputs(source, valid)
        seconds = (time.perf_counter() - began) / len(lanes)
        figures = [
            {"loss": loss, "lr": lr}
            | measure(stage, output, self.data.labels[rows], source.targets[place, rows])
            | {"seconds": seconds}
            for place, (loss, output, rows) in enumerate(zip(losses, outputs, valid, strict=True))
        ]
        _require_finite(stage, epoch, lanes, figures)
        return figures

    def _save(self, stage: StageName, under_way: "_UnderWay", histories: list[History]) -> None:
        epochs, where = settings_of(stage, self.config).epochs, provenance(self.data.device)
        for lane, state in zip(under_way.lanes, under_way.trained.states(), strict=True):
            material = stage_material(self.config, self.data.fingerprint, self.config.lanes[lane], stage)
            self.cache.save(
                stage,
                self._key(stage, lane),
                state,
                histories[lane],
                finished=len(histories[lane]) == epochs,
                about={"determined by": material, "computed by": where},
            )

    def _account(self, epoch: int, histories: list[History], active: Sequence[int]) -> None:
        for lane, history in enumerate(histories):
            self._seconds["trained" if lane in active else "reused"] += history[epoch - 1]["seconds"]

    def _start(self, stage: StageName, lane: int) -> Network:
        """The network of a lane as it enters a stage."""
        if stage == "student":
            return self._network("match", lane)
        return self.build(stage, self.config.lanes[lane][1]).to(self.data.device)

    def _network(self, stage: StageName, lane: int) -> Network:
        """The network of a lane as it leaves a stage."""
        network = self.build(stage, self.config.lanes[lane][1]).to(self.data.device)
        epochs = settings_of(stage, self.config).epochs
        if epochs == 0:
            return network
        checkpoint = self._find(stage, lane)
        assert checkpoint, f"{stage} of lane {lane} was never begun"
        assert checkpoint.epoch == epochs, f"{stage} of lane {lane} is not finished"
        network.load_state_dict(network_state(checkpoint.load(self.data.device)))
        return network

    def _targets(self, stage: StageName, lane: int) -> Tensor:
        """The teacher's features at the rows of the lane's fold, zero elsewhere: (R, D); (R, 0) for the teacher."""
        size = 0 if stage == "teacher" else self.config.dim
        table = torch.zeros(len(self.data), size, dtype=self.data.dtype, device=self.data.device)
        if stage != "teacher":
            fold = self.data.folds[self.config.lanes[lane][0]]
            rows = torch.cat([fold.train, fold.valid]).unique()
            table[rows] = self._features(lane, rows)
        return table

    def _features(self, lane: int, rows: Tensor) -> Tensor:
        key, epochs = self._key("teacher", lane), self.config.teacher.epochs
        features = self.cache.load_features(key, epochs)
        if features is None:
            source = Source(data=self.data, targets=torch.empty(0))
            features = infer(self._network("teacher", lane), source, rows).features
            self.cache.save_features(key, epochs, features)
        return features.to(self.data.device)

    def _find(self, stage: StageName, lane: int) -> Checkpoint | None:
        return self.cache.find(stage, self._key(stage, lane), settings_of(stage, self.config).epochs)

    def _key(self, stage: StageName, lane: int) -> str:
        return stage_key(self.config, self.data.fingerprint, self.config.lanes[lane], stage)


@dataclass(kw_only=True)
class _UnderWay:
    """The lanes of a stage that are being trained now."""

    lanes: list[int]  # places in ChainConfig.lanes
    trained: LoopedLanes | StackedLanes
    source: Source


def _require_finite(
    stage: StageName, epoch: int, lanes: list[tuple[int, int]], figures: list[dict[str, float]]
) -> None:
    for (fold, seed), row in zip(lanes, figures, strict=True):
        for name, figure in row.items():
            if not math.isfinite(figure):
                where = f"{stage} stage, epoch {epoch}, fold {fold}, seed {seed}"
                raise NonFiniteLossError(f"{where}: {name} is {figure}")


def _mean_over_lanes(stage: StageName, epoch: int, histories: list[History], active: Sequence[int]) -> dict[str, float]:
    rows = [history[epoch - 1] for history in histories]
    metrics = {f"{stage}/{name}": statistics.fmean(row[name] for row in rows) for name in rows[0]}
    if "val_uar" in rows[0]:
        spread = statistics.stdev(row["val_uar"] for row in rows) if len(rows) > 1 else 0.0
        metrics[f"{stage}/val_uar_std"] = spread
    return metrics | {f"{stage}/reused": 1 - len(active) / len(rows)}
