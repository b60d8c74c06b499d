"""A chain ends with the same bytes however it was cut, cached or accompanied, and never sees a test row."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sermodels.config.settings import STAGES, ChainConfig
from sermodels.networks.factory import Builder, build_student
from sermodels.store.open import Store
from sermodels.store.splits import split
from sermodels.training.cache import Checkpoint, StageCache
from sermodels.training.chain import Chain
from sermodels.training.chain_result import ChainResult
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport
from sermodels.training.lanes import network_state
from sermodels.training.losses import NonFiniteLossError
from sermodels.training.stage import Stage, lane_stages

State = Mapping[str, torch.Tensor]
TWO_LANES = {  # of 88 and 92 rows: 3 and 4 steps an epoch, all with a part of a batch at the end
    "protocol": "utterance",
    "folds": [0, 4],
    **{f"{stage}.batch": 30 for stage in STAGES},
}


class InterruptedHereError(Exception):
    """As if the process had been killed, at a place of the test's choosing."""


@dataclass
class Trained:
    """What came of a chain: its figures without seconds, and its students."""

    result: ChainResult
    reports: list[EpochReport]
    students: list[State]

    @property
    def scores(self) -> tuple[tuple[float, ...], ...]:
        return (self.result.val_uar, self.result.val_wa, self.result.val_macro_f1, self.result.best_val_uar)

    @property
    def figures(self) -> list[tuple[int, dict[str, float]]]:
        """The reports, without what depends on the clock and on the cache."""
        dropped = ("/seconds", "/reused")
        return [(r.epoch, {k: v for k, v in r.figures().items() if not k.endswith(dropped)}) for r in self.reports]

    @property
    def trained_s(self) -> float:
        return sum(self.result.trained_seconds.values())

    def reused(self, stage: str) -> list[float]:
        return [report.reused for report in self.reports if report.stage == stage]


@pytest.fixture(scope="module")
def train(store: Store) -> Callable[..., Trained]:
    def run(config, cache, of=store, stacked=None, report=lambda *_: None, tick=lambda: None) -> Trained:
        cache = StageCache(cache) if isinstance(cache, Path) else cache
        chain = Chain(config, TrialData(of, config), cache, stacked=stacked)
        reports = []

        def keep_and_report(done: EpochReport) -> None:
            reports.append(done)
            report(done)

        result = chain.run(keep_and_report, tick)
        return Trained(
            result, reports, [chain.network("student", lane).state_dict() for lane in range(len(config.lanes))]
        )

    return run


@pytest.fixture(scope="module")
def config(tiny_config) -> ChainConfig:
    return tiny_config(**TWO_LANES)


@pytest.fixture(scope="module")
def finished(train, config, tmp_path_factory) -> tuple[Trained, Path]:
    """A chain that nothing disturbed, and its cache. Read-only."""
    root = tmp_path_factory.mktemp("finished")
    return train(config, root), root


@pytest.fixture(scope="module")
def single(train, tiny_config, tmp_path_factory) -> tuple[Trained, Path]:
    """A chain of one lane that nothing disturbed, and its cache. Read-only."""
    root = tmp_path_factory.mktemp("single")
    return train(tiny_config(), root), root


@pytest.fixture(scope="module")
def of_another_alpha(train, tiny_config, tmp_path_factory) -> Trained:
    """A chain like `single` but for its alpha, which found nothing in its cache."""
    return train(tiny_config(alpha=0.5), tmp_path_factory.mktemp("alpha"))


def assert_same(one: Trained, other: Trained) -> None:
    assert one.scores == other.scores
    assert one.figures == other.figures
    assert_same_students(one.students, other.students)


