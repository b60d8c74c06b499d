"""An MLflow server as it is run for many: passwords, PostgreSQL below, eight sweeps that write at once."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import writing
from mlflow import MlflowClient
from processes import environment, error_line, forks, free_port, job, serving

from search.tracking.tracker import EXPERIMENT

WRITERS, TRIALS, EPOCHS = 8, 4, 20
PASSWORD = "a secret of 12 and more"
AUTH = """
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


@pytest.fixture(scope="module")
def database():
    """The address of an empty database of a PostgreSQL server."""
    if not (programs := postgres_programs()):
        pytest.skip("PostgreSQL's programs are not installed")
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name  # it refuses to run as root
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    shutil.chown(folder, user)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data = folder / "data"
    as_user = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL, "check": True}
    words = ["--auth=scram-sha-256", "--username=ser", f"--pwfile={folder}/password"]
    subprocess.run([programs / "initdb", "-D", data, *words], **as_user)
    where = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    try:
        subprocess.run([programs / "pg_ctl", "-D", data, "-o", where, "-l", data / "log", "-w", "start"], **as_user)
        yield f"postgresql://ser:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **as_user)
        shutil.rmtree(folder)


def postgres_programs():
    """The folder of initdb and pg_ctl: Debian keeps them out of the path."""
    found = [Path(which).resolve().parent] if (which := shutil.which("pg_ctl")) else []
    return next(iter([*found, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]), None)


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    """The address of a server, without a password."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    (folder / "auth.ini").write_text(AUTH.format(folder=folder))
    flags = ["--host=127.0.0.1", f"--port={port}", "--workers=2", "--app-name=basic-auth"]
    stores = [f"--backend-store-uri={database}", f"--artifacts-destination={folder}/artifacts"]
    settings = {"MLFLOW_AUTH_CONFIG_PATH": f"{folder}/auth.ini", "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
    settings |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    mlflow = Path(sys.executable).with_name("mlflow")
    command = [mlflow, "server", *flags, *stores]
    with serving(command, environment(**settings), f"http://127.0.0.1:{port}/health"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def admin(monkeypatch):
    """Name and password where MLflow looks for them."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


def test_eight_sweeps_at_once_lose_nothing(server, admin, tmp_path):
    names = [f"sweep{number}" for number in range(WRITERS)]
    known = {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_TRACKING_")}
    texts, writers = [tmp_path / f"{name}.stderr" for name in names], []
    for name, text in zip(names, texts, strict=True):
        argv = [writing.__file__, str(tmp_path / name), server, str(TRIALS), str(EPOCHS)]
        writers.append(forks().start(argv, environment(**known), text, text))
    codes = [writer.wait(200) for writer in writers]
    said = [text.read_text() for text in texts]
    assert codes == [0] * WRITERS, said
    unsent = [name for name, text in zip(names, said, strict=True) if "does not have all of it" in text]
    for name in unsent:  # the server was too slow for its patience, and nothing is lost
        assert job("sync_tracking.py", "--home", tmp_path / name, **known).returncode == 0
    client = MlflowClient(server)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], max_results=1000)
    assert Counter(run.data.tags["ser.sweep"] for run in runs) == dict.fromkeys(names, TRIALS + 1)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.data.tags["ser.kind"] == "trial":
            history = client.get_metric_history(run.info.run_id, "student/val_uar")
            assert [point.step for point in history] == list(range(1, EPOCHS + 1))


def test_nobody_gets_in_without_the_password(server, store, tmp_path):
    line = error_line(job("sweep.py", "--store", store.path, "--home", tmp_path / "home", "--tracking-uri", server))
    assert server in line
    assert "not authenticated" in line.lower()
    assert not (tmp_path / "home").exists()


def test_a_password_in_the_address_works_and_is_shown_nowhere(server, tmp_path, capfd, caplog):
    writing.write(tmp_path / "solo", server.replace("://", f"://admin:{PASSWORD.replace(' ', '%20')}@"), 1, 2)
    assert (capfd.readouterr().err, caplog.text) == ("", "")
    written = [path for path in (tmp_path / "solo").rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if b"secret" in path.read_bytes()]
