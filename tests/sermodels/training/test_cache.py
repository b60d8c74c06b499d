"""The cache hands out the furthest readable checkpoint, whole, whatever else happens to its files."""

import json
import logging

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from sermodels.config.settings import Lane
from sermodels.training.cache import BusyError, StageCache
from sermodels.training.stage import Stage

MOST = 50  # epochs


def stage(name="match", epochs=MOST, what="this") -> Stage:
    return Stage(name=name, lane=Lane(0, 0), epochs=epochs, determined_by={"what": what})


KEY = stage().key


@pytest.fixture
def cache(tmp_path) -> StageCache:
    return StageCache(tmp_path / "stages")


def save_epoch(cache: StageCache, epoch: int, *, finished: bool = False, computed_by: dict | None = None) -> None:
    """After epoch n the state is n everywhere."""
    history = [{"loss": 1.0 / number} for number in range(1, epoch + 1)]
    state = {"network.a": torch.full((2, 3), float(epoch)), "step": torch.tensor(float(epoch))}
    cache.save(stage(epochs=epoch if finished else MOST), state, history, computed_by=computed_by or {})


def files(cache: StageCache) -> list[str]:
    return sorted(path.name for path in (cache.root / "match" / KEY).iterdir())


def found_epoch(cache: StageCache, epochs: int) -> int | None:
    """The epoch of the checkpoint that is found; its tensors must be of that epoch."""
    checkpoint = cache.find(stage(epochs=epochs))
    if checkpoint is None:
        return None
    assert [row["loss"] for row in checkpoint.history] == [1.0 / n for n in range(1, checkpoint.epoch + 1)]
    assert checkpoint.load()["step"].item() == checkpoint.epoch
    return checkpoint.epoch


def test_nothing_is_found_where_nothing_is(cache):
    assert found_epoch(cache, 50) is None
    assert cache.load_features(stage("teacher")) is None
    assert not cache.root.exists()  # looking makes no folders


def test_the_furthest_epoch_not_past_the_wanted_is_found(cache):
    save_epoch(cache, 2, finished=True)
    save_epoch(cache, 5, finished=True)
    save_epoch(cache, 7)
    assert [found_epoch(cache, epochs) for epochs in (1, 2, 4, 5, 6, 7, 50)] == [None, 2, 2, 5, 5, 7, 7]
    assert cache.find(stage(what="other")) is None
    assert cache.find(stage("student")) is None


def test_a_stage_under_way_has_one_file_that_goes_when_it_is_finished(cache):
    for epoch in (1, 2, 3):
        save_epoch(cache, epoch)
        assert files(cache) == [f"epoch-000{epoch}.safetensors"]
    save_epoch(cache, 4, finished=True)
    assert files(cache) == ["epoch-0004.safetensors"]


def test_a_shorter_training_of_the_same_key_leaves_a_longer_one_under_way_alone(cache):
    save_epoch(cache, 7)
    for epoch in (1, 2):
        save_epoch(cache, epoch)
    save_epoch(cache, 3, finished=True)
    assert [found_epoch(cache, epochs) for epochs in (3, 6, 50)] == [3, 3, 7]
    save_epoch(cache, 8, finished=True)  # the longer one goes on, and ends
    assert files(cache) == ["epoch-0003.safetensors", "epoch-0008.safetensors"]


def test_what_a_killed_process_was_writing_goes_with_the_next_checkpoint(cache):
    save_epoch(cache, 1)
    (cache.root / "match" / KEY / ".epoch-0002.safetensors.1a2b3c4d.77").write_bytes(b"half")
    save_epoch(cache, 2)
    assert files(cache) == ["epoch-0002.safetensors"]