def assert_same_students(one: list[State], other: list[State]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def tensors(root: Path) -> dict[str, State]:
    """Every checkpoint and table of features below a cache's folder."""
    return {path.relative_to(root).as_posix(): load_file(path) for path in root.rglob("*.safetensors")}


def assert_same_caches(one: Path, other: Path) -> None:
    a, b = tensors(one), tensors(other)
    assert a.keys() == b.keys()
    assert_same_students([a[name] for name in sorted(a)], [b[name] for name in sorted(b)])


def test_two_runs_with_empty_caches_are_equal_to_the_bit(train, config, finished, tmp_path):
    torch.manual_seed(99)  # nothing may hang on it
    np.random.seed(99)  # noqa: NPY002
    before = torch.get_rng_state()
    again = train(config, tmp_path)
    assert_same(again, finished[0])
    assert_same_caches(tmp_path, finished[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_every_epoch_of_every_stage_is_reported_once_in_order(finished, config):
    trained = finished[0]
    assert [report.epoch for report in trained.reports] == [1, 2] * 3
    assert [report.stage for report in trained.reports] == [stage for stage in STAGES for _ in range(2)]
    assert all({"loss", "lr", "seconds"} <= report.metrics.keys() for report in trained.reports)
    last = trained.reports[-1].metrics
    summary = trained.result.summary()
    assert last["val_uar"] == summary["val_uar"] == np.mean(trained.result.val_uar)
    assert last["val_uar_std"] == summary["val_uar_std"] == pytest.approx(np.std(trained.scores[0], ddof=1))
    assert all(best >= end for best, end in zip(trained.result.best_val_uar, trained.result.val_uar, strict=True))


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


def test_the_order_of_lanes_does_not_matter(train, tiny_config, tmp_path):
    one = train(tiny_config(folds=[0, 2]), tmp_path / "one")
    other = train(tiny_config(folds=[2, 0]), tmp_path / "other")
    assert_same_students(one.students, other.students[::-1])
    assert [scores[::-1] for scores in one.scores] == list(other.scores)


def test_stacked_and_looped_chains_agree(train, tiny_config, tmp_path):
    config = tiny_config(**TWO_LANES, precision="float64")
    looped = train(config, tmp_path / "looped", stacked=False)
    stacked = train(config, tmp_path / "stacked", stacked=True)
    for (_, one), (_, other) in zip(looped.figures, stacked.figures, strict=True):
        assert one == pytest.approx(other, rel=0, abs=1e-9)


@pytest.mark.parametrize("untrained", [("teacher",), ("match",), ("teacher", "match")])
def test_teacher_and_match_may_be_left_untrained(train, tiny_config, tmp_path, untrained):
    config = tiny_config(**{f"{stage}.epochs": 0 for stage in untrained})
    trained = train(config, tmp_path)
    assert [len(trained.reused(stage)) for stage in STAGES] == [0 if stage in untrained else 2 for stage in STAGES]
    assert_same(train(config, tmp_path), trained)
    assert trained.trained_s > 0


def test_an_unmatched_student_without_alpha_is_a_student_of_its_own(train, tiny_config, tmp_path):
    """Then its teacher cannot matter, and the student starts from its seed."""
    none = {"match.epochs": 0, "alpha": 0}
    one = train(tiny_config(**none), tmp_path)
    other = train(tiny_config(**none, **{"teacher.epochs": 1, "teacher.lr": 0.02}), tmp_path)
    assert_same_students(one.students, other.students)


def test_the_teacher_is_done_when_it_is_finished(train, config, tmp_path):
    seen = []

    def report(_: EpochReport) -> None:
        seen.append({path: path.read_bytes() for path in (tmp_path / "teacher").rglob("epoch-*")})

    train(config, tmp_path, report=report)
    finished, *later = seen[1:]  # the teacher's last epoch, and all of match and student
    assert len(finished) == 2
    assert later == [finished] * 4


def test_matching_leaves_the_students_classifier_as_its_seed_made_it(config, finished):
    fresh = build_student(config, (32, 32), 7, seed=0).state_dict()
    matched = [load_file(path) for path in (finished[1] / "match").rglob("*.safetensors")]
    assert len(matched) == 2
    for state in matched:
        for name, tensor in fresh.items():
            assert torch.equal(state[f"network.{name}"], tensor) == name.startswith("classify."), name


def test_the_student_stage_starts_where_matching_ended(train, tiny_config, tmp_path):
    stands_still = tiny_config(**{"student.epochs": 1, "student.lr": 1e-12})
    student = train(stands_still, tmp_path).students[0]
    (matched,) = [load_file(path) for path in (tmp_path / "match").rglob("*.safetensors")]
    for name, tensor in student.items():
        torch.testing.assert_close(tensor, matched[f"network.{name}"], rtol=0, atol=1e-9)


def test_figures_are_those_of_the_weights_that_were_kept(store, config, finished):
    """Computed again by hand, from the last epoch's checkpoints and the store."""
    trained, root = finished
    build, l1, wa = Builder(config=config, image=(32, 32), classes=7), [], []
    for lane in config.lanes:
        networks = []
        for stage in lane_stages(config, store.fingerprint, lane).values():
            networks.append(build(stage.name, lane.seed))
            file = root / stage.name / stage.key / "epoch-0002.safetensors"
            networks[-1].load_state_dict(network_state(load_file(file)))
        valid = split(store, config.protocol, lane.fold, config.split_seed).valid
        images = torch.from_numpy(store.pixels[valid]).float().unsqueeze(1)
        teacher, match, student = (network(images) for network in networks)
        l1.append((match.features - teacher.features).abs().mean().item())
        wa.append(np.mean(student.logits.argmax(-1).numpy() == store.emotion[valid]))
    assert trained.reports[3].metrics["val_l1"] == pytest.approx(np.mean(l1), abs=1e-6)
    assert trained.result.val_wa == pytest.approx(wa)


@pytest.mark.parametrize("protocol", ["speaker", "utterance"])
def test_test_rows_of_noise_change_no_score(store, train, tiny_config, tmp_path, protocol):
    config = tiny_config(protocol=protocol, folds=[0, 1])
    group = store.speaker if protocol == "speaker" else store.clip
    test = np.isin(group, group[split(store, protocol, 0, config.split_seed).test])  # every view of them
    assert 0 < test.sum() < len(test)
    assert_same(
        train(config, tmp_path / "noise", of=with_noise(store, test)),
        train(config, tmp_path / "real"),
    )


@pytest.mark.parametrize("side", ["train", "valid"])
def test_rows_of_the_other_sides_do_change_scores(store, train, tiny_config, finished, tmp_path, side):
    config = tiny_config(**TWO_LANES)
    rows = np.zeros(len(store.pixels), dtype=bool)
    rows[getattr(split(store, config.protocol, 0, config.split_seed), side)] = True
    assert train(config, tmp_path, of=with_noise(store, rows)).figures != finished[0].figures


def with_noise(store: Store, rows: np.ndarray) -> Store:
    """A copy of the store, of the same fingerprint, in which some images are noise."""
    pixels = store.pixels.copy()
    pixels[rows] = np.random.default_rng(0).random(pixels[rows].shape)
    return replace(store, pixels=pixels)


def test_a_loss_that_is_not_a_number_ends_the_chain_where_it_arose(store, train, tiny_config, tmp_path):
    pixels = store.pixels.copy()
    pixels[:] = np.nan
    with pytest.raises(NonFiniteLossError, match=r"teacher stage, epoch 1.* nan"):
        train(tiny_config(), tmp_path, of=replace(store, pixels=pixels))
    assert tensors(tmp_path) == {}


def test_an_output_that_is_not_a_number_ends_the_chain_too(store, train, tiny_config, tmp_path):
    """As after a last step that diverged, which no training loss shows."""
    config = tiny_config(protocol="utterance")
    pixels = store.pixels.copy()
    pixels[split(store, "utterance", 0, config.split_seed).valid] = np.nan
    with pytest.raises(NonFiniteLossError, match="teacher stage, epoch 1"):
        train(config, tmp_path, of=replace(store, pixels=pixels))
    assert tensors(tmp_path) == {}


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
