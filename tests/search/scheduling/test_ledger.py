"""The ledger: what a searcher, called as Tune calls it, leaves in the journal."""

import math

import pytest
from asking import JOINT, SMALL, ask, at, done, ended, on, run_out, scored, searcher, start, trials
from ray.tune.search import Searcher

from search.scheduling.ledger import Ledger, best, confirmed_lanes, create_study, open_study, params_of
from search.space.preset import load
from search.space.space import Space
from sermodels.config.settings import Lane
from sermodels.errors import UserError


def test_states_in_the_journal(journal):
    search = searcher(journal, {"alpha": {"uniform": [0, 1]}})
    for trial_id in "abcdefgh":
        start(search, trial_id)
    search.on_trial_result("a", at("teacher"))
    search.on_trial_result("a", scored(1, 0.3))
    search.on_trial_complete("a", done(0.6, epoch=2, figures={"val_uar_std": 0.05}))
    search.on_trial_result("b", scored(1, 0.2))
    search.on_trial_complete("b", scored(2, 0.25))
    search.on_trial_complete("c", ended("failed", score=0.9))
    search.on_trial_complete("d", done(math.nan))
    search.on_trial_complete("e", error=True)
    search.on_trial_complete("f")
    search.on_trial_complete("g", ended("finished"))
    search.on_trial_complete("g", done(0.9))
    search.on_trial_complete("nobody", done(0.9))
    found = {t.user_attrs["trial_id"]: t for t in trials(journal)}
    states = {name: trial.state.name for name, trial in found.items()}
    assert states == {
        "a": "COMPLETE",
        "b": "PRUNED",
        "c": "FAIL",
        "d": "FAIL",
        "e": "FAIL",
        "f": "PRUNED",
        "g": "FAIL",
        "h": "RUNNING",
    }
    assert (found["a"].value, found["a"].intermediate_values) == (0.6, {1: 0.3, 2: 0.6})
    assert (found["b"].value, found["b"].intermediate_values) == (0.25, {1: 0.2, 2: 0.25})
    assert found["a"].user_attrs | {"params": 0} == {"params": 0, "trial_id": "a", "val_uar_std": 0.05}
    assert [t.user_attrs["trial_id"] for t in best(open_study(journal, "sweep"), 5)] == ["a"]


def test_restarted_trial_reports_epochs_again(journal):
    search = searcher(journal)
    ask(search, "a")
    for score in (0.1, 0.2):
        search.on_trial_result("a", scored(1, score))
    assert trials(journal)[0].intermediate_values == {1: 0.1}


def test_best_are_distinct_and_ties_go_to_the_first(journal):
    scores = {("128x1", 1): 0.5, ("128x1", 10): 0.8, ("16x16", 1): 0.8, ("16x16", 10): 0.1}
    run_out(searcher(journal), score=lambda p: scores[p["patch"], p["alpha"]])
    study = open_study(journal, "sweep")
    top = best(study, 3)
    assert [t.value for t in top] == [0.8, 0.8, 0.5]
    assert top[0].number < top[1].number
    assert len({Space.key(params_of(t)) for t in best(study, 100)}) == len(best(study, 100)) == 4


def test_settings_that_move_together_come_back_from_the_ledger(journal):
    given = ask(searcher(journal, JOINT), "a")
    assert params_of(trials(journal)[0]) == given
    assert set(given) == {"teacher.depth", "teacher.heads", "alpha"}


def test_interrupted_trials_are_proposed_again(journal):
    dead = searcher(journal, JOINT)
    left = [start(dead, name) for name in "abc"]
    dead.on_trial_complete("a", done(0.5))
    assert Ledger(journal, "sweep").requeue_interrupted() == 2
    alive = searcher(journal, JOINT, trials=3)
    assert [start(alive, "d"), start(alive, "e")] == left[1:]
    assert ask(alive, "f") is None
    assert [t.state.name for t in trials(journal)] == ["COMPLETE", "FAIL", "FAIL", "RUNNING", "RUNNING"]


def test_failed_trials_are_proposed_again_once_when_told(journal):
    search = searcher(journal, SMALL, sampler="grid")
    failed = start(search, "a")
    search.on_trial_complete("a", ended("failed"))
    rest = [start(search, name) for name in "bcd"]
    for name in "bcd":
        search.on_trial_complete(name, done(0.5))
    assert failed not in rest
    ledger = Ledger(journal, "sweep")
    assert (ledger.requeue_failed(), ledger.requeue_failed()) == (1, 0)
    again = searcher(journal, SMALL, sampler="grid")
    assert start(again, "e") == failed
    again.on_trial_complete("e", done(0.7))
    assert ask(again, "f") == Searcher.FINISHED
    assert len(Ledger(journal, "sweep").ended()) == 4


def test_name_that_is_taken_and_name_that_is_missing(journal, tmp_path):
    with pytest.raises(UserError, match="'sweep' is already there: choose another name"):
        create_study(journal, "sweep")
    with pytest.raises(UserError, match="no sweep named 'other'; it holds sweep"):
        open_study(journal, "other")
    with pytest.raises(UserError, match="no such file"):
        open_study(tmp_path / "none", "sweep")
    assert not (tmp_path / "none").exists()


def test_two_sweeps_in_one_journal_do_not_mix(journal):
    create_study(journal, "second")
    run_out(searcher(journal))
    second = on(journal, load("demo"), Space.parse(SMALL, "x"), name="second")
    ask(second, "a")
    second.on_trial_result("a", scored(1, 0.9))
    second.on_trial_complete("a", done(0.9))
    assert [t.value for t in open_study(journal, "second").trials] == [0.9]


def test_scores_of_lanes_that_an_earlier_version_confirmed_are_read(journal):
    study = open_study(journal, "sweep")
    study.set_user_attr("confirmed_lanes", {"{}": {"fold 0, seed 2": 0.5, "fold 10, seed 2": 0.25}})
    assert confirmed_lanes(study) == {"{}": {Lane(0, 2): 0.5, Lane(10, 2): 0.25}}
    Ledger(journal, "sweep").confirm({"alpha": 1}, 0.75, {Lane(1, 3): 0.75})
    again = confirmed_lanes(open_study(journal, "sweep"))
    assert again == {"{}": {(0, 2): 0.5, (10, 2): 0.25}, '{"alpha": 1}': {(1, 3): 0.75}}
