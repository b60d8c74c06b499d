"""What the connection to Ray tells of a real cluster."""

import pytest
import ray
from ray.cluster_utils import Cluster

from search.cluster import slots


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
