"""A sweep as a Ray job on a cluster with token authentication, tracked by an MLflow server; its driver is killed."""

import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests
import yaml
from conftest import TINY
from here import job_here
from processes import ROOT, environment, error_line, free_port, serving

from sermodels.config.parsing import merged
from sermodels.training.bundle import load_bundle
from sermodels.training.training_log import read_all

BIN = Path(sys.executable).parent
TEACHER = 100  # epochs: long enough to be killed in
PRESET = {
    "description": "two trials",
    "chain": merged(TINY, {"patch": None, "teacher.epochs": TEACHER}),
    "space": {"patch": ["32x4", "8x8"]},
    "trials": 2,
    "sampler": "grid",
}


@pytest.fixture(scope="module")
def cluster():
    """A head node: its environment, with the token, and the address of its dashboard."""
    # Beside another cluster on this machine: every port that has a fixed default.
    names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    ports = {name: free_port() for name in names}
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie in it
    env = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    flags = [f"--{name}={port}" for name, port in ports.items()]
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=1", f"--temp-dir={folder}", *flags]
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    with serving(command, env, f"{address}/api/version", alive=401):
        yield env | {"RAY_API_SERVER_ADDRESS": address, "RAY_TMPDIR": folder}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """The address of an MLflow server."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    flags = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    command = [BIN / "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *flags]
    env = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with serving(command, env, f"http://127.0.0.1:{port}/health", alive=200):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def submitted(cluster, tracking, store, tmp_path_factory):
    """The output of a finished job, and its home: a sweep refused its home, then one whose driver was killed once."""
    folder = tmp_path_factory.mktemp("job")
    preset, home = folder / "two.yaml", folder / "home"
    preset.write_text(yaml.safe_dump(PRESET))
    sweep = ["python", "jobs/sweep.py", "--store", store.path, "--preset", preset, "--name", "two"]
    refused = [*sweep, "--home", "runs"]
    going_on = [*sweep, "--home", home, "--tracking-uri", tracking, "--resume", "auto"]
    both = f"{shlex.join(map(str, refused))}; {shlex.join(map(str, going_on))}"
    command = [BIN / "ray", "job", "submit", "--working-dir", ".", "--", "sh", "-c", both]
    with ThreadPoolExecutor(1) as pool:
        run = partial(subprocess.run, cwd=ROOT, env=cluster, capture_output=True, text=True, timeout=240, check=False)
        job = pool.submit(run, command)
        while len(read_all(home / "stages")) < 10 and not job.done():
            time.sleep(0.2)
        _driver("two").kill()
        return job.result(), home


def test_the_job_succeeds(submitted):
    done, _ = submitted
    assert done.returncode == 0, done.stdout
    assert "succeeded" in done.stdout
    assert "winner: " in done.stdout


def test_a_relative_home_is_refused_inside_a_job(submitted):
    assert "error: --home runs: a Ray job runs in a temporary copy" in submitted[0].stdout


def test_it_went_on_by_itself_when_its_driver_was_killed(submitted):
    done, home = submitted
    assert done.stdout.count("the driver died (SIGKILL)") == 1
    entries = read_all(home / "stages")
    counts = Counter((entry.key, entry.epoch) for entry in entries)
    assert len(counts) == 2 * (TEACHER + 2 + 2)
    assert sum(counts.values()) <= len(counts) + 2, "the epochs under way"
    assert len({entry.pid for entry in entries}) >= 2, "the killed driver's process, and a later one"


def test_nobody_gets_in_without_the_token(cluster):
    stranger = {k: v for k, v in cluster.items() if not k.startswith("RAY_AUTH")}
    done = subprocess.run([BIN / "ray", "job", "list"], env=stranger, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "authentic" in (done.stdout + done.stderr).lower()


def test_the_token_is_written_nowhere(submitted, cluster, tmp_path_factory):
    token = cluster["RAY_AUTH_TOKEN"].encode()
    written = [path for path in tmp_path_factory.getbasetemp().rglob("*") if path.is_file()]
    assert {"mlflow.db", "records.jsonl", "two.journal", "environment.json"} <= {path.name for path in written}
    assert not [path for path in written if token in path.read_bytes()]
    assert token.decode() not in submitted[0].stdout + submitted[0].stderr


def test_the_upload_is_small_and_leaves_the_rest_behind(submitted, cluster):
    upload = next(Path(cluster["RAY_TMPDIR"]).glob("session_2*/**/working_dir_files/*/"))
    assert sum(path.stat().st_size for path in upload.rglob("*") if path.is_file()) < 5e6
    found = {path.name for path in upload.iterdir() if path.is_dir()}
    assert {"search", "sermodels", "jobs"} <= found
    assert not {".git", ".venv", "runs", "tests"} & found


def test_parent_and_children_are_there_by_rest(submitted, tracking):
    runs = _search(tracking, "tags.`ser.kind` = 'sweep'")
    assert [(run["info"]["run_name"], run["info"]["status"]) for run in runs] == [("two", "FINISHED")]
    children = _search(tracking, f"tags.`mlflow.parentRunId` = '{runs[0]['info']['run_id']}'")
    assert {p["value"] for run in children for p in run["data"]["params"] if p["key"] == "patch"} == {"32x4", "8x8"}
    for run in children:
        metrics = {metric["key"] for metric in run["data"]["metrics"]}
        assert {"teacher/val_uar", "match/val_l1", "student/val_uar", "val_uar", "val_wa_std"} <= metrics
        assert run["info"]["status"] == "FINISHED"


def test_the_winner_is_exported_from_another_folder(submitted, tracking, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = job_here("export_best.py", "--sweep", "two", "--tracking-uri", tracking)
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "best").config.patch in ("32x4", "8x8")


def test_a_server_that_is_none_of_mlflows_is_named(cluster, store, tmp_path):
    address = cluster["RAY_API_SERVER_ADDRESS"]
    words = ["--store", store.path, "--home", tmp_path / "home", "--tracking-uri", address]
    assert address in error_line(job_here("sweep.py", *words))


def _driver(name):
    """The process of a job's sweep that a supervisor started."""
    sweeps = [process for process in psutil.process_iter(["cmdline"]) if name in (process.info["cmdline"] or [])]
    (driver,) = (process for process in sweeps if process.parent() in sweeps)
    return driver


def _search(tracking, query):
    url = f"{tracking}/api/2.0/mlflow"
    experiment = requests.get(f"{url}/experiments/get-by-name", {"experiment_name": "ser-search"}, timeout=30).json()
    body = {"experiment_ids": [experiment["experiment"]["experiment_id"]], "filter": query}
    return requests.post(f"{url}/runs/search", json=body, timeout=30).json().get("runs", [])
