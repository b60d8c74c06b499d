"""Fixed configurations on a real Ray: each stage once, the same figures as alone, failures that stay small."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.run.cluster import ray_session
from search.run.stage_graph import BestEpoch, Measured, Place, Wanted, run_graph
from sermodels.config.parsing import to_plain
from sermodels.errors import UserError
from sermodels.metrics import uar, wa
from sermodels.training import training_log
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData

PUBLISHED = Path(__file__).parents[3] / "docs" / "paper" / "measured.json"


@pytest.fixture(scope="module")
def ray(ray_address):
    with ray_session(ray_address):
        yield


@pytest.fixture
def place(tmp_path):
    return Place(stages=str(tmp_path / "stages"), cpus=1, gpus=0, owner="test")


@pytest.fixture
def wanted(store, tiny_config):
    """Makes a configuration judged on two of five folds of speakers."""

    def make(stage, **changes):
        config = tiny_config(protocol="speaker_folds", folds=[0, 1], **changes)
        return Wanted(config=config, stage=stage, store=str(store.path), fingerprint=store.fingerprint)

    return make


def entries(place):
    """What was trained: (stage, key, epoch), in the training logs."""
    logs = Path(place.stages).glob("*/*/training.jsonl")
    return [(entry.stage, entry.key, entry.epoch) for log in logs for entry in training_log.read(log.parent)]


def test_shared_stages_are_trained_once_and_tested_as_alone(ray, place, wanted, store, tmp_path):
    teacher, student, other = wanted("teacher"), wanted("student"), wanted("student", alpha=1)
    found = {}
    for lanes, failure in run_graph([teacher, student, other, student], place):
        assert failure == ""
        found |= lanes
    assert set(found) == {stage.id for one in (teacher, student, other) for stage in one.of_lanes()}
    trained = entries(place)
    assert len(trained) == len(set(trained)), "no epoch twice"
    assert len(trained) == 2 * (2 + 2 + 2 * 2), "lanes × epochs of a teacher, a match and two students"

    alone = Chain(student.config, TrialData(store, student.config), StageCache(tmp_path / "alone")).run()
    for lane, expected in zip(student.config.lanes, alone.val_uar, strict=True):
        lane_found = found[student.of_lane(lane).id]
        assert (lane_found.uar, (lane_found.fold, lane_found.seed)) == (expected, lane)
        assert lane_found.best_epoch.wa >= lane_found.wa
        counts = sum(np.array(counts) for counts in lane_found.confusion.values())
        assert counts.sum() == lane_found.items == 7
        assert (wa(counts), uar(counts)) == (lane_found.wa, lane_found.uar), "figures of the same answers"
    plain = to_plain(found)
    assert json.loads(json.dumps(plain)) == plain, "what JSON holds"


def test_a_lane_is_written_as_those_that_were_published():
    """Else a file to which lanes are added would hold two forms."""
    lines = [line.removesuffix(",") for line in PUBLISHED.read_text("utf-8").splitlines()[1:-1]]
    assert lines
    for line in lines:
        text = line.partition(": ")[2]
        published = json.loads(text)
        lane = Measured(**published | {"best_epoch": BestEpoch(**published["best_epoch"])})
        assert json.dumps(to_plain(lane)) == text


def test_what_was_trained_before_is_tested_without_training(ray, place, wanted):
    first = dict(item for lanes, _ in run_graph([wanted("student")], place) for item in lanes.items())
    trained = entries(place)
    again = dict(item for lanes, _ in run_graph([wanted("student")], place) for item in lanes.items())
    assert entries(place) == trained
    assert again == first


def test_a_configuration_that_diverges_costs_only_itself(ray, place, wanted):
    mad = wanted("student", alpha=1e39)  # more than a float32 holds
    ends = list(run_graph([mad, wanted("teacher")], place))
    failures = [failure for _, failure in ends if failure]
    assert len(failures) == 2
    assert all("NonFiniteLossError: student stage, epoch" in failure for failure in failures)
    assert sum(len(lanes) for lanes, _ in ends) == 2


@pytest.mark.parametrize(
    ("uses", "message"),
    [
        ({"gpus": 100}, "no node has as many; there are"),
        ({"cpus": 0}, "cores above 0"),
        ({"gpus": 1.5}, "or whole ones"),
    ],
)
def test_what_no_node_has_is_said_instead_of_waited_for(ray, place, wanted, uses, message):
    with pytest.raises(UserError, match=message):
        next(run_graph([wanted("teacher")], replace(place, **uses)))


def test_long_work_gives_signs_of_life(ray, place, wanted, monkeypatch):
    monkeypatch.setattr("search.run.stage_graph.SIGN_OF_LIFE_S", 0.05)
    ends = list(run_graph([wanted("student")], place))
    assert ({}, "") in ends
    assert sum(len(lanes) for lanes, _ in ends) == 2, "and nothing is lost by it"


def test_some_lanes_are_asked_for_in_as_few_parts_as_possible(wanted):
    whole = wanted("teacher")
    whole = replace(whole, config=replace(whole.config, folds=(0, 1, 2), seeds=(0, 1, 2)))
    assert whole.only(whole.config.lanes) == [whole]
    parts = whole.only([(0, 0), (2, 0), (1, 1), (0, 2), (2, 2)])
    assert [(part.config.folds, part.config.seeds) for part in parts] == [((0, 2), (0, 2)), ((1,), (1,))]
    assert whole.only([]) == []


def test_a_store_that_is_another_is_refused(ray, place, wanted):
    other = replace(wanted("teacher"), fingerprint="0" * 64)
    failures = [failure for _, failure in run_graph([other], place)]
    assert len(failures) == 2
    assert all("on this node is another store" in failure for failure in failures)
