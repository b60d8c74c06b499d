"""ASHA goes on where a study was left: its rungs hold what earlier drivers saw."""

from dataclasses import replace

import optuna
import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.run.plan import Plan
from search.run.pruning import scheduler
from search.space.preset import load

TOLD = {"metric": "score", "mode": "max"}


class Running:
    trial_id = "new"


@pytest.fixture
def plan(store):
    words = ["scheduler=asha", "grace_epochs=2", "reduction_factor=2", "chain.student.epochs=9", "space.patch=null"]
    preset = load("demo", [*words, "chain.patch=32x4"])
    return Plan(store=store, preset=preset, space=preset.parse_space())


def a_study(*scores, **attributes):
    """A study of trials that reported these scores in epochs 1, 2, …, and ended."""
    study = optuna.create_study(direction="maximize")
    for told in scores:
        trial = study.ask()
        for epoch, score in enumerate(told, start=1):
            trial.report(score, epoch)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        study.tell(trial, told[-1])
    return study


def decision(asha, epoch, score):
    asha.set_search_properties(**TOLD)
    asha.on_trial_add(None, Running)
    return asha.on_trial_result(None, Running, {"student_epoch": epoch, "score": score})


def test_a_poor_trial_is_stopped_by_what_others_scored_before_the_driver_died(plan):
    past = a_study([0.1, 0.5, 0.5, 0.6], [0.2, 0.6])
    assert decision(scheduler(plan, past), 2, 0.4) == TrialScheduler.STOP
    assert decision(scheduler(plan, past), 2, 0.7) == TrialScheduler.CONTINUE
    assert decision(scheduler(plan, past), 4, 0.55) == TrialScheduler.STOP, "0.6 is in the rung of the fourth epoch"
    assert decision(scheduler(plan, a_study()), 2, 0.0) == TrialScheduler.CONTINUE


@pytest.mark.parametrize("mark", ["copy_of", "interrupted"])
def test_trials_that_count_elsewhere_fill_no_rung(plan, mark):
    assert decision(scheduler(plan, a_study([0.9, 0.9], **{mark: 1})), 2, 0.1) == TrialScheduler.CONTINUE


def test_a_preset_without_scheduler_stops_nothing(plan):
    plain = replace(plan, preset=replace(plan.preset, scheduler="none"))
    assert isinstance(scheduler(plain, a_study()), FIFOScheduler)
