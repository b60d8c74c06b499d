"""A disk that is full: a clear error, nothing torn, and the same command goes on once there is room."""

import json
import os
import subprocess

import pytest
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient
from processes import error_line, job

from sermodels.config.parsing import merged
from sermodels.store.open import open_store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


class Disk:
    """A file system of our own in memory."""

    def __init__(self, path):
        self.path = path

    def fill(self, leaving_kb):
        """Take all room but a little."""
        free = os.statvfs(self.path)
        with (self.path / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - leaving_kb * 1024)

    def empty(self):
        (self.path / "filler").unlink()


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path], check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


def test_building_a_store(disk, tmp_path):
    words = ["--corpus", "synthetic", "--root", tmp_path / "corpus", "--out", disk.path / "s.arrow",
             "speakers=3", "clips_per_emotion=1"]  # fmt: skip
    disk.fill(leaving_kb=500)
    full = job("build_store.py", *words)
    said = full.stderr.splitlines(keepends=True)
    full.stderr = "".join(line for line in said if not line.startswith("clips: "))  # how far it was, if it was slow
    line = error_line(full)
    assert "No space left on device" in line
    assert str(disk.path / "s.arrow") in line
    assert os.listdir(disk.path) == ["filler"]
    disk.empty()
    done = job_here("build_store.py", *words, "--workers", 1)
    assert done.returncode == 0, done.stderr
    open_store(disk.path / "s.arrow").verify()


def test_writing_a_stage(store, disk, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(merged(TINY, {"teacher.epochs": 5})))
    words = ["--store", store.path, "--config", config, "--home"]
    undisturbed = job_here("train.py", *words, tmp_path / "whole")
    assert undisturbed.returncode == 0, undisturbed.stderr
    disk.fill(leaving_kb=60)
    line = error_line(job("train.py", *words, disk.path / "home"))
    assert "No space left on device" in line
    assert not list(disk.path.rglob(".epoch-*"))
    disk.empty()
    done = job_here("train.py", *words, disk.path / "home")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(undisturbed.stdout)


def test_a_sweep(store, disk, new_home, ray_address, tmp_path):
    preset = tmp_path / "two.yaml"
    grid = {"description": "two trials", "chain": TINY, "space": {"alpha": [0, 1]}, "trials": 2, "sampler": "grid"}
    preset.write_text(yaml.safe_dump(grid))
    home = disk.path / "home"
    words = ["--store", store.path, "--preset", preset, "--name", "two", "--home", home]
    words += ["--tracking-uri", f"sqlite:///{new_home(tmp_path)}/mlflow.db", "--address", ray_address]
    for leaving_kb in (40, 250):  # the spool is full, then the stages are
        disk.fill(leaving_kb=leaving_kb)
        full = job("sweep.py", *words, *again(home))
        assert full.returncode == 2, full.stderr
        assert full.stderr.splitlines()[-1].startswith("error: "), "after whatever Ray has to say"
        disk.empty()
    done = job_here("sweep.py", *words, *again(home))
    assert done.returncode == 0, done.stderr
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id])
    assert sorted((run.data.tags["ser.kind"], run.info.status) for run in runs) == [
        ("sweep", "FINISHED"),
        ("trial", "FINISHED"),
        ("trial", "FINISHED"),
    ]


def again(home):
    """What the words of a sweep need if it has begun."""
    return ["--resume", "--retry-failed"] if (home / "studies" / "two.journal").exists() else []
