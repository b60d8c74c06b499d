"""A sweep is stopped by Ctrl-C, then by SIGTERM: its runs are closed, it ends soon, and it can go on."""

import signal
import time

import pytest
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient
from processes import started, wait_for

from sermodels.config.parsing import merged
from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.deadline, pytest.mark.timeout(300)]

EXIT_S = 10  # promised
GRID = {
    "description": "two trials of nothing in common",
    "chain": merged(TINY, {"teacher.epochs": 100}),
    "space": {"encoding": ["ice", "none"]},
    "trials": 2,
    "sampler": "grid",
}


def processes(home):
    """Those that have trained an epoch."""
    return {entry.pid for entry in read_all(home / "stages")}


def runs_of(home):
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id])
    return sorted((run.data.tags["ser.kind"], run.info.status, run.data.tags["ser.outcome"]) for run in runs)


def test_a_sweep_that_is_stopped_closes_its_runs_ends_soon_and_goes_on(store, new_home, ray_address, tmp_path):
    home, preset = new_home(tmp_path / "home"), tmp_path / "two.yaml"
    preset.write_text(yaml.safe_dump(GRID))
    words = ["--store", store.path, "--preset", preset, "--name", "stopped", "--home", home]
    for how, resume in ((signal.SIGINT, []), (signal.SIGTERM, ["--resume"])):
        earlier = processes(home)
        with started("sweep.py", *words, *resume) as process:
            wait_for(lambda earlier=earlier: len(processes(home) - earlier) == 2, process)
            began = time.monotonic()
            process.send_signal(how)
            assert process.wait(60) == 130
        assert time.monotonic() - began < EXIT_S
        assert runs_of(home) == [("sweep", "KILLED", "interrupted"), *[("trial", "KILLED", "interrupted")] * 2]
    done = job_here("sweep.py", *words, "--resume", "--address", ray_address)
    assert done.returncode == 0, done.stderr
    assert runs_of(home) == [("sweep", "FINISHED", "finished"), *[("trial", "FINISHED", "finished")] * 2]
