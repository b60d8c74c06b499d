"""What a trial reports to Tune, and what the driver reads of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.space.lane_scores import LaneScores
from search.space.outcome import Outcome
from sermodels.config.settings import StageName
from sermodels.training.epoch_report import EpochReport

_TUNE = "result"  # key of Tune's result


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One report: epochs that were trained or found, or the end of the trial."""

    epochs: tuple[EpochReport, ...] = ()  # of one stage, in order
    student_epoch: int | None = None  # number of the last epoch, if a scheduler may stop the trial at it
    score: float | None = None  # mean validation UAR over lanes, wherever `student_epoch` is, and of a finished trial
    outcome: Outcome | None = None  # finished, failed or waiting; None: the trial goes on
    reason: str = ""  # of a failure
    awaits: str = ""  # key of the stage that a trial waits for
    figures: Mapping[str, float] = field(default_factory=dict)  # final ones, as ChainResult.summary names them
    lanes: LaneScores = field(default_factory=dict)  # of a finished trial

    @property
    def stage(self) -> StageName | None:
        """The stage that the epochs are of."""
        return self.epochs[-1].stage if self.epochs else None

    def to_tune(self) -> dict[str, Any]:
        """Return what Tune takes for a result: `score` and `student_epoch` stand where schedulers look for them."""
        judged = {"score": self.score, "student_epoch": self.student_epoch}
        return {_TUNE: self} | {name: value for name, value in judged.items() if value is not None}

    @staticmethod
    def from_tune(result: Mapping[str, Any] | None) -> "TrialResult":
        """Read what `to_tune` returned; an empty result if there was none."""
        reported: TrialResult = (result or {}).get(_TUNE, TrialResult())
        return reported
