"""The paper's tables: a process that trains is killed, then the whole run; nothing finished is trained again."""

import json
import os
import signal
import time
from collections import Counter

import pytest
from here import job_here
from processes import started, wait_for

from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def epochs(home):
    """How often each epoch of each stage was trained."""
    return Counter((entry.stage, entry.key, entry.epoch) for entry in read_all(home / "stages"))


def test_a_killed_process_and_a_killed_run_cost_the_epochs_under_way(ray_address, tmp_path):
    store, home, out = tmp_path / "s.arrow", tmp_path / "home", tmp_path / "out"
    built = job_here("build_store.py", "--corpus", "synthetic", "--root", tmp_path / "corpus", "--out", store,
                "speakers=4", "clips_per_emotion=1", "--width", 32, "--workers", 1)  # fmt: skip
    assert built.returncode == 0, built.stderr
    words = ["paper.py", "--store", store, "--home", home, "--out", out, "--size", "reduced", "--table", "2"]
    words += ["--systems", "student", "septr-16", "--folds", "0", "1"]

    with started(*words) as process:
        wait_for(lambda: len(epochs(home)) >= 3, process)
        os.kill(read_all(home / "stages")[0].pid, signal.SIGKILL)  # one that trains
        wait_for(lambda: (out / "measured.json").exists() and len(epochs(home)) >= 20, process, timeout_s=240)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    before = json.loads((out / "measured.json").read_text())
    assert before
    assert next(out.glob("*/table-2.speaker.md")).exists(), "an interrupted run, too, shows what there is"

    time.sleep(2)
    done = job_here(*words, "--address", ray_address)
    assert done.returncode == 0, done.stderr
    measured = json.loads((out / "measured.json").read_text())
    assert len(measured) == 4
    assert before.items() <= measured.items()
    counts = epochs(home)
    assert len(counts) == 2 * (9 + 9 + 9 + 9), (
        "teacher, match and student of one system, the other's teacher, two folds"
    )
    assert sum(counts.values()) <= len(counts) + 1 + 2, "again: what the killed process, and both at the end, were at"
