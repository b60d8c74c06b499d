"""What the connection to Ray tells of a real cluster."""

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from search.run.cluster import ray_session, slots


@pytest.fixture(scope="module")
def cluster():
    """A head that trains nothing, and two nodes of different size."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes.add_node(num_cpus=3, num_gpus=1)
    nodes.add_node(num_cpus=4)
    nodes.connect()
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [(1, 0, 7), (2, 0, 3), (0.5, 0, 14), (1, 0.25, 3), (0.5, 0.25, 4), (0, 1, 1), (8, 0, 1), (1, 2, 1)],
)
def test_slots_are_counted_node_by_node(cluster, cpus, gpus, expected):
    assert slots(cpus, gpus) == expected


def test_a_ray_of_our_own_listens_on_loopback_alone(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.shutdown()
    others = children()
    with ray_session(None):
        ray.get(ray.remote(lambda: 1).remote())
        ours = children() - others
        listening = [c for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.pid in ours]
    assert len(listening) > 4
    assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def children():
    return {process.pid for process in psutil.Process().children(recursive=True)}
