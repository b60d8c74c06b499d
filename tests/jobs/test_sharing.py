"""Processes that share a home train each stage once: jobs side by side, killed ones, sweeps, nodes of a cluster."""

import json
import os
import signal
from collections import Counter

import pytest
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient
from processes import started, wait_for
from ray.cluster_utils import Cluster

from sermodels.config.parsing import merged
from sermodels.config.settings import STAGES
from sermodels.training.training_log import read_all

FOUR = {
    "description": "four trials, two teachers",
    "chain": merged(TINY, {"teacher.epochs": 6}),
    "space": {"encoding": ["ice", "none"], "alpha": [0, 1]},
    "trials": 4,
    "sampler": "grid",
}
TWELVE = merged(FOUR, {"space.alpha": list(range(6)), "trials": 12})
EPOCHS = 2 * 6 + 2 * 2 + 12 * 2  # of teachers, matches and students of TWELVE, each trained once
LONG = 100  # epochs of a teacher that is killed while it is trained


def trained(home) -> Counter:
    """How often each epoch of each lane is in the training log."""
    return Counter((entry.stage, entry.key, entry.epoch) for entry in read_all(home / "stages"))


def written(tmp_path, content):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def runs_of(home, kind):
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id])
    return [run for run in found if run.data.tags["ser.kind"] == kind]


def scores(home, sweep):
    """Validation UAR of each finished trial, by what it has of its own."""
    finished = [run for run in runs_of(home, "trial") if run.data.tags["ser.outcome"] == "finished"]
    mine = [run for run in finished if run.data.tags["ser.sweep"] == sweep]
    return {(run.data.params["encoding"], run.data.params["alpha"]): run.data.metrics["val_uar"] for run in mine}


@pytest.fixture(scope="module")
def long_teacher(tmp_path_factory):
    return written(tmp_path_factory.mktemp("long"), merged(TINY, {"teacher.epochs": LONG}))


@pytest.fixture(scope="module")
def pair(store, long_teacher, tmp_path_factory):
    """The home on which two processes, started together, trained the same configuration."""
    home = tmp_path_factory.mktemp("pair")
    words = ["--store", store.path, "--config", long_teacher, "--home", home]
    with started("train.py", *words) as one, started("train.py", *words) as other:
        assert (one.wait(120), other.wait(120)) == (0, 0)
    return home


@pytest.fixture(scope="module")
def sweeps(store, new_home, ray_address, tmp_path_factory):
    """The home on which two sweeps, started together on a Ray each, searched the same space."""
    folder = tmp_path_factory.mktemp("sweeps")
    home = new_home(folder / "home")
    words = ["sweep.py", "--store", store.path, "--preset", written(folder, TWELVE), "--home", home]
    other = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        with (
            started(*words, "--name", "one", "--address", ray_address) as one,
            started(*words, "--name", "two", "--address", other.address) as two,
        ):
            assert (one.wait(240), two.wait(240)) == (0, 0)
    finally:
        other.shutdown()
    return home


def test_two_processes_started_together_train_a_teacher_once(pair):
    assert set(trained(pair).values()) == {1}
    assert {entry.epoch for entry in read_all(pair / "stages") if entry.stage == "teacher"} == set(range(1, LONG + 1))


def test_when_a_process_is_killed_the_one_that_waits_goes_on_from_its_last_epoch(store, pair, tmp_path, long_teacher):
    words = ["--store", store.path, "--config", long_teacher]
    with started("train.py", *words, "--home", tmp_path) as one, started("train.py", *words, "--home", tmp_path) as two:
        wait_for(lambda: len(trained(tmp_path)) >= 5, one)
        first = read_all(tmp_path / "stages")[0].pid
        assert first in (one.pid, two.pid)
        os.kill(first, signal.SIGKILL)
        assert sorted((one.wait(120), two.wait(120))) == [-signal.SIGKILL, 0]
    counts = trained(tmp_path)
    assert len({entry.pid for entry in read_all(tmp_path / "stages")}) == 2
    assert len(counts) == LONG + 2 + 2
    assert sum(counts.values()) <= len(counts) + 1, "only the epoch that was under way may have been trained again"
    disturbed, undisturbed = (job_here("train.py", *words, "--home", home) for home in (tmp_path, pair))
    assert json.loads(disturbed.stdout) == json.loads(undisturbed.stdout)


def test_two_sweeps_at_the_same_time_train_each_stage_once(sweeps):
    counts = trained(sweeps)
    assert (len(counts), set(counts.values())) == (EPOCHS, {1})
    assert scores(sweeps, "one") == scores(sweeps, "two")
    assert len(scores(sweeps, "one")) == 12
    assert {run.info.status for run in [*runs_of(sweeps, "sweep"), *runs_of(sweeps, "trial")]} == {"FINISHED"}
    client = MlflowClient(f"sqlite:///{sweeps}/mlflow.db")
    for run in runs_of(sweeps, "trial"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "student/val_uar")]
        assert steps == [1, 2]


def test_the_runs_of_all_sweeps_together_say_who_trained_and_who_reused(sweeps):
    trials = runs_of(sweeps, "trial")
    spent, reused = (sum(run.data.metrics[f"{name}_seconds"] for run in trials) for name in ("trained", "reused"))
    assert spent == pytest.approx(sum(entry.seconds for entry in read_all(sweeps / "stages")))
    assert reused > 0
    for run in trials:
        alone = {stage for stage in STAGES if run.data.metrics[f"{stage}/reused_seconds"] == 0}
        assert alone == {stage for stage in STAGES if stage not in run.data.tags["ser.reused"]}


def test_a_cache_that_may_hold_nothing_changes_no_score(store, sweeps, new_home, ray_address, tmp_path):
    new_home(tmp_path)
    words = ["--store", store.path, "--preset", written(tmp_path, TWELVE), "--home", tmp_path, "--name", "pruned"]
    done = job_here("sweep.py", *words, "--prune-cache", 0, "--address", ray_address)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path, "pruned") == scores(sweeps, "one")
    kept, left = (len(list((home / "stages").rglob("epoch-*.safetensors"))) for home in (sweeps, tmp_path))
    assert kept == 2 + 2 + 12
    assert left <= 3, "what the bundle of the winner needed"
    assert len(trained(tmp_path)) == EPOCHS


def test_nodes_of_a_cluster_train_each_stage_once(store, tmp_path, new_home):
    home, preset = new_home(tmp_path / "home"), written(tmp_path, merged(FOUR, {"chain.teacher.epochs": 50}))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=1)
        words = ["--store", store.path, "--preset", preset, "--home", home, "--name", "nodes"]
        done = job_here("sweep.py", *words, "--address", nodes.address)
    finally:
        nodes.shutdown()
    assert done.returncode == 0, done.stderr
    counts = trained(home)
    assert (len(counts), set(counts.values())) == (2 * 50 + 2 * 2 + 4 * 2, {1})
    assert len({entry.pid for entry in read_all(home / "stages")}) >= 2, "both nodes took part"
