"""ray_cluster.yaml against Ray's own schema and checks."""

import copy
from pathlib import Path

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER_FILE = Path(__file__).parents[1] / "ray_cluster.yaml"


@pytest.fixture
def cluster():
    return yaml.safe_load(CLUSTER_FILE.read_text())


def test_ray_accepts_it(cluster):
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_an_unknown_key_would_be_noticed(cluster):
    with pytest.raises(ValidationError):
        validate_config(prepare_config(cluster | {"min_wrokers": 1}))


def test_every_node_has_the_token_on_and_no_dashboard_to_the_world(cluster):
    starts = " ".join(cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"])
    assert starts.count("RAY_AUTH_MODE=token") == starts.count("ray start")
    assert "--dashboard-host=127.0.0.1" in starts


def test_heavy_folders_stay_behind(cluster):
    assert {".git", ".venv", "runs"} <= set(cluster["rsync_exclude"])
