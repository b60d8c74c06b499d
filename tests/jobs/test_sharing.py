"""Processes that share a home train each stage once: jobs side by side, killed ones, sweeps, nodes of a cluster."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter

import pytest
import yaml
from conftest import TINY
from mlflow import MlflowClient
from processes import ROOT, environment, job, started, wait_for

from sermodels.settings import merged
from sermodels.training_log import read_all

GRID = {
    "description": "four trials, two teachers",
    "chain": merged(TINY, {"teacher.epochs": 6}),
    "space": {"encoding": ["ice", "none"], "alpha": [0, 1]},
    "trials": 4,
    "sampler": "grid",
}
EPOCHS = 2 * 6 + 2 * 2 + 4 * 2  # of teachers, matches and students, each trained once


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


@pytest.fixture
def long_teacher(tmp_path):
    return written(tmp_path, merged(TINY, {"teacher.epochs": 300}))


def test_two_processes_started_together_train_a_teacher_once(store, tmp_path, long_teacher):
    words = ["--store", store.path, "--config", long_teacher, "--home", tmp_path]
    with started("train.py", *words) as one, started("train.py", *words) as other:
        assert (one.wait(120), other.wait(120)) == (0, 0)
    assert set(trained(tmp_path).values()) == {1}
    assert {entry.epoch for entry in read_all(tmp_path / "stages") if entry.stage == "teacher"} == set(range(1, 301))


def test_when_a_process_is_killed_the_one_that_waits_goes_on_from_its_last_epoch(store, tmp_path, long_teacher):
    undisturbed = job("train.py", "--store", store.path, "--config", long_teacher, "--home", tmp_path / "alone")
    words = ["--store", store.path, "--config", long_teacher, "--home", tmp_path]
    with started("train.py", *words) as one, started("train.py", *words) as other:
        wait_for(lambda: len(trained(tmp_path)) >= 5, one)
        first = read_all(tmp_path / "stages")[0].pid
        assert first in (one.pid, other.pid)
        os.kill(first, signal.SIGKILL)
        assert sorted((one.wait(120), other.wait(120))) == [-signal.SIGKILL, 0]
    counts = trained(tmp_path)
    assert len({entry.pid for entry in read_all(tmp_path / "stages")}) == 2
    assert len(counts) == 300 + 2 + 2
    assert sum(counts.values()) <= len(counts) + 1, "only the epoch that was under way may have been trained again"
    again = job("train.py", *words)
    assert json.loads(again.stdout) == json.loads(undisturbed.stdout)


def test_two_sweeps_at_the_same_time_train_each_stage_once(store, tmp_path):
    preset, home = written(tmp_path, GRID), tmp_path / "home"
    words = ["--store", store.path, "--preset", preset, "--home", home]
    with started("sweep.py", *words, "--name", "one") as one, started("sweep.py", *words, "--name", "two") as two:
        assert (one.wait(240), two.wait(240)) == (0, 0)
    counts = trained(home)
    assert (len(counts), set(counts.values())) == (EPOCHS, {1})
    trials = runs_of(home, "trial")
    assert {run.data.tags["ser.outcome"] for run in trials} == {"finished"}
    scores = {}
    for run in trials:
        scores.setdefault((run.data.params["encoding"], run.data.params["alpha"]), []).append(
            run.data.metrics["val_uar"]
        )
    assert [len(set(both)) for both in scores.values()] == [1] * 4
    assert [len(both) for both in scores.values()] == [2] * 4
    reused, spent = (sum(run.data.metrics[f"{name}_seconds"] for run in trials) for name in ("reused", "trained"))
    assert spent == pytest.approx(sum(entry.seconds for entry in read_all(home / "stages")))
    assert reused > 0


def test_a_cache_that_may_hold_nothing_changes_no_score(store, tmp_path):
    preset = written(tmp_path, GRID)
    for name, words in (("kept", []), ("pruned", ["--prune-cache", 0])):
        home = tmp_path / name
        done = job("sweep.py", "--store", store.path, "--preset", preset, "--home", home, "--name", name, *words)
        assert done.returncode == 0, done.stderr
    kept, pruned = (
        {(r.data.params["encoding"], r.data.params["alpha"]): r.data.metrics["val_uar"] for r in runs_of(home, "trial")}
        for home in (tmp_path / "kept", tmp_path / "pruned")
    )
    assert kept == pruned
    assert list((tmp_path / "kept" / "stages").rglob("*.safetensors"))
    left = {path.parent.parent.name for path in (tmp_path / "pruned" / "stages").rglob("*.safetensors")}
    assert left <= {"teacher", "match", "student"}
    assert sum(trained(tmp_path / "pruned").values()) >= EPOCHS


def test_nodes_of_a_cluster_train_each_stage_once(store, tmp_path):
    preset = written(tmp_path, merged(GRID, {"chain.teacher.epochs": 200}))  # long enough for the other node to start
    script = f"""
        from ray.cluster_utils import Cluster
        import subprocess, sys
        cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 0, "include_dashboard": False}})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        job = [sys.executable, "jobs/sweep.py", "--address", cluster.address, "--store", {str(store.path)!r},
               "--preset", {str(preset)!r}, "--home", {str(tmp_path / "home")!r}, "--name", "nodes"]
        code = subprocess.run(job).returncode
        cluster.shutdown()
        sys.exit(code)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = trained(tmp_path / "home")
    assert (len(counts), set(counts.values())) == (EPOCHS + 2 * 194, {1})
    assert len({entry.pid for entry in read_all(tmp_path / "home" / "stages")}) == 2, "both nodes took part"
