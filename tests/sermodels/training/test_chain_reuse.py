"""A chain takes from the cache what is there, trains what is missing, and ends as if it had trained everything."""

import shutil

import chains
import pytest
from chains import TWO_LANES, assert_same, assert_same_students

from sermodels.config.settings import STAGES

train, config, finished = chains.train, chains.config, chains.finished  # fixtures


@pytest.fixture(scope="module")
def single(train, tiny_config, tmp_path_factory):
    """A chain of one lane that nothing disturbed, and its cache. Read-only."""
    root = tmp_path_factory.mktemp("single")
    return train(tiny_config(), root), root


@pytest.fixture(scope="module")
def of_another_alpha(train, tiny_config, tmp_path_factory):
    """A chain like `single` but for its alpha, which found nothing in its cache."""
    return train(tiny_config(alpha=0.5), tmp_path_factory.mktemp("alpha"))


def test_a_second_run_trains_nothing_and_says_the_same(train, config, finished):
    first, root = finished
    before = {path: path.stat().st_ino for path in root.rglob("*")}  # every file is written anew or not at all
    second = train(config, root)
    assert_same(second, first)
    assert [second.reused(stage) for stage in STAGES] == [[1, 1]] * 3
    assert [first.reused(stage) for stage in STAGES] == [[0, 0]] * 3
    assert second.trained_s == 0
    assert second.result.reused_seconds == pytest.approx(first.result.trained_seconds)
    assert set(first.result.reused_seconds.values()) == {0}
    assert {path: path.stat().st_ino for path in root.rglob("*")} == before


def test_another_alpha_reuses_teacher_and_match(train, config, tiny_config, finished, tmp_path):
    first, root = finished
    other = tiny_config(**TWO_LANES, alpha=0.5)
    trained = train(other, root)
    assert [trained.reused(stage) for stage in STAGES] == [[1, 1], [1, 1], [0, 0]]
    assert_same(trained, train(other, tmp_path))
    assert trained.figures[:4] == first.figures[:4]
    assert trained.figures[4:] != first.figures[4:]


@pytest.mark.parametrize("stage", STAGES)
def test_more_epochs_go_on_from_fewer_and_fewer_are_not_taken_from_more(train, tiny_config, finished, tmp_path, stage):
    few, many = tiny_config(**TWO_LANES), tiny_config(**TWO_LANES, **{f"{stage}.epochs": 4})
    shutil.copytree(finished[1], tmp_path / "grown")
    grown, at_once = train(many, tmp_path / "grown"), train(many, tmp_path / "at once")
    assert grown.reused(stage) == [1, 1, 0, 0]
    assert_same(grown, at_once)
    shrunk = train(few, tmp_path / "at once")
    assert_same(shrunk, finished[0])
    train(many, tmp_path / "at once")
    assert train(many, tmp_path / "at once").trained_s == 0


@pytest.mark.parametrize("added", [{"folds": [0, 1]}, {"folds": [1, 0]}, {"seeds": [0, 5]}])
def test_lanes_added_later_leave_those_that_were_there_as_they_are(train, tiny_config, single, tmp_path, added):
    alone, root = single
    config = tiny_config(**added)
    more = train(config, shutil.copytree(root, tmp_path / "grown"))
    assert {share for stage in STAGES for share in more.reused(stage)} == {0.5}
    first = config.lanes.index((0, 0))
    assert [scores[first] for scores in more.scores] == [scores[0] for scores in alone.scores]
    assert_same_students([more.students[first]], alone.students)
    assert_same(more, train(config, tmp_path / "at once"))


DAMAGES = {"empty": lambda whole: b"", "cut": lambda whole: whole[:-100], "garbage": lambda whole: b"\x07" * 5000}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_of_the_cache_are_made_again(train, tiny_config, single, tmp_path, damage):
    config = tiny_config()
    whole, root = single
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 4  # three stages and the teacher's features
    for file in files:
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert_same(train(config, tmp_path), whole)
    assert train(config, tmp_path).trained_s == 0


@pytest.mark.parametrize("lost", ["teacher", "match", "features"])
def test_what_is_lost_of_the_cache_is_made_again_alike(train, tiny_config, single, of_another_alpha, tmp_path, lost):
    whole, root = single
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    files = list(tmp_path.rglob("features-*" if lost == "features" else f"{lost}/*/epoch-*"))
    assert files
    for file in files:
        file.unlink()
    assert_same(train(tiny_config(alpha=0.5), tmp_path), of_another_alpha)
    assert_same(train(tiny_config(), tmp_path), whole)
