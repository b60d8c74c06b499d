"""The three stages in order, for all lanes of a trial: resumable, and asking the cache before it trains.

teacher → features of the frozen teacher, computed once → match → student → scores of the last epoch.
"""

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, overload

from sermodels.config.settings import STAGES, ChainConfig, StageName
from sermodels.networks.factory import AnyNetwork, Builder
from sermodels.networks.network import Network, require_fit
from sermodels.training.cache import BusyError, History, StageCache
from sermodels.training.chain_context import ChainContext, StageGoneError
from sermodels.training.chain_result import ChainResult, seconds_of
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport, Report
from sermodels.training.lanes import LoopedLanes, StackedLanes, Tick
from sermodels.training.stage import Stage, stages_of
from sermodels.training.stage_run import StageRun, Wait
from sermodels.training.teacher_features import TeacherFeatures

logger = logging.getLogger(__name__)

POLL_S = 1.0  # seconds between two looks at a stage that another process is training


def look_again(busy: BusyError) -> None:  # noqa: ARG001
    """Wait a moment for a stage that another process is training."""
    time.sleep(POLL_S)


def _ignore(_: EpochReport) -> None:
    pass


def _no_tick() -> None:
    pass


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
            owner: name of this chain in the training log. Epochs that the same owner trained before an interruption
                count as trained, not as reused. If not given, a random name.

        Raises:
            UserError: the patch does not divide the images.
        """
        require_fit(config.patch_shape, data.image)
        self.stages = stages_of(config, data.fingerprint)
        self._context = ChainContext(
            config=config,
            data=data,
            cache=cache,
            build=Builder(config=config, image=data.image, classes=data.classes),
            lanes_type=StackedLanes if (stacked is None and data.device != "cpu") or stacked else LoopedLanes,
            owner=owner or secrets.token_hex(4),
        )
        features = TeacherFeatures(self._context)
        self._features = features
        self._runs = {name: StageRun(self._context, stages, features) for name, stages in self.stages.items()}

    def run(self, report: Report = _ignore, tick: Tick = _no_tick, wait: Wait = look_again) -> ChainResult:
        """Train what is missing of the three stages.

        A lane of a stage is trained by one process at a time: the others wait for it, and then find it in the cache.

        Args:
            report: called with each epoch of each stage. An exception of the callable ends the run; the cache keeps
                every finished epoch.
            tick: called after each step.
            wait: called while another process is training a stage that comes next; the stage is looked at again
                after it. An exception of the callable ends the run.

        Raises:
            NonFiniteLossError: a lane's loss became infinite or not a number.
        """
        histories = self.train("student", report, tick, wait)
        context, last = self._context, [history[-1] for history in histories["student"]]
        seconds = {
            name: seconds_of(context.cache, self.stages[name], of_stage, context.owner)
            for name, of_stage in histories.items()
        }
        return ChainResult(
            val_uar=tuple(row["val_uar"] for row in last),
            val_wa=tuple(row["val_wa"] for row in last),
            val_macro_f1=tuple(row["val_macro_f1"] for row in last),
            best_val_uar=tuple(max(row["val_uar"] for row in history) for history in histories["student"]),
            trained_seconds={name: of_stage.trained for name, of_stage in seconds.items()},
            reused_seconds={name: of_stage.reused for name, of_stage in seconds.items()},
        )

    def train(
        self, until: StageName, report: Report = _ignore, tick: Tick = _no_tick, wait: Wait = look_again
    ) -> dict[StageName, list[History]]:
        """As `run`, but stop after a stage; return the history of each lane of the stages so far.

        Raises:
            NonFiniteLossError: a lane's loss became infinite or not a number.
        """
        self._features.clear()
        while True:
            try:
                names = STAGES[: STAGES.index(until) + 1]
                return {name: self._runs[name].run(report, tick, wait) for name in names}
            except StageGoneError as gone:
                logger.warning("%s: it is trained again", gone)

    @overload
    def network(self, stage: Literal["match", "student"], lane: int) -> Network: ...

    @overload
    def network(self, stage: StageName, lane: int) -> AnyNetwork: ...

    def network(self, stage: StageName, lane: int) -> AnyNetwork:
        """Return the network of a lane, by its place in `config.lanes`, as it leaves a stage, which must be finished.

        Raises:
            StageGoneError: it has left the cache since.
        """
        return self._context.finished(self.stages[stage][lane])

    def computed_by(self, stage: Stage) -> dict[str, Any] | None:
        """Return where and with what a stage was trained (provenance.py); None if it has left the cache."""
        checkpoint = self._context.cache.find(stage)
        return checkpoint.computed_by if checkpoint else None

    @contextmanager
    def released(self, stage: StageName) -> Iterator[None]:
        """Within a report: unlock the lanes of a stage while the block lasts. A scheduler may stop the trial inside it.

        Raises:
            StageGoneError: another process has trained on meanwhile; `run` then goes on from the cache.
        """
        with self._runs[stage].released():
            yield
