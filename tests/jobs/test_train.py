"""jobs/train.py and jobs/evaluate.py: figures that come again to the bit, and input that is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import SMALL, TINY
from here import job_here
from processes import error_line, job

from sermodels.config.settings import Augmentation
from sermodels.corpora import synthetic
from sermodels.evaluation.evaluate import evaluate, rows_of
from sermodels.store.build import build
from sermodels.training.bundle import FINGERPRINT, load_bundle

CONFIG = {**TINY, "alpha": 0, "folds": [1, 0], "student": {**TINY["student"], "lr": 0.02}}


class Trained:
    """What a run of the job left."""

    def __init__(self, folder: Path, store: Path, config: Path, *words: str, run=job_here):
        self.home, self.out = folder / "home", folder / "best"
        given = ["--store", store, "--config", config, "--home", self.home, "--out", self.out]
        self.done = run("train.py", *given, *words)
        assert self.done.returncode == 0, self.done.stderr
        self.figures = json.loads(self.done.stdout)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return Trained(folder, store.path, folder / "config.yaml", "student.epochs=12", "seeds=[4]", run=job)


def test_a_line_an_epoch_and_one_line_of_figures(trained, store):
    lines = trained.done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["teacher"] * 2 + ["match"] * 2 + ["student"] * 12 + ["trained"]
    assert f"val UAR {trained.figures['val_uar']:.3f} ± {trained.figures['val_uar_std']:.3f}" in lines[-2]
    assert trained.done.stdout.count("\n") == 1
    assert trained.figures[FINGERPRINT] == store.fingerprint
    assert [(lane["fold"], lane["seed"]) for lane in trained.figures["lanes"]] == [(1, 4), (0, 4)]


def test_the_bundle_holds_the_student_of_the_first_lane(trained, store):
    bundle, first = load_bundle(trained.out), trained.figures["lanes"][0]
    assert bundle.config.lanes == ((1, 4), (0, 4))
    assert bundle.config.student.epochs == 12
    scores = evaluate(bundle.network, store, rows_of("valid", store, bundle.config))
    assert (scores.uar, scores.wa, scores.macro_f1) == (first["val_uar"], first["val_wa"], first["val_macro_f1"])
    assert bundle.metrics["validation"]["lanes"] == trained.figures["lanes"]
    assert "test" not in bundle.metrics


def test_the_configuration_of_a_bundle_gives_its_figures_again_to_the_bit(trained, store, tmp_path):
    again = Trained(tmp_path, store.path, trained.out / "config.yaml")
    assert again.done.stdout == trained.done.stdout
    for name in ("model.safetensors", "metrics.json", "config.yaml"):
        assert (again.out / name).read_bytes() == (trained.out / name).read_bytes()


def test_all_data_is_trained_on_and_the_model_says_so(trained, store, tmp_path):
    final = Trained(tmp_path, store.path, trained.out / "config.yaml", "--all-data")
    bundle = load_bundle(final.out)
    assert (bundle.config.all_data, bundle.config.folds, bundle.config.student.epochs) == (True, (1,), 12)
    heard = bundle.metrics["sides"]["fold 1"]
    assert heard["train"]["clips"] == 28
    assert set(heard["train"]["speakers"]) == set(store.speaker) - set(heard["test"]["speakers"])
    assert "the validation side was trained on" in final.figures["caveat"]
    assert "| valid (trained on, too) | 7 |" in (final.out / "README.md").read_text()
    assert (final.out / "model.safetensors").read_bytes() != (trained.out / "model.safetensors").read_bytes()
    other = Trained(tmp_path / "other", store.path, trained.out / "config.yaml", "folds=[0]", "--all-data")
    assert load_bundle(other.out).config.folds == (0,)
    words = ["--store", store.path, "--home", tmp_path / "none"]
    assert "must be one with all_data" in error_line(job_here("train.py", *words, "folds=[0, 1]", "--all-data"))
    assert "exclude each other" in error_line(job_here("train.py", *words, "all_data=false", "--all-data"))
    noted = job_here("evaluate.py", final.out, "--store", store.path)
    assert "test: neither trained nor selected on" in noted.stdout
    done = job_here("predict.py", final.out, store.path.parent / "corpus" / store.clip_id[0])
    assert done.returncode == 0, done.stderr


def test_finished_stages_are_reused_and_take_one_line_each(trained, store):
    words = ["--store", store.path, "--config", trained.out / "config.yaml", "--home", trained.home]
    again = job_here("train.py", *words, "--device", "cpu")
    assert again.stdout == trained.done.stdout
    assert [line.split()[0] for line in again.stderr.splitlines()] == ["teacher", "match", "student", "trained"]
    assert again.stderr.count("100% reused") == 3


def test_an_unknown_key_is_one_line_and_nothing_is_written(store, tmp_path):
    done = job_here(
        "train.py", "--store", store.path, "--home", tmp_path / "home", "--out", tmp_path / "out", "teacher.lrr=1"
    )
    assert "'teacher.lrr'" in error_line(done)
    assert "'teacher.lr'" in error_line(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["dim=wide"], "dim"),
        (["dim"], "'dim'"),
        (["patch=32x5"], "patch 32x5"),
        (["folds=[9]"], "fold 9"),
        (["--threads", "0"], "--threads 0"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--out", os.devnull], os.devnull),
    ],
)
def test_what_cannot_be_trained_is_refused(store, tmp_path, words, names):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    given = ["--store", store.path, "--config", tmp_path / "tiny.yaml", "--home", tmp_path / "home"]
    assert names in error_line(job_here("train.py", *given, *words))
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_training_that_diverges_is_one_line(store, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "alpha": 1e39}))
    done = job_here("train.py", "--store", store.path, "--config", tmp_path / "tiny.yaml", "--home", tmp_path / "home")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: student stage, epoch 1")


def test_evaluate_on_its_own_store_takes_the_test_side(trained, store, tmp_path):
    done = job_here("evaluate.py", trained.out, "--store", store.path, "--json", tmp_path / "figures.json")
    figures, bundle = json.loads((tmp_path / "figures.json").read_text()), load_bundle(trained.out)
    assert done.returncode == 0, done.stderr
    assert figures["side"] == "test"
    assert figures["uar"] == evaluate(bundle.network, store, rows_of("test", store, bundle.config)).uar
    assert figures["speakers"] == bundle.metrics["sides"]["fold 1"]["test"]["speakers"]
    assert f"UAR {figures['uar']:.3f}" in done.stdout
    assert "chance 0.143" in done.stdout
    table = [line.split() for line in done.stdout.splitlines()[-7:]]
    assert [row[0] for row in table] == list(store.emotions)
    assert [list(map(int, row[1:8])) for row in table] == figures["confusion"]


def test_evaluate_on_another_store_takes_all_of_it(trained, tmp_path):
    corpus = synthetic.read(tmp_path / "corpus", seed=1, speakers=2, clips_per_emotion=1)
    other = _build(corpus, tmp_path / "other.arrow", SMALL)
    done = job_here("evaluate.py", trained.out, "--store", other)
    assert "not the store that the model was trained on" in done.stdout
    assert "clips: 14  rows: 14  speakers: 2" in done.stdout
    narrow = _build(corpus, tmp_path / "narrow.arrow", replace(SMALL, width=16))
    assert "width is 16, the model's 32" in error_line(job_here("evaluate.py", trained.out, "--store", narrow))
    fewer = replace(
        corpus,
        emotions=corpus.emotions[:3],
        utterances=[u for u in corpus.utterances if u.emotion in corpus.emotions[:3]],
    )
    few = _build(fewer, tmp_path / "few.arrow", SMALL)
    assert "its emotions are anger, anxiety, boredom;" in error_line(
        job_here("evaluate.py", trained.out, "--store", few)
    )


def test_evaluate_of_a_side_that_was_trained_on_says_so(trained, store):
    done = job_here("evaluate.py", trained.out, "--store", store.path, "--side", "all")
    assert "most of these clips were trained on" in done.stdout
    assert "clips: 35  rows: 35  speakers: 5" in done.stdout


def _build(corpus, path, frontend):
    build(corpus, path, frontend, Augmentation(), seed=0, workers=1, strict=True, progress=lambda *_: None)
    return path
