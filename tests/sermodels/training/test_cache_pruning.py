"""Pruning takes the least recently used lanes, and never one that is being trained."""

import os

import pytest
import torch

from sermodels.config.settings import Lane
from sermodels.training.cache import StageCache
from sermodels.training.cache_pruning import prune
from sermodels.training.stage import Stage

SIZE = 4_000  # bytes of tensors in each checkpoint


def teacher(name: str) -> Stage:
    return Stage(name="teacher", lane=Lane(0, 0), epochs=1, determined_by={"name": name})


@pytest.fixture
def cache(tmp_path) -> StageCache:
    """Three lanes of the teacher stage; `a` was used first, `c` last."""
    cache = StageCache(tmp_path / "stages")
    for age, name in enumerate("cba"):
        cache.log(teacher(name), epoch=1, seconds=1.0, owner="x")
        cache.save(teacher(name), {"a": torch.zeros(SIZE // 4)}, [{"loss": 1.0}], computed_by={})
        path = cache.folder(teacher(name)) / "epoch-0001.safetensors"
        os.utime(path, (path.stat().st_mtime - 100 * age,) * 2)
    return cache


def kept(cache):
    return [name for name in "abc" if cache.find(teacher(name))]


def test_the_least_recently_used_go_first(cache):
    assert prune(cache, 2.5 * SIZE) > SIZE
    assert kept(cache) == ["b", "c"]


def test_to_find_is_to_use(cache):
    cache.find(teacher("a"))
    prune(cache, 2.5 * SIZE)
    assert kept(cache) == ["a", "c"]


def test_a_cache_below_the_limit_is_left_as_it_is(cache):
    assert prune(cache, 4 * SIZE) == 0
    assert kept(cache) == ["a", "b", "c"]


def test_a_lane_that_is_being_trained_stays(cache):
    with cache.claim([teacher("a")]):
        prune(cache, 0)
    assert kept(cache) == ["a"]


def test_features_go_with_their_teacher_and_the_training_log_stays(cache):
    cache.save_features(teacher("a"), torch.zeros(5, 3))
    prune(cache, 0)
    assert kept(cache) == []
    assert not cache.has_features(teacher("a"))
    assert cache.owners(teacher("a")) == {1: "x"}
