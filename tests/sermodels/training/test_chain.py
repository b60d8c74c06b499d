"""A chain is a function of its settings, hands on from stage to stage what it says, and never sees a test row."""

from dataclasses import replace

import chains
import numpy as np
import pytest
import torch
from chains import TWO_LANES, assert_same, assert_same_caches, assert_same_students, tensors
from safetensors.torch import load_file

from sermodels.config.settings import STAGES
from sermodels.networks.factory import Builder, build_student
from sermodels.store.open import Store
from sermodels.store.splits import split
from sermodels.training.epoch_report import EpochReport
from sermodels.training.lanes import network_state
from sermodels.training.losses import NonFiniteLossError
from sermodels.training.stage import lane_stages

train, config, finished = chains.train, chains.config, chains.finished  # fixtures


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
