"""Which configuration comes next, asked as Tune asks: order, repetition, waiting, confirmation, the end."""

import pickle
from copy import deepcopy
from dataclasses import replace

import pytest
from asking import JOINT, SMALL, TWELVE, ask, at, done, ended, given, on, run_out, scored, searcher, start, trials
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator

from search.scheduling.ledger import best, confirmed, confirmed_lanes, create_study, open_study, params_of
from search.space.preset import load
from search.space.space import Space
from sermodels.config.settings import Lane
from sermodels.training.cache import StageCache
from sermodels.training.stage import stages_of

ONE_TEACHER = {"student.depth": [1, 2], "alpha": [1, 10]}
TWO_TEACHERS = {"encoding": ["ice", "none"], "alpha": [1, 10]}


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_finite_space_is_used_up_and_nothing_runs_twice(journal, sampler):
    search = searcher(journal, sampler=sampler)
    tried = run_out(search)
    assert sorted(map(Space.key, tried)) == sorted(map(Space.key, Space.parse(SMALL, "x").grid()))
    assert ask(search, "more") == Searcher.FINISHED


def test_wanted_number_ends_the_search(journal):
    assert len(run_out(searcher(journal, trials=3))) == 3
    assert searcher(journal, trials=3).suggest("t") == Searcher.FINISHED, "also when opened again"
    assert len(run_out(searcher(journal, trials=4))) == 1


def test_grid_comes_in_order(journal):
    assert run_out(searcher(journal, sampler="grid")) == list(Space.parse(SMALL, "x").grid())


def copies_and_originals(journal):
    found = trials(journal)
    pairs = [(copy, found[copy.user_attrs["copy_of"]]) for copy in found if "copy_of" in copy.user_attrs]
    assert pairs, "of 12 configurations, some come up twice before all have come up"
    assert all(params_of(copy) == params_of(original) for copy, original in pairs)
    return pairs


def test_finished_configuration_is_told_at_once(journal):
    run_out(searcher(journal, TWELVE), score=lambda params: params["alpha"] / 10)
    for copy, original in copies_and_originals(journal):
        assert copy.state == original.state == TrialState.COMPLETE
        assert copy.value == original.value
        assert copy.number > original.number


@pytest.mark.parametrize(
    ("result", "state", "value"),
    [
        (done(0.7), TrialState.COMPLETE, 0.7),
        (scored(2, 0.4), TrialState.PRUNED, 0.4),
        (ended("failed"), TrialState.FAIL, None),
    ],
)
def test_copy_of_a_running_trial_waits_for_its_outcome(journal, result, state, value):
    search = searcher(journal, TWELVE)
    running = []
    while start(search, f"t{len(running)}") is not None:
        running.append(f"t{len(running)}")
    assert len(running) == 12
    for copy, original in copies_and_originals(journal):
        assert copy.state == original.state == TrialState.RUNNING
    for trial_id in running:
        search.on_trial_complete(trial_id, result)
    assert ask(search, "more") == Searcher.FINISHED
    for trial in trials(journal):
        assert (trial.state, trial.value) == (state, value)
    assert len(copies_and_originals(journal)) == len(trials(journal)) - 12


def test_infinite_space_waits_while_proposals_repeat(journal):
    axes = {"alpha": {"uniform": [1, 1]}}
    search = searcher(journal, axes)
    assert ask(search, "a") == {"alpha": 1.0}
    assert ask(search, "b") is None
    written = len(trials(journal))
    assert ask(search, "c") is None
    assert len(trials(journal)) == written, "asking again, as Tune does all the time, writes nothing"
    search.on_trial_complete("a", done(0.5))
    assert ask(search, "c") == Searcher.FINISHED


def test_a_proposal_waits_for_the_teacher_that_another_trial_trains(journal):
    search = searcher(journal, ONE_TEACHER, sampler="grid")
    first = ask(search, "a")
    assert ask(search, "b") is None
    search.on_trial_result("a", at("teacher"))
    assert ask(search, "b") is None
    search.on_trial_result("a", at("match"))
    second = ask(search, "b")
    assert second["student.depth"] != first["student.depth"], "the match of the first depth is still in training"
    search.on_trial_result("a", at("student"))
    assert ask(search, "c")["student.depth"] == first["student.depth"]


