"""Chains on one cache: each epoch of each lane is trained once, by one of them, and counted as its work."""

import shutil
from dataclasses import replace

import pytest
import torch

from sermodels.config.settings import ChainConfig
from sermodels.training.cache import BusyError, StageCache, lock_of
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData
from sermodels.training.stage import stages_of
from sermodels.training.training_log import read_all


class InterruptedHereError(Exception):
    """As if the process had been killed, at a place of the test's choosing."""


@pytest.fixture(scope="module")
def config(tiny_config) -> ChainConfig:
    return tiny_config(seeds=[0, 1])


@pytest.fixture(scope="module")
def data(store, config) -> TrialData:
    return TrialData(store, config)


@pytest.fixture(scope="module")
def undisturbed(config, data, tmp_path_factory) -> Chain:
    chain = Chain(config, data, StageCache(tmp_path_factory.mktemp("undisturbed")))
    chain.run()
    return chain


def trained_once(root) -> int:
    """Number of epochs in the training log, of which none may be there twice."""
    epochs = [(entry.stage, entry.key, entry.epoch) for entry in read_all(root)]
    assert len(epochs) == len(set(epochs))
    return len(epochs)


def assert_same_students(one: Chain, other: Chain) -> None:
    for lane in range(len(one.stages["student"])):
        a, b = one.network("student", lane).state_dict(), other.network("student", lane).state_dict()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_trials_that_share_stages_train_each_epoch_of_each_lane_once(config, data, tmp_path):
    for alpha in (0, 1, 1):
        Chain(replace(config, alpha=alpha), data, StageCache(tmp_path)).run()
    assert trained_once(tmp_path) == 2 * 2 * (1 + 1 + 2)  # lanes, epochs; one teacher, one match, two students


def test_the_log_says_who_trained_which_lane(config, data, tmp_path):
    Chain(config, data, StageCache(tmp_path), owner="me").run()
    teachers = [entry for entry in read_all(tmp_path) if entry.stage == "teacher"]
    assert [(entry.epoch, entry.fold, entry.seed) for entry in teachers] == [(1, 0, 0), (1, 0, 1), (2, 0, 0), (2, 0, 1)]
    assert {entry.owner for entry in teachers} == {"me"}
    assert {entry.key for entry in teachers} == {stage.key for stage in stages_of(config, data.fingerprint)["teacher"]}


def test_what_the_same_owner_trained_before_an_interruption_is_its_own_work(config, data, tmp_path):
    def interrupt(done) -> None:
        if done.stage == "match":
            raise InterruptedHereError

    cache = StageCache(tmp_path)
    with pytest.raises(InterruptedHereError):
        Chain(config, data, cache, owner="me").run(interrupt)
    mine, others = (Chain(config, data, cache, owner=name).run() for name in ("me", "another"))
    assert set(mine.reused_seconds.values()) == {0}
    assert set(others.trained_seconds.values()) == {0}
    assert others.reused_seconds == pytest.approx(mine.trained_seconds)
    assert mine.summary()["match/trained_seconds"] == mine.trained_seconds["match"] > 0


def test_a_chain_waits_for_a_lane_in_training_elsewhere_and_holds_nothing_meanwhile(
    config, data, undisturbed, tmp_path
):
    cache, looks = StageCache(tmp_path), []
    matches = stages_of(config, data.fingerprint)["match"]
    elsewhere = cache.claim([matches[1]])

    def look(busy) -> None:
        looks.append((busy.stage, cache.is_busy(matches[0])))
        elsewhere.close()

    chain = Chain(config, data, cache)
    chain.run(wait=look)
    assert looks == [(matches[1], False)]
    assert_same_students(chain, undisturbed)


def test_a_chain_may_give_up_instead_of_waiting(config, data, tmp_path):
    def give_up(busy) -> None:
        raise busy

    cache = StageCache(tmp_path)
    teacher = stages_of(config, data.fingerprint)["teacher"][0]
    with cache.claim([teacher]), pytest.raises(BusyError):
        Chain(config, data, cache).run(wait=give_up)
    assert trained_once(tmp_path) == 0


@pytest.mark.parametrize("ends", [InterruptedHereError, SystemExit])
def test_a_chain_that_ends_before_its_time_claims_nothing_any_more(config, data, tmp_path, ends):
    def end(_) -> None:
        raise ends

    cache = StageCache(tmp_path)
    with pytest.raises(ends):
        Chain(config, data, cache).run(end)
    folders = list(tmp_path.glob("*/*"))
    assert folders
    for folder in folders:
        with lock_of(folder):  # raises where another holds it
            pass


def test_a_teacher_whose_features_were_not_written_gets_them_without_training(config, data, tmp_path):
    cache = StageCache(tmp_path)
    Chain(config, data, cache).run()
    before = {path: path.read_bytes() for path in tmp_path.glob("teacher/*/features-*")}
    for path in before:
        path.unlink()
    result = Chain(replace(config, alpha=3), data, cache).run()
    assert {path: path.read_bytes() for path in tmp_path.glob("teacher/*/features-*")} == before
    assert result.trained_seconds["teacher"] == 0
    assert trained_once(tmp_path) == 2 * 2 * (1 + 1 + 2)


def test_a_stage_that_is_deleted_while_the_chain_runs_is_trained_again(config, data, undisturbed, tmp_path):
    root, times = tmp_path / "stages", []

    def delete_once(done) -> None:
        if (done.stage, done.epoch) == ("match", config.match.epochs):
            times.append(done.epoch)
            if len(times) == 1:
                shutil.rmtree(root)

    chain = Chain(config, data, StageCache(root))
    chain.run(delete_once)
    assert len(times) == 2
    assert_same_students(chain, undisturbed)


@pytest.mark.parametrize("others", ["stay away", "go on with it", "begin"])
def test_a_stage_released_within_a_report_is_anyones(config, data, undisturbed, tmp_path, others):
    cache = StageCache(tmp_path)
    students = stages_of(config, data.fingerprint)["student"]
    chain, elsewhere, free = Chain(config, data, cache), [], []

    def report(done) -> None:
        if done.stage != "student" or free:
            return
        with chain.released("student"):
            free.extend(not cache.is_busy(student) for student in students)
            if others == "go on with it":
                Chain(config, data, cache).run()
            elif others == "begin":
                elsewhere.append(cache.claim(students))

    chain.run(report, wait=lambda busy: elsewhere.pop().close())
    assert free == [True, True]
    assert not elsewhere
    assert trained_once(tmp_path) == 2 * 2 * (1 + 1 + 1)
    assert_same_students(chain, undisturbed)
    assert not any(map(cache.is_busy, students))


def test_a_lane_that_is_pruned_while_others_are_claimed_is_claimed_too(config, data, tmp_path, monkeypatch):
    cache = StageCache(tmp_path)
    Chain(replace(config, seeds=(0,)), data, cache).run()
    kept, claim, claimed = stages_of(config, data.fingerprint)["match"][0], StageCache.claim, []

    def claim_after_pruning(self, stages):
        name = stages[0].name
        if name == "match" and not [one for one, _ in claimed if one == "match"]:
            shutil.rmtree(cache.folder(kept))
        claimed.append((name, len(stages)))
        return claim(self, stages)

    monkeypatch.setattr(StageCache, "claim", claim_after_pruning)
    Chain(config, data, cache).run()
    assert [lanes for stage, lanes in claimed if stage == "match"] == [1, 2]
