"""The tracking server goes away in the middle of a sweep: for some twenty seconds, and for good."""

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

# MLflow's client gives up after one more try; who sends for the sweep then pauses for 0.5, 1, 2, 4 and 8 s between
# attempts. So five fail, and further ones while the server starts, which takes as long again.
OUTAGE_S = 10
EPOCHS = 100
GRID = {
    "description": "two trials",
    "chain": merged(TINY, {"teacher.epochs": EPOCHS}),
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
        """Kill it, if it runs."""
        if self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def _answers(self):
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def server(new_home, tmp_path_factory):
    """Starting one takes ten seconds: each test leaves it running."""
    server = Server(new_home(tmp_path_factory.mktemp("server")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def words(store, server, ray_address, tmp_path):
    """Makes the words of a sweep."""

    def make(name):
        preset = tmp_path / "two.yaml"
        preset.write_text(yaml.safe_dump(GRID))
        flags = ["--store", store.path, "--preset", preset, "--name", name, "--home", tmp_path / "home"]
        return [*flags, "--tracking-uri", server.uri, "--address", ray_address]

    return make


def assert_all_is_there(server, name):
    client = MlflowClient(server.uri)
    runs = client.search_runs(
        [client.get_experiment_by_name("ser-search").experiment_id], f"tags.`ser.sweep` = '{name}'"
    )
    assert sorted(run.data.tags["ser.kind"] for run in runs) == ["sweep", "trial", "trial"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.data.tags["ser.kind"] == "trial":
            for metric, last in (("teacher/val_uar", EPOCHS), ("student/val_uar", 2)):
                steps = [point.step for point in client.get_metric_history(run.info.run_id, metric)]
                assert steps == list(range(1, last + 1))


def test_a_server_that_is_away_for_a_while_misses_nothing(server, words, tmp_path):
    def trained():
        return read_all(tmp_path / "home" / "stages")

    with started("sweep.py", *words("away")) as process:
        wait_for(lambda: len(trained()) > 5, process)
        server.stop()
        began, before = time.monotonic(), len(trained())
        wait_for(lambda: len(trained()) > before + 20, process)  # it goes on without the server
        trial = trained()[-1].pid
        os.kill(trial, signal.SIGSTOP)  # so that the server is back in the middle of the sweep, however long it takes
        time.sleep(max(0, began + OUTAGE_S - time.monotonic()))
        server.start()
        os.kill(trial, signal.SIGCONT)
        assert process.wait(240) == 0
    assert_all_is_there(server, "away")


def test_a_server_that_is_gone_for_good_gets_everything_by_the_replay(server, words, tmp_path):
    with started("sweep.py", *words("gone")) as process:
        wait_for(lambda: len(read_all(tmp_path / "home" / "stages")) > 5, process)
        server.stop()
        assert process.wait(240) == 0, "it comes to its end without a tracker"
    done = job_here("sync_tracking.py", "--home", tmp_path / "home")
    assert done.returncode == 2
    assert server.uri in done.stderr
    server.start()
    done = job_here("sync_tracking.py", "--home", tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert_all_is_there(server, "gone")