def test_fewer_epochs_of_a_teacher_wait_for_more_of_it_and_go_on_behind_them(journal):
    search = searcher(journal, {"teacher.epochs": [2, 4], "alpha": [1, 10]}, sampler="grid")
    assert ask(search, "a") == {"teacher.epochs": 2, "alpha": 1}
    assert ask(search, "b") is None, "both would train the same first epochs"
    search.on_trial_result("a", at("match"))
    assert ask(search, "b") == {"teacher.epochs": 4, "alpha": 1}
    assert ask(search, "c") is None, "the match of the first and the teacher of the second are in training"
    search.on_trial_result("a", at("student"))
    assert ask(search, "c") == {"teacher.epochs": 2, "alpha": 10}


def test_a_configuration_that_cannot_be_is_given_out_with_the_reason(journal):
    axes = {"net": [{"encoding": "none", "teacher.network": "septr", "teacher.stem": []}], "pooling": ["mean"]}
    trial = given(searcher(journal, axes).suggest("a"))
    assert trial.chain is None
    assert "pooling = 'mean' is not possible: must be token" in trial.impossible


def test_others_go_first_while_one_waits(journal):
    search = searcher(journal, TWO_TEACHERS, sampler="grid")
    first = [ask(search, name) for name in "ab"]
    assert {params["encoding"] for params in first} == {"ice", "none"}
    assert ask(search, "c") is None
    for name in "ab":
        search.on_trial_complete(name, done(0.5))
    assert len({Space.key(params) for params in (*first, *(ask(search, name) for name in "cd"))}) == 4
    assert ask(search, "e") is None, "one of those that run may have to be proposed again"
    for name in "cd":
        search.on_trial_complete(name, done(0.5))
    assert ask(search, "e") == Searcher.FINISHED


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_waiting_proposals_count_as_given_and_none_is_lost(journal, sampler):
    search = searcher(journal, ONE_TEACHER, sampler=sampler, trials=3)
    names, running, finished = iter("abcdefghij"), [], 0
    while (params := ask(search, name := next(names))) != Searcher.FINISHED:
        if params is None:
            search.on_trial_complete(running.pop(), done(0.1))
            finished += 1
        else:
            running.append(name)
    assert (finished, running) == (3, [])
    assert len([t for t in trials(journal, TrialState.COMPLETE) if "copy_of" not in t.user_attrs]) == 3


def test_a_teacher_that_failed_keeps_nobody_back(journal):
    search = searcher(journal, ONE_TEACHER, sampler="grid")
    ask(search, "a")
    assert ask(search, "b") is None
    search.on_trial_complete("a", ended("failed"))
    assert isinstance(ask(search, "b"), dict)


def test_a_trial_that_met_a_stage_in_training_elsewhere_comes_again_when_that_is_done(journal, monkeypatch):
    monkeypatch.setattr("search.scheduling.turns.LOOK_EVERY_S", 0)
    search = searcher(journal, {"alpha": [1]})
    first = given(search.suggest("a"))
    elsewhere = StageCache(journal.parent.parent / "stages")
    match = stages_of(first.chain, "f")["match"][0]
    with elsewhere.claim([match]):
        search.on_trial_complete("a", ended("waiting", awaits=match.key))
        assert ask(search, "b") is None
        assert [t.state for t in trials(journal)] == [TrialState.RUNNING]
    assert given(search.suggest("c")) == first
    search.on_trial_complete("c", done(0.5))
    assert ask(search, "d") == Searcher.FINISHED
    assert [(t.state, t.value) for t in trials(journal)] == [(TrialState.COMPLETE, 0.5)]


