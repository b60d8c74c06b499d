"""Calling a searcher as Tune calls it."""

from dataclasses import replace
from functools import partial

from ray.tune.search import Searcher

from search.scheduling.ledger import open_study
from search.scheduling.searcher import StudySearcher
from search.space.outcome import Outcome
from search.space.preset import load
from search.space.space import Space
from search.space.trial_config import TrialConfig
from search.space.trial_result import TrialResult
from sermodels.training.epoch_report import EpochReport

SMALL = {"patch": ["128x1", "16x16"], "alpha": [1, 10]}
TWELVE = {"patch": ["128x1", "16x16"], "alpha": [1, 2, 3, 4, 5, 6]}
ENOUGH = partial(int, 100)  # slots
JOINT = {"teacher": [{"depth": 6, "heads": 5}, {"depth": 12, "heads": 12}], "alpha": {"log_uniform": [0.1, 10]}}


def searcher(journal, axes=None, **changes):
    preset = replace(load("demo"), **{"sampler": "random", "trials": 1000} | changes)
    return on(journal, preset, Space.parse(axes or SMALL, "x"))


def on(journal, preset, space, name="sweep", slots=ENOUGH):
    stages = journal.parent.parent / "stages"
    about = {"fingerprint": "f", "fresh_seeds": (7,), "stages": stages, "slots": slots}
    return StudySearcher(path=journal, name=name, space=space, preset=preset, **about)


def given(proposal):
    """What a trial is given: a TrialConfig; or None, or FINISHED."""
    return TrialConfig.from_tune(proposal) if isinstance(proposal, dict) else proposal


def ask(search, trial_id):
    """The params of a proposal; or None, or FINISHED."""
    proposal = given(search.suggest(trial_id))
    return proposal.params if isinstance(proposal, TrialConfig) else proposal


def done(score, epoch=3, **more):
    return ended("finished", score=score, student_epoch=epoch, **more)


def ended(outcome, **more):
    return TrialResult(outcome=Outcome(outcome), **more).to_tune()


def scored(epoch, score):
    """A result from within the student stage."""
    return TrialResult(student_epoch=epoch, score=score).to_tune()


def start(search, trial_id):
    """Ask for a trial, and have it get to its last stage: then it keeps no other back."""
    params = ask(search, trial_id)
    search.on_trial_result(trial_id, at("student"))
    return params


def at(stage):
    """A result from within a stage."""
    return TrialResult(epochs=(EpochReport(stage=stage, epoch=1, metrics={"loss": 1.0}, reused=0.0),)).to_tune()


def trials(journal, *states):
    return [t for t in open_study(journal, "sweep").trials if not states or t.state in states]


def run_out(search, score=lambda params: params["alpha"]):
    """Suggest and finish, one at a time, until the searcher says that it is over."""
    given = []
    while (params := ask(search, f"t{len(given)}")) != Searcher.FINISHED:
        given.append(params)
        search.on_trial_complete(f"t{len(given) - 1}", done(score(params)))
    return given
