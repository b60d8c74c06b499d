"""jobs/sweep.py and jobs/export_best.py on a real Ray and a real MLflow database.

The sweep `four` is run as a user does it: a process with a Ray of its own. The others share a Ray, in this process.
"""

import json
from collections import Counter

import pytest
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient
from processes import error_line, script

from sermodels.config.parsing import merged, parse
from sermodels.config.settings import ChainConfig
from sermodels.training.bundle import load_bundle
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData
from sermodels.training.training_log import read_all

GRID = {
    "description": "four trials, two teachers",
    "chain": merged(TINY, {"seeds": [0, 1]}),
    "space": {"encoding": ["ice", "none"], "alpha": [0, 1]},
    "trials": 4,
    "sampler": "grid",
}
# Under `paper` even small networks learn something in seconds: they have seen other views of the same clips.
SIZE = {"protocol": "paper", "dim": 32, "mlp": 32, "head_dim": 16, "student.batch": 4, "student.epochs": 14}
LEARNING = SIZE | {"teacher.epochs": 1, "match.epochs": 1, "student.lr": None}
HARD = {
    "description": "one trial overflows; two do not learn and are pruned; the best are confirmed",
    "chain": merged(TINY, LEARNING),
    "space": {
        "case": [
            {"student.lr": 1e-3, "alpha": 0},
            {"student.lr": 1e-3, "alpha": 0.01},
            {"student.lr": 1e-7, "alpha": 0},
            {"student.lr": 1e-8, "alpha": 0},
            {"student.lr": 1e-3, "alpha": 1e39},
        ]
    },
    "trials": 5,
    "sampler": "grid",
    "scheduler": "asha",
    "grace_epochs": 10,
    "reduction_factor": 2,
    "confirm": 2,
}


class Swept:
    """A finished sweep and what MLflow knows of it."""

    def __init__(self, folder, store, name, preset, run=script, words=()):
        self.home, self.store, self.name, self.preset = folder / "home", store, name, folder / f"{name}.yaml"
        self.preset.write_text(yaml.safe_dump(preset))
        given = ["--store", store.path, "--preset", self.preset, "--name", name, "--home", self.home]
        self.done = run("sweep.py", *given, *words)
        assert self.done.returncode == 0, self.done.stderr
        self.client = MlflowClient(f"sqlite:///{self.home}/mlflow.db")
        experiment = self.client.get_experiment_by_name("ser-search").experiment_id
        runs = self.client.search_runs([experiment])
        (self.parent,) = [run for run in runs if run.data.tags["ser.kind"] == "sweep"]
        self.trials = [run for run in runs if run.data.tags["ser.kind"] == "trial"]
        self.confirmations = [run for run in runs if run.data.tags["ser.kind"] == "confirmation"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory, store):
    return Swept(tmp_path_factory.mktemp("grid"), store, "four", GRID)


@pytest.fixture(scope="module")
def hard(tmp_path_factory, store, new_home, ray_address):
    folder = tmp_path_factory.mktemp("hard")
    new_home(folder / "home")
    return Swept(folder, store, "hard", HARD, job_here, ["--address", ray_address])


def test_every_point_of_the_grid_is_a_finished_child_of_the_sweep(swept):
    assert {run.data.tags["mlflow.parentRunId"] for run in swept.trials} == {swept.parent.info.run_id}
    assert {(run.data.params["encoding"], run.data.params["alpha"]) for run in swept.trials} == {
        (encoding, alpha) for encoding in ("ice", "none") for alpha in ("0.0", "1.0")
    }
    assert {run.info.status for run in [swept.parent, *swept.trials]} == {"FINISHED"}


def test_metrics_have_every_epoch_of_every_stage(swept):
    for run in swept.trials:
        for metric in ("teacher/val_uar", "match/val_l1", "student/val_uar"):
            history = swept.client.get_metric_history(run.info.run_id, metric)
            assert [point.step for point in history] == [1, 2], metric
        assert run.data.metrics["val_uar"] == run.data.metrics["student/val_uar"]
        assert run.data.metrics["student/parameters"] < run.data.metrics["teacher/parameters"]


