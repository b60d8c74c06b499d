"""The three stages in order, for all lanes of a trial: resumable, and asking the cache before it trains.

teacher → features of the frozen teacher, computed once → match → student → scores of the last epoch.
L lanes, R rows of the trial, D feature size.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sermodels.batches import Source, draw_order
from sermodels.build import Builder
from sermodels.cache import BusyError, Checkpoint, History, StageCache
from sermodels.chain_result import ChainResult, mean_over_lanes
from sermodels.config import ChainConfig
from sermodels.data import TrialData
from sermodels.keys import stage_key, stage_material
from sermodels.lanes import LoopedLanes, StackedLanes, State, Tick, infer, network_state
from sermodels.networks import Network, require_fit
from sermodels.provenance import provenance
from sermodels.stages import STAGES, StageName, learning_rate, loss_of, measure, require_finite, settings_of
from sermodels.training_log import Entry

Report = Callable[[int, Mapping[str, float]], None]
Wait = Callable[[BusyError], None]

logger = logging.getLogger(__name__)

POLL_S = 1.0  # seconds between two looks at a stage that another process is training


class StageGoneError(Exception):
    """A finished stage is no longer in the cache: somebody deleted or pruned it meanwhile."""


class Chain:
    """One configuration on one store. `run` may be called again after any interruption and goes on from the cache."""

    def __init__(
        self,
        config: ChainConfig,
        data: TrialData,
        cache: StageCache,
        *,
        stacked: bool | None = None,
        owner: str = "",
    ):
        """Prepare; nothing is trained yet.

        Args:
            config: of the trial.
            data: its rows, on the device to train on.
            cache: finished and half-finished stages.
            stacked: train all lanes in one program instead of one after the other; None: on a GPU.
            owner: who is said to have trained, in the training log. What the same owner trained earlier, before it was
                interrupted, counts as trained and not as reused. If not given, a name of its own.

        Raises:
            UserError: the patch does not divide the images.
        """
        require_fit(config.patch_shape, data.image)
        self.config, self.data, self.cache = config, data, cache
        self.build = Builder(config=config, image=data.image, classes=data.classes)
        self.owner = owner or secrets.token_hex(4)
        self._claims = ExitStack()  # on the lanes that are being trained
        self._tables: dict[int, Tensor] = {}  # features by lane: no pruning of the cache takes them from a run
        self._lanes_type = StackedLanes if (stacked is None and data.device != "cpu") or stacked else LoopedLanes

    def run(
        self, report: Report = lambda *_: None, tick: Tick = lambda: None, wait: Wait = lambda _: time.sleep(POLL_S)
    ) -> ChainResult:
        """Train what is missing of the three stages.

        A lane of a stage is trained by one process at a time: the others wait for it, and then find it in the cache.

        Args:
            report: called with the number of each epoch within its stage, 1 being the first, and its metrics, named
                `teacher/val_uar` and so on: means over lanes, with `…_std` for the spread. `STAGE/reused` is the share
                of lanes whose epoch came from the cache. An exception of the callable ends the run; the cache keeps
                every finished epoch.
            tick: called after each step.
            wait: called while another process is training a stage that comes next; the stage is looked at again
                after it. An exception of the callable ends the run.

        Raises:
            NonFiniteLossError: a lane's loss became infinite or not a number.
        """
        histories = self.train("student", report, tick, wait)
        seconds = {stage: self._seconds(stage, of_stage) for stage, of_stage in histories.items()}
        last = [history[-1] for history in histories["student"]]
        return ChainResult(
            val_uar=tuple(row["val_uar"] for row in last),
            val_wa=tuple(row["val_wa"] for row in last),
            val_macro_f1=tuple(row["val_macro_f1"] for row in last),
            best_val_uar=tuple(max(row["val_uar"] for row in history) for history in histories["student"]),
            trained_seconds={stage: trained for stage, (trained, _) in seconds.items()},
            reused_seconds={stage: reused for stage, (_, reused) in seconds.items()},
        )

    def train(
        self,
        until: StageName,
        report: Report = lambda *_: None,
        tick: Tick = lambda: None,
        wait: Wait = lambda _: time.sleep(POLL_S),
    ) -> dict[StageName, list[History]]:
        """As `run`, but stop after a stage; returns the history of each lane of the stages so far.

        Raises:
            NonFiniteLossError: a lane's loss became infinite or not a number.
        """
        self._tables.clear()
        stages = STAGES[: STAGES.index(until) + 1]
        while True:
            try:
                return {stage: self._run_stage(stage, report, tick, wait) for stage in stages}
            except StageGoneError as gone:
                logger.warning("%s: it is trained again", gone)

    def network(self, stage: StageName, lane: int) -> Network:
        """The network of a lane as it leaves a stage, which must be finished.

        Raises:
            StageGoneError: it has left the cache since.
        """
        network = self.build(stage, self.config.lanes[lane][1]).to(self.data.device)
        epochs = settings_of(stage, self.config).epochs
        if epochs == 0:
            return network
        checkpoint = self._find(stage, lane)
        if checkpoint is None or checkpoint.epoch != epochs:
            raise StageGoneError(f"{stage} {self._key(stage, lane)[:12]} is not in {self.cache.root}")
        network.load_state_dict(network_state(checkpoint.load(self.data.device)))
        return network

    @contextmanager
    def released(self, stage: StageName) -> Iterator[None]:
        """Within a report: let others have the lanes of a stage while the block lasts, for it may never end.

        Raises:
            StageGoneError: another process has trained on meanwhile; `run` then goes on from the cache.
        """
        keys = [self._key(stage, lane) for lane in range(len(self.config.lanes))]
        before = [self._epochs_of(stage, lane) for lane in range(len(self.config.lanes))]
        self._claims.close()
        yield
        try:
            self._claims.enter_context(self.cache.claim(stage, keys))
        except BusyError as busy:
            raise StageGoneError(str(busy)) from None
        if [self._epochs_of(stage, lane) for lane in range(len(self.config.lanes))] != before:
            raise StageGoneError(f"another process went on with {stage} {keys[0][:12]}")

    def _run_stage(self, stage: StageName, report: Report, tick: Tick, wait: Wait) -> list[History]:
        self._claim(stage, wait)
        with self._claims:
            histories = self._train(stage, report, tick)
            if stage == "teacher":
                for lane in range(len(self.config.lanes)):
                    self._features(lane)  # under the teacher's claim: they too are computed once
        return histories

    def _claim(self, stage: StageName, wait: Wait) -> None:
        """Hold the lanes of a stage that are not finished, all at once; while others have one, none is held."""
        while True:
            missing = self._missing(stage)
            try:
                self._claims.enter_context(self.cache.claim(stage, missing))
            except BusyError as busy:
                wait(busy)
                continue
            if set(self._missing(stage)) <= set(missing):
                return
            self._claims.close()  # a finished one was pruned just now

    def _missing(self, stage: StageName) -> list[str]:
        """Keys of the lanes of a stage that are not finished."""
        lanes = range(len(self.config.lanes))
        return [self._key(stage, lane) for lane in lanes if not self._is_finished(stage, lane)]

    def _train(self, stage: StageName, report: Report, tick: Tick) -> list[History]:
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
            report(epoch, mean_over_lanes(stage, epoch, histories, active))
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
        require_finite(stage, epoch, lanes, figures)
        return figures

    def _save(self, stage: StageName, under_way: "_UnderWay", histories: list[History]) -> None:
        epochs, where = settings_of(stage, self.config).epochs, provenance(self.data.device)
        for lane, state in zip(under_way.lanes, under_way.trained.states(), strict=True):
            (fold, seed), key, history = self.config.lanes[lane], self._key(stage, lane), histories[lane]
            did = {"epoch": len(history), "fold": fold, "seed": seed, "seconds": history[-1]["seconds"]}
            self.cache.log(Entry(stage=stage, key=key, owner=self.owner, **did))
            material = stage_material(self.config, self.data.fingerprint, (fold, seed), stage)
            about = {"determined by": material, "computed by": where}
            self.cache.save(stage, key, state, history, finished=len(history) == epochs, about=about)

    def _seconds(self, stage: StageName, histories: list[History]) -> tuple[float, float]:
        """Seconds of a stage's epochs, all lanes: those that this owner trained, and those that others did."""
        trained = reused = 0.0
        for lane, history in enumerate(histories):
            owners = self.cache.owners(stage, self._key(stage, lane))
            for epoch, row in enumerate(history, start=1):
                own = owners.get(epoch) == self.owner
                trained, reused = trained + own * row["seconds"], reused + (not own) * row["seconds"]
        return trained, reused

    def _start(self, stage: StageName, lane: int) -> Network:
        """The network of a lane as it enters a stage."""
        if stage == "student":
            return self.network("match", lane)
        return self.build(stage, self.config.lanes[lane][1]).to(self.data.device)

    def _targets(self, stage: StageName, lane: int) -> Tensor:
        """The teacher's features at the rows of the lane's fold, zero elsewhere: (R, D); (R, 0) for the teacher."""
        size = 0 if stage == "teacher" else self.config.dim
        table = torch.zeros(len(self.data), size, dtype=self.data.dtype, device=self.data.device)
        if stage != "teacher":
            table[self._rows(lane)] = self._features(lane)
        return table

    def _features(self, lane: int) -> Tensor:
        """The finished teacher's features at the rows of the lane's fold, computed if they are not in the cache."""
        if lane in self._tables:
            return self._tables[lane]
        key, epochs = self._key("teacher", lane), self.config.teacher.epochs
        features = self.cache.load_features(key, epochs)
        if features is None:
            source = Source(data=self.data, targets=torch.empty(0))
            features = infer(self.network("teacher", lane), source, self._rows(lane)).features
            self.cache.save_features(key, epochs, features)
        self._tables[lane] = features.to(self.data.device)
        return self._tables[lane]

    def _rows(self, lane: int) -> Tensor:
        fold = self.data.folds[self.config.lanes[lane][0]]
        return torch.cat([fold.train, fold.valid]).unique()

    def _is_finished(self, stage: StageName, lane: int) -> bool:
        epochs = settings_of(stage, self.config).epochs
        return self._epochs_of(stage, lane) == epochs and (
            stage != "teacher" or self.cache.has_features(self._key(stage, lane), epochs)
        )

    def _epochs_of(self, stage: StageName, lane: int) -> int:
        """How many epochs of a lane are in the cache."""
        found = self._find(stage, lane)
        return found.epoch if found else 0

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
