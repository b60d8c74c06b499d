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


def test_every_login_on_every_node_has_programs_and_token(cluster):
    profile = next(command for command in cluster["setup_commands"] if ".bashrc" in command)
    assert "PATH=~/ser-search/.venv/bin:$PATH RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/srv/ser/ray.token" in profile
    assert "/srv/ser/ray.token" in " ".join(cluster["head_setup_commands"])


def test_the_head_shows_its_dashboard_to_itself_alone_and_starts_every_worker(cluster):
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "RAY_enable_autoscaler_v2=0" in start  # the newer one starts a worker too few
    assert len(cluster["provider"]["worker_ips"]) == cluster["min_workers"] == cluster["max_workers"]


def test_heavy_folders_stay_behind(cluster):
    assert {".git", ".venv", "runs"} <= set(cluster["rsync_exclude"])