def test_no_test_figure_in_any_trial(swept):
    for run in swept.trials:
        assert not [name for name in run.data.metrics if "test" in name]
    assert 0 <= swept.parent.data.metrics["test_uar"] <= 1


def test_the_sweep_says_who_was_on_which_side(swept):
    path = swept.client.download_artifacts(swept.parent.info.run_id, "sides.json")
    with open(path) as file:
        sides = json.load(file)["fold 0"]
    speakers = [set(sides[side]["speakers"]) for side in ("train", "valid", "test")]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 5
    assert swept.parent.data.tags["ser.protocol"] == "speaker"
    assert swept.parent.data.tags["ser.store"] == swept.store.fingerprint


@pytest.mark.parametrize("alpha", ["0.0", "1.0"])
def test_a_trial_scores_what_its_chain_scores_alone(swept, tmp_path, alpha):
    config = parse(ChainConfig, merged(GRID["chain"], {"encoding": "none", "alpha": float(alpha)}), "alone")
    alone = Chain(config, TrialData(swept.store, config), StageCache(tmp_path)).run().summary()
    (run,) = [r for r in swept.trials if (r.data.params["encoding"], r.data.params["alpha"]) == ("none", alpha)]
    assert {name: run.data.metrics[name] for name in ("val_uar", "val_wa", "val_uar_std")} == {
        name: alone[name] for name in ("val_uar", "val_wa", "val_uar_std")
    }


def test_the_winner_has_the_best_score_and_is_exported(swept, tmp_path):
    best = max(run.data.metrics["val_uar"] for run in swept.trials)
    (winner,) = [run for run in swept.trials if run.data.tags.get("ser.winner") == "true"]
    assert winner.data.metrics["val_uar"] == best
    done = job_here("export_best.py", "--sweep", "four", "--home", swept.home, "--out", tmp_path / "best")
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(tmp_path / "best")
    assert bundle.config.encoding == winner.data.params["encoding"]
    assert bundle.metrics["validation"]["val_uar"] == best == bundle.metrics["selection"]["val_uar"]
    assert bundle.metrics["test"]["uar"] == swept.parent.data.metrics["test_uar"]
    assert [lane["seed"] for lane in bundle.metrics["test"]["lanes"]] == [0, 1]


def test_it_prints_the_commands_that_come_next(swept):
    assert "python jobs/export_best.py --sweep four" in swept.done.stdout
    assert "mlflow ui --backend-store-uri sqlite:///" in swept.done.stdout
    assert "four: 4/4 trials done" in swept.done.stderr


def test_a_name_is_taken_once(swept):
    words = ["--store", swept.store.path, "--preset", swept.preset, "--name", "four", "--home", swept.home]
    line = error_line(job_here("sweep.py", *words))
    assert "sweep four exists" in line
    assert "4 trials of it have ended" in line
    assert "--resume" in line
    assert "--fresh" in line
    experiment = swept.parent.info.experiment_id
    assert len(swept.client.search_runs([experiment])) == 5


def test_a_configuration_that_overflows_fails_alone_and_says_why(hard):
    failed = [run for run in hard.trials if run.data.tags["ser.outcome"] == "failed"]
    assert failed
    for run in failed:
        assert run.data.params["alpha"] == "1e+39"
        assert "NonFiniteLossError: student stage, epoch 1" in run.data.tags["ser.reason"]
        assert run.info.status == "FAILED"


def test_a_pruned_trial_is_no_finished_one(hard):
    pruned = [run for run in hard.trials if run.data.tags["ser.outcome"] == "pruned"]
    assert pruned
    for run in pruned:
        assert run.info.status == "KILLED"
        assert "val_uar" not in run.data.metrics
        steps = [p.step for p in hard.client.get_metric_history(run.info.run_id, "student/val_uar")]
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) == 10


