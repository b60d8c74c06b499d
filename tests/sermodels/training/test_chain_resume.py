"""A chain that was stopped, or that another process trained on beside, ends with the bytes of one undisturbed."""

from collections.abc import Callable
from pathlib import Path

import chains
import pytest
from chains import InterruptedHereError, assert_same, assert_same_caches

from sermodels.config.settings import STAGES
from sermodels.training.cache import Checkpoint, StageCache
from sermodels.training.epoch_report import EpochReport
from sermodels.training.stage import Stage

train, config, finished = chains.train, chains.config, chains.finished  # fixtures


@pytest.mark.parametrize("stop", range(1, 7))
def test_a_chain_stopped_after_any_epoch_ends_with_the_bytes_of_one_never_stopped(
    train, config, finished, tmp_path, stop
):
    reported = []

    def report(done: EpochReport) -> None:
        reported.append(done)
        if len(reported) == stop:
            raise InterruptedHereError

    with pytest.raises(InterruptedHereError):
        train(config, tmp_path, report=report)
    resumed = train(config, tmp_path)
    assert sum(share for stage in STAGES for share in resumed.reused(stage)) == stop
    assert_same(resumed, finished[0])
    assert_same_caches(tmp_path, finished[1])


@pytest.mark.parametrize("step", [1, 18, 34, 42])  # of 7 an epoch
def test_a_chain_stopped_in_the_middle_of_an_epoch_goes_on_from_the_last_whole_one(
    train, config, finished, tmp_path, step
):
    before = iter(range(step - 1))

    def tick() -> None:
        if next(before, None) is None:
            raise InterruptedHereError

    with pytest.raises(InterruptedHereError):
        train(config, tmp_path, tick=tick)
    resumed = train(config, tmp_path)
    assert sum(share for stage in STAGES for share in resumed.reused(stage)) == (step - 1) // 7
    assert_same(resumed, finished[0])


def test_a_stacked_chain_stopped_and_gone_on_with_is_one_never_stopped(train, config, tmp_path):
    def report(done: EpochReport) -> None:
        if (done.stage, done.epoch) == ("student", 1):
            raise InterruptedHereError

    with pytest.raises(InterruptedHereError):
        train(config, tmp_path / "cut", stacked=True, report=report)
    assert_same(
        train(config, tmp_path / "cut", stacked=True),
        train(config, tmp_path / "whole", stacked=True),
    )


class FailingCache(StageCache):
    """A disk that takes so many checkpoints and no more."""

    def __init__(self, root: Path, saves: int):
        super().__init__(root)
        self.left = saves

    def save(self, *args, **kwargs) -> None:
        if self.left == 0:
            raise InterruptedHereError
        self.left -= 1
        super().save(*args, **kwargs)


@pytest.mark.parametrize("saves", [1, 3, 5, 7, 9, 11])
def test_lanes_stopped_at_different_epochs_catch_up_and_join(train, config, finished, tmp_path, saves):
    with pytest.raises(InterruptedHereError):
        train(config, FailingCache(tmp_path, saves))  # lane 0 is saved, lane 1 not
    resumed = train(config, tmp_path)
    assert_same(resumed, finished[0])
    assert_same_caches(tmp_path, finished[1])
    assert 0.5 in [share for stage in STAGES for share in resumed.reused(stage)]


class SharedCache(StageCache):
    """A cache on which another process trains on between looking for a checkpoint and reading it."""

    def __init__(self, root: Path, meanwhile: Callable[[], object]):
        super().__init__(root)
        self.meanwhile = [meanwhile]

    def find(self, stage: Stage) -> Checkpoint | None:
        found = super().find(stage)
        if found and self.meanwhile:
            self.meanwhile.pop()()
        return found


@pytest.mark.parametrize("further", [3, 4], ids=["one epoch further", "to the end"])
def test_another_process_on_the_same_stage_does_no_harm(train, tiny_config, tmp_path, further):
    config = tiny_config(**{"teacher.epochs": 4})

    def train_teacher(epochs: int) -> None:
        def report(done: EpochReport) -> None:
            if done.epoch == epochs:
                raise InterruptedHereError

        with pytest.raises(InterruptedHereError):
            train(config, tmp_path / "shared", report=report)

    train_teacher(2)
    disturbed = train(config, SharedCache(tmp_path / "shared", lambda: train_teacher(further)))
    assert_same(disturbed, train(config, tmp_path / "alone"))
