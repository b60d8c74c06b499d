"""The tracking server goes away in the middle of a sweep: for half a minute, and for good."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient
from processes import environment, free_port, started, wait_for

from sermodels.config.parsing import merged
from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

OUTAGE_S = 30
SHORT, LONG = 400, 1600  # epochs: some seconds; longer than the outage and the server's start
GRID = {
    "description": "two trials",
    "chain": TINY,
    "space": {"encoding": ["ice", "none"]},
    "trials": 2,
    "sampler": "grid",
}


class Server:
    """An MLflow server that can be stopped and started again at the same place."""

    def __init__(self, folder):
        self.port = free_port()
        self.uri, self.folder = f"http://127.0.0.1:{self.port}", folder

    def start(self):
        flags = [f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db",
                 f"--artifacts-destination={self.folder}/artifacts"]  # fmt: skip
        mlflow = Path(sys.executable).with_name("mlflow")
        self.process = subprocess.Popen(
            [mlflow, "server", "--host=127.0.0.1", f"--port={self.port}", "--workers=1", *flags],
            env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers, self.process)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def _answers(self):
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture
def server(new_home, tmp_path):
    server = Server(new_home(tmp_path / "server"))
    server.start()
    yield server
    if server.process.poll() is None:
        server.stop()


def swept(folder, store, server, epochs):
    preset = folder / "two.yaml"
    preset.write_text(yaml.safe_dump(merged(GRID, {"chain.teacher.epochs": epochs})))
    words = ["--store", store.path, "--preset", preset, "--name", "two", "--home", folder / "home"]
    return [*words, "--tracking-uri", server.uri]


def assert_all_is_there(server, epochs):
    client = MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id])
    assert sorted(run.data.tags["ser.kind"] for run in runs) == ["sweep", "trial", "trial"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.data.tags["ser.kind"] == "trial":
            for metric, last in (("teacher/val_uar", epochs), ("student/val_uar", 2)):
                steps = [point.step for point in client.get_metric_history(run.info.run_id, metric)]
                assert steps == list(range(1, last + 1))


def test_a_server_that_is_away_for_half_a_minute_misses_nothing(store, server, tmp_path):
    with started("sweep.py", *swept(tmp_path, store, server, LONG)) as process:
        wait_for(lambda: len(read_all(tmp_path / "home" / "stages")) > 5, process)
        server.stop()
        time.sleep(OUTAGE_S)
        before = len(read_all(tmp_path / "home" / "stages"))
        assert before > 20, "training went on without it"
        server.start()
        assert process.wait(240) == 0
    assert_all_is_there(server, LONG)


def test_a_server_that_is_gone_for_good_gets_everything_by_the_replay(store, server, tmp_path):
    with started("sweep.py", *swept(tmp_path, store, server, SHORT)) as process:
        wait_for(lambda: len(read_all(tmp_path / "home" / "stages")) > 5, process)
        server.stop()
        assert process.wait(240) == 0, "it comes to its end without a tracker"
    done = job_here("sync_tracking.py", "--home", tmp_path / "home")
    assert done.returncode == 2
    assert server.uri in done.stderr
    server.start()
    done = job_here("sync_tracking.py", "--home", tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert_all_is_there(server, SHORT)