def test_one_trial_more_than_slots_is_given_so_that_it_follows_at_once(journal):
    nodes = [2]
    search = on(journal, replace(load("demo"), trials=9), Space.parse(TWELVE, "x"), slots=lambda: sum(nodes))
    assert [start(search, name) is not None for name in "abcd"] == [True, True, True, False]
    search.on_trial_complete("a", done(0.5))
    assert [start(search, name) is not None for name in "ef"] == [True, False]
    nodes.append(1)
    search.on_trial_result("e", at("student"))
    assert start(search, "g") is None, "looked at when a trial gets on: asking costs a cluster time"
    search.on_trial_complete("b", done(0.5))
    assert [start(search, name) is not None for name in "hij"] == [True, True, False]


def test_the_best_are_confirmed_when_all_have_ended(journal):
    search = searcher(journal, confirm=2)
    for name in "abcd":
        start(search, name)
    for name, score in zip("abc", (0.1, 0.3, 0.2), strict=True):
        search.on_trial_complete(name, done(score))
    assert search.suggest("e") is None, "one may yet be among the best"
    search.on_trial_complete("d", done(0.4))
    one = given(search.suggest("e"))
    search.on_trial_result("e", at("student"))
    other = given(search.suggest("f"))
    assert search.suggest("g") is None
    assert [(again.kind, again.chain.seeds) for again in (one, other)] == [("confirmation", (7,))] * 2
    finalists = [params_of(trial) for trial in best(open_study(journal, "sweep"), 2)]
    assert [one.params, other.params] == finalists
    search.on_trial_complete("e", ended("finished", score=0.25, lanes={Lane(0, 7): 0.25}))
    search.on_trial_complete("f", ended("failed"))
    assert search.suggest("g") == Searcher.FINISHED
    assert confirmed_lanes(open_study(journal, "sweep")) == {Space.key(finalists[0]): {(0, 7): 0.25}}
    assert confirmed(open_study(journal, "sweep")) == {Space.key(finalists[0]): 0.25}
    assert len(trials(journal)) == len(trials(journal, TrialState.COMPLETE)), "confirmations are no trials of the study"


def test_tpe_learns_and_uses_its_random_start(journal):
    search = searcher(journal, {"alpha": {"uniform": [0, 1]}}, sampler="tpe", trials=40)
    tried = [p["alpha"] for p in run_out(search, score=lambda p: -((p["alpha"] - 0.8) ** 2))]
    late = tried[20:]
    assert sum(abs(a - 0.8) < 0.25 for a in late) > 0.6 * len(late)


def test_same_seed_same_proposals_but_not_after_going_on(journal, tmp_path):
    def first(path, n):
        create_study(path, "sweep")
        search = searcher(path, JOINT)
        return [start(search, str(i)) for i in range(n)]

    one, two = (first(tmp_path / name, 5) for name in "xy")
    assert one == two
    again = searcher(tmp_path / "x", JOINT)
    assert [start(again, f"z{i}") for i in range(5)] != one


def test_pickled_searcher_goes_on_with_the_same_study(journal):
    search = searcher(journal)
    ask(search, "a")
    assert pickle.dumps(search), "Tune writes it to a file"
    twin = deepcopy(search)  # by the same state that is pickled
    twin.on_trial_result("a", scored(1, 0.4))
    twin.on_trial_complete("a", done(0.5, epoch=2))
    assert [(t.value, t.intermediate_values) for t in trials(journal)] == [(0.5, {1: 0.4, 2: 0.5})]
    assert len(run_out(twin)) == 3


def test_first_proposals_of_the_cpu_preset_cover_what_it_compares(journal):
    preset = load("cpu")
    search = on(journal, preset, preset.parse_space())
    first = [start(search, str(i)) for i in range(4)]
    for key in ("patch", "encoding", "alpha"):
        assert len({params[key] for params in first}) >= 2


def test_under_the_generator_that_tune_puts_around_it(journal):
    generator = SearchGenerator(searcher(journal))
    generator.searcher.save_to_dir(str(journal.parent))
    found = []
    while (suggestion := generator.searcher.suggest(str(len(found)))) != Searcher.FINISHED:
        found.append(suggestion)
        generator.on_trial_complete(str(len(found) - 1), done(0.1))
    assert len(found) == 4
