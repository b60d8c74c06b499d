"""The teacher, match or student stage of a chain for all its lanes: claim, take up from the cache, train, save."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from sermodels.networks.factory import AnyNetwork
from sermodels.training.cache import BusyError, Checkpoint, History
from sermodels.training.chain_context import ChainContext, StageGoneError
from sermodels.training.epoch_report import Report, mean_over_lanes
from sermodels.training.lane_group import LaneGroup
from sermodels.training.lanes import State, Tick
from sermodels.training.stage import Stage
from sermodels.training.teacher_features import TeacherFeatures

Wait = Callable[[BusyError], None]


class StageRun:
    """One of the three stages of a chain; each lane of it is a `Stage`."""

    def __init__(self, context: ChainContext, stages: Sequence[Stage], features: TeacherFeatures):
        """Prepare; nothing is claimed or trained yet.

        Args:
            context: of the chain.
            stages: of each lane, all of one name.
            features: of the chain's teachers.
        """
        self._context, self._stages, self._features = context, stages, features
        self._claims = ExitStack()  # the locks of the lanes in training

    def run(self, report: Report, tick: Tick, wait: Wait) -> list[History]:
        """Train what the cache lacks; the arguments are those of `Chain.run`. Return the history of each lane.

        Raises:
            NonFiniteLossError: a lane's loss became infinite or not a number.
            StageGoneError: a stage before this one has left the cache.
        """
        self._claim(wait)
        with self._claims:
            histories = self._train(report, tick)
            for stage in self._stages:
                if stage.name == "teacher":
                    self._features.of(stage)  # under the teacher's claim: they, too, are computed once
        return histories

    @contextmanager
    def released(self) -> Iterator[None]:
        """Within a report: unlock the lanes while the block lasts. A scheduler may stop the trial inside it, for good.

        Raises:
            StageGoneError: another process has trained on meanwhile.
        """
        before = [self._epochs_of(stage) for stage in self._stages]
        self._claims.close()
        yield
        try:
            self._claims.enter_context(self._context.cache.claim(self._stages))
        except BusyError as busy:
            raise StageGoneError(str(busy)) from None
        if [self._epochs_of(stage) for stage in self._stages] != before:
            raise StageGoneError(f"another process went on with {self._stages[0]}")

    def _claim(self, wait: Wait) -> None:
        """Lock all unfinished lanes at once. While another process holds one of them, hold none."""
        while True:
            missing = self._missing()
            try:
                self._claims.enter_context(self._context.cache.claim(missing))
            except BusyError as busy:
                wait(busy)
                continue
            if set(self._missing()) <= set(missing):
                return
            self._claims.close()  # a finished one was pruned just now

    def _missing(self) -> list[Stage]:
        return [stage for stage in self._stages if not self._is_finished(stage)]

    def _is_finished(self, stage: Stage) -> bool:
        whole = self._epochs_of(stage) == stage.epochs
        return whole and (stage.name != "teacher" or self._context.cache.has_features(stage))

    def _epochs_of(self, stage: Stage) -> int:
        """Return how many epochs of a lane are in the cache."""
        found = self._context.cache.find(stage)
        return found.epoch if found else 0

    def _train(self, report: Report, tick: Tick) -> list[History]:
        name, epochs = self._stages[0].name, self._stages[0].epochs
        found = {stage: self._context.cache.find(stage) for stage in self._stages}
        histories = {stage: list(at.history) if at else [] for stage, at in found.items()}
        group: LaneGroup | None = None
        for epoch in range(1, epochs + 1):
            missing = [stage for stage in self._stages if len(histories[stage]) < epoch]
            if missing and (group is None or group.stages != missing):
                group = self._take_up(missing, found, group)
            if group:
                for stage, row in zip(missing, group.train_epoch(epoch, tick), strict=True):
                    histories[stage].append(row)
                group.save([histories[stage] for stage in missing])
            report(mean_over_lanes(name, epoch, [*histories.values()], trained=len(missing)))
        return [*histories.values()]

    def _take_up(
        self, missing: list[Stage], found: dict[Stage, Checkpoint | None], before: LaneGroup | None
    ) -> LaneGroup:
        # A lane whose checkpoint is ahead joins the group when the others have reached its epoch.
        current = before.states() if before else {}
        states = [current.get(stage) or self._loaded(found[stage]) for stage in missing]
        networks = [self._start(stage) for stage in missing]
        return LaneGroup(self._context, missing, networks, states, [self._targets(stage) for stage in missing])

    def _loaded(self, checkpoint: Checkpoint | None) -> State | None:
        return checkpoint.load(self._context.data.device) if checkpoint else None

    def _start(self, stage: Stage) -> AnyNetwork:
        """Return the network of a lane as it enters the stage."""
        if stage.name == "student" and stage.parent:
            return self._context.finished(stage.parent)
        return self._context.fresh(stage)

    def _targets(self, stage: Stage) -> Tensor:
        """Return the teacher's features at the rows of the lane's fold, zero elsewhere: (R, D); a teacher's: (R, 0)."""
        if stage.parent is None:
            data = self._context.data
            return torch.zeros(len(data), 0, dtype=data.dtype, device=data.device)
        return self._features.table(stage.teacher)