def test_the_best_is_trained_again_on_seeds_that_did_not_choose_it(hard, tmp_path):
    (winner,) = [run for run in hard.trials if run.data.tags.get("ser.winner") == "true"]
    (again,) = [run for run in hard.confirmations if run.data.params == winner.data.params]
    text = hard.client.download_artifacts(again.info.run_id, "config.yaml")
    with open(text) as file:
        assert yaml.safe_load(file)["seeds"] == [1]
    assert again.data.metrics["val_uar"] == max(run.data.metrics["val_uar"] for run in hard.confirmations)
    assert hard.parent.data.metrics["confirmed_val_uar"] == again.data.metrics["val_uar"]
    assert hard.parent.data.metrics["val_uar"] == winner.data.metrics["val_uar"]


def test_a_later_sweep_goes_on_where_trials_were_pruned_and_says_what_it_reused(hard, ray_address):
    preset = hard.preset.with_name("whole.yaml")
    preset.write_text(yaml.safe_dump(HARD | {"scheduler": "none", "confirm": 0}))
    words = ["--store", hard.store.path, "--preset", preset, "--name", "whole", "--home", hard.home]
    assert job_here("sweep.py", *words, "--address", ray_address).returncode == 0
    entries = read_all(hard.home / "stages")
    assert set(Counter((entry.stage, entry.key, entry.epoch) for entry in entries).values()) == {1}
    # The overflowing one fails before its first epoch is done, so it is not there.
    assert Counter(entry.stage for entry in entries if entry.owner.startswith("whole/")) == {"student": 2 * 4}
    runs = hard.client.search_runs([hard.parent.info.experiment_id], "tags.`ser.sweep` = 'whole'")
    finished = [run for run in runs if run.data.tags["ser.kind"] == "trial" and run.info.status == "FINISHED"]
    assert len(finished) == 4
    reused = Counter(run.data.tags["ser.reused"] for run in finished)
    assert reused["teacher, match, student"] == 2, "those that had been finished"
    for run in finished:
        assert run.data.tags["ser.reused"].startswith("teacher, match, student")
        assert run.data.metrics["teacher/reused_seconds"] > 0 == run.data.metrics["teacher/trained_seconds"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["chain.teacher.lr=fast"], "chain: teacher.lr"),
        (["chain.folds=[9]"], "4 folds (0 to 3) for 5 speakers"),
        (["chain.all_data=true", "chain.folds=[0]"], "a search would choose on clips that were trained on"),
        (["--prune-cache", "-1"], "--prune-cache -1"),
        (["--resume", "--name", "none"], "no sweep none"),
        (["--resume", "--fresh"], "exclude each other"),
        (["--resume", "auto"], "needs a --name"),
        (["--retry-failed"], "--retry-failed goes with --resume"),
        (["--resume", "maybe"], "'maybe'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(store, tmp_path, words, names):
    home = tmp_path / "home"
    done = job_here("sweep.py", "--store", store.path, "--home", home, "--preset", _preset(tmp_path), *words)
    assert names in error_line(done)
    assert not home.exists()


def test_a_dry_run_starts_nothing_and_counts_stages(store, tmp_path):
    home = tmp_path / "home"
    words = ["--store", store.path, "--preset", _preset(tmp_path), "--home", home, "--dry-run"]
    done = job_here("sweep.py", *words)
    assert done.returncode == 0, done.stderr
    assert "2 teachers, 2 matches, 4 students; each in 2 lanes" in done.stdout
    assert "fold 0 test: " in done.stdout
    assert not home.exists()


def test_an_unknown_sweep_is_named_with_those_that_exist(swept):
    done = job_here("export_best.py", "--sweep", "for", "--home", swept.home, "--out", swept.home / "x")
    assert "there are: four" in error_line(done)
    assert not (swept.home / "x").exists()


def _preset(folder, content=GRID):
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