def test_a_state_comes_back_to_the_bit_in_its_own_precision(cache):
    state = {
        "network.a": torch.randn(3, 4, dtype=torch.float64).T,  # not contiguous
        "exp_avg.a": torch.randn(5),
        "step": torch.tensor(3.0),
    }
    cache.save(stage(), state, [{"loss": float("nan")}], computed_by={})
    loaded = cache.find(stage(epochs=1)).load()
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_a_file_tells_what_it_is_and_where_it_was_made(cache):
    save_epoch(cache, 1, computed_by={"threads": 1})
    with safe_open(cache.root / "match" / KEY / "epoch-0001.safetensors", "pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about == {"determined by": {"what": "this"}, "computed by": {"threads": 1}}
    assert cache.find(stage()).computed_by == {"threads": 1}


DAMAGES = {
    "empty": lambda whole: b"",
    "cut in the header": lambda whole: whole[:20],
    "cut in the tensors": lambda whole: whole[:-5],
    "garbage": lambda whole: bytes(range(256)) * 8,
    "a header too long": lambda whole: b"\xff" * 8 + whole[8:],
    "no history": lambda whole: save({"a": torch.zeros(1)}, {"other": "x"}),
    "no metadata": lambda whole: save({"a": torch.zeros(1)}),
    "a history that is none": lambda whole: save({"a": torch.zeros(1)}, {"history": "7"}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(cache, caplog, damage):
    save_epoch(cache, 2, finished=True)
    save_epoch(cache, 3)
    damaged = cache.root / "match" / KEY / "epoch-0003.safetensors"
    damaged.write_bytes(DAMAGES[damage](damaged.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert found_epoch(cache, 50) == 2
    assert str(damaged) in caplog.text
    save_epoch(cache, 3, finished=True)  # it is trained again
    assert found_epoch(cache, 50) == 3


def test_a_damaged_finished_stage_goes_on_from_what_is_left(cache):
    save_epoch(cache, 2, finished=True)
    save_epoch(cache, 4, finished=True)
    (cache.root / "match" / KEY / "epoch-0004.safetensors").write_bytes(b"")
    assert found_epoch(cache, 4) == 2


def test_a_checkpoint_that_was_found_stays_what_it_was_while_others_train_on(cache):
    save_epoch(cache, 1)
    found = cache.find(stage())
    save_epoch(cache, 2)  # another process, on the same stage
    assert (found.epoch, found.load()["step"].item()) == (1, 1)


def test_a_checkpoint_that_was_found_can_be_loaded_after_others_finished_the_stage(cache):
    save_epoch(cache, 1)
    found = cache.find(stage())
    save_epoch(cache, 2, finished=True)
    assert found.load()["step"].item() == 1


def test_an_interrupted_write_leaves_the_file_of_before_and_nothing_else(cache):
    save_epoch(cache, 1)
    with pytest.raises(AttributeError):
        cache.save(stage(), {"a": torch.zeros(1), "b": None}, [{}, {}], computed_by={})
    assert files(cache) == ["epoch-0001.safetensors"]
    assert found_epoch(cache, 50) == 1


def test_features_are_those_of_their_number_of_epochs(cache):
    features = torch.randn(5, 3, dtype=torch.float64)
    cache.save_features(stage("teacher", 2), features)
    assert torch.equal(cache.load_features(stage("teacher", 2)), features)
    assert cache.load_features(stage("teacher", 4)) is None
    assert cache.load_features(stage("teacher", 2, "other")) is None
    assert cache.find(stage("teacher", 2)) is None  # features are no checkpoint


@pytest.mark.parametrize("damage", ["empty", "cut in the tensors", "garbage", "no features"])
def test_damaged_features_are_passed_over(cache, damage):
    cache.save_features(stage("teacher", 2), torch.zeros(5, 3))
    path = cache.root / "teacher" / KEY / "features-0002.safetensors"
    if damage == "no features":
        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert cache.load_features(stage("teacher", 2)) is None


def test_a_claim_keeps_others_away_from_its_stages_alone(cache):
    first, a, b, c = sorted((stage(what=what) for what in "0abc"), key=lambda one: one.key)
    with cache.claim([a, b]):
        assert [cache.is_busy(one) for one in (a, b, c)] == [True, True, False]
        assert not cache.is_busy(stage("student"))
        with pytest.raises(BusyError, match=f"training match {b.key[:12]}") as refused:
            StageCache(cache.root).claim([first, b])
        assert refused.value.stage == b
        assert not cache.is_busy(first), "who does not get all stages holds none"
    assert not cache.is_busy(a)


def test_a_claim_ends_with_an_error_inside_it(cache):
    with pytest.raises(ZeroDivisionError), cache.claim([stage()]):
        _ = 1 / 0
    assert not cache.is_busy(stage())
