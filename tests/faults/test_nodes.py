"""A node of a cluster is lost in the middle of its trial: the trial ends elsewhere, from its cached epochs."""

from collections import Counter

import psutil
import pytest
import yaml
from conftest import TINY
from mlflow import MlflowClient
from processes import started, wait_for
from ray.cluster_utils import Cluster

from sermodels.config.parsing import merged
from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

TEACHER = 100
GRID = {
    "description": "three long trials of nothing in common",
    "chain": merged(TINY, {"teacher.epochs": TEACHER}),
    "space": {"encoding": ["ice", "none", "sinusoidal"]},
    "trials": 3,
    "sampler": "grid",
}


@pytest.fixture
def nodes(tmp_path, monkeypatch):
    """A cluster of three nodes, a core each, with an empty cache of fetched stores."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


def begun(home):
    """The first epoch of each teacher, in order of time."""
    return [entry for entry in read_all(home / "stages") if entry.stage == "teacher" and entry.epoch == 1]


def hosts(nodes, entry):
    """Of some nodes, the one whose process trained an epoch."""
    raylet = psutil.Process(entry.pid).ppid()
    return [node for node in nodes if raylet in (process.pid for _, process in node.live_processes())]


def test_trials_of_a_lost_node_end_elsewhere(store, new_home, nodes, tmp_path):
    home, preset = new_home(tmp_path / "home"), tmp_path / "three.yaml"
    preset.write_text(yaml.safe_dump(GRID))
    words = ["--address", nodes.address, "--store", f"file://{store.path}", "--preset", preset, "--home", home]
    with started("sweep.py", *words, "--name", "nodes") as process:
        wait_for(lambda: len(begun(home)) == 3, process)
        *_, (lost, (host,)) = ((entry, found) for entry in begun(home) if (found := hosts(nodes.worker_nodes, entry)))
        nodes.remove_node(host, allow_graceful=False)
        assert process.wait(240) == 0
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
    for key in {entry.key for entry in entries if entry.stage == "teacher"}:
        assert {e.epoch for e in entries if e.key == key and e.stage == "teacher"} == set(range(1, TEACHER + 1))
    assert (tmp_path / "cache" / "ser-search" / "stores" / f"{store.fingerprint}.arrow").exists()
    assert len({entry.pid for entry in begun(home)}) == 3, "all nodes had begun"
    assert len({entry.pid for entry in entries if entry.key == lost.key}) == 2, (
        "the trial of the lost node was under way"
    )
