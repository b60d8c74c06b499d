"""When trials are stopped early: Tune's ASHA, which remembers what a study already knows."""

from typing import Any

import optuna
from optuna.trial import FrozenTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.library_internals import replay
from search.run.plan import Plan

EPOCH, SCORE = "student_epoch", "score"  # in a trial's results


def scheduler(plan: Plan, study: optuna.Study) -> TrialScheduler:
    """Return the scheduler of a preset.

    Args:
        plan: of the sweep.
        study: its trials fill the rungs, if a sweep goes on.
    """
    if plan.preset.scheduler == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]  # Ray leaves it without annotations
    longest = max(config.student.epochs for config in plan.configurations())
    return _Asha(
        _judged(study),
        time_attr=EPOCH,
        max_t=max(longest - 1, plan.preset.grace_epochs),  # after the last epoch there is nothing left to save
        grace_period=plan.preset.grace_epochs,
        reduction_factor=plan.preset.reduction_factor,
        stop_last_trials=False,  # the trial itself says when it has finished
    )


class _Asha(AsyncHyperBandScheduler):
    """ASHA whose rungs hold the scores of a study's trials from the start."""

    def __init__(self, past: list[FrozenTrial], **settings: Any):
        super().__init__(**settings)
        self._past = past

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from Tune, before the first trial; without them the scores of the past say nothing."""
        known = super().set_search_properties(metric, mode, **spec)
        for trial in self._past:
            scores = sorted(trial.intermediate_values.items())
            replay(self, f"past-{trial.number}", [{EPOCH: epoch, SCORE: score} for epoch, score in scores])
        self._past = []
        return known


def _judged(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ended on their own account; those interrupted come again under another id."""
    ended = (trial for trial in study.get_trials() if trial.state.is_finished())
    return [trial for trial in ended if not {"copy_of", "interrupted"} & trial.user_attrs.keys()]
