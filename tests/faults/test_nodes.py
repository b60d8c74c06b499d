"""A node of a cluster is lost in the middle of its trial: the trial ends elsewhere, from its cached epochs."""

import subprocess
import sys
import textwrap
from collections import Counter

import pytest
import yaml
from conftest import TINY
from mlflow import MlflowClient
from processes import ROOT, environment

from sermodels.config.parsing import merged
from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

TEACHER = 400
GRID = {
    "description": "three long trials of nothing in common",
    "chain": merged(TINY, {"teacher.epochs": TEACHER}),
    "space": {"encoding": ["ice", "none", "sinusoidal"]},
    "trials": 3,
    "sampler": "grid",
}


def test_trials_of_a_lost_node_end_elsewhere(store, new_home, tmp_path):
    home, preset = new_home(tmp_path / "home"), tmp_path / "two.yaml"
    preset.write_text(yaml.safe_dump(GRID))
    script = f"""
        import subprocess, sys, time
        from pathlib import Path
        from ray.cluster_utils import Cluster
        from sermodels.training.training_log import read_all
        cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 0, "include_dashboard": False}})
        nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        job = [sys.executable, "jobs/sweep.py", "--address", cluster.address, "--store", {f"file://{store.path}"!r},
               "--preset", {str(preset)!r}, "--home", {str(home)!r}, "--name", "nodes"]
        sweep = subprocess.Popen(job)
        while len({{entry.key for entry in read_all(Path({str(home)!r}) / "stages")}}) < 3 and sweep.poll() is None:
            time.sleep(0.2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        code = sweep.wait()
        cluster.shutdown()
        sys.exit(code)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=350,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id])
    assert sorted((run.data.tags["ser.kind"], run.info.status) for run in runs) == [
        ("sweep", "FINISHED"),
        *[("trial", "FINISHED")] * 3,
    ]
    entries = read_all(home / "stages")
    counts = Counter((entry.stage, entry.key, entry.epoch) for entry in entries)
    assert len(counts) == 3 * (TEACHER + 2 + 2)
    assert sum(counts.values()) <= len(counts) + 1, "the lost node's last epoch, at most"
    lost = {entry.pid for entry in entries if entry.stage == "teacher" and entry.epoch == 1}
    for key in {entry.key for entry in entries if entry.stage == "teacher"}:
        assert {e.epoch for e in entries if e.key == key and e.stage == "teacher"} == set(range(1, TEACHER + 1))
    assert (tmp_path / "cache" / "ser-search" / "stores" / f"{store.fingerprint}.arrow").exists()
    assert len(lost) == 3, "all nodes had begun"
