"""jobs/train.py is killed at twenty random moments; nothing torn is ever read, and the weights are the same bytes."""

import json
import os
import random
import signal
import subprocess
import time

import pytest
import yaml
from conftest import TINY
from here import job_here
from processes import started
from safetensors.torch import load_file

from sermodels.config.parsing import merged
from sermodels.config.settings import STAGES
from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

MOMENTS, EPOCHS = 20, 20


def ended(most_s, *words):
    """Run a job, killed after so many seconds; return its exit code, and how long it ran."""
    with started("train.py", *words) as process:
        began = time.monotonic()
        try:
            code = process.wait(most_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            code = process.wait(10)
        return code, time.monotonic() - began


def test_twenty_kills_leave_whole_files_and_change_no_byte(store, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(merged(TINY, {f"{stage}.epochs": EPOCHS for stage in STAGES})))
    words = ["--store", store.path, "--config", config, "--home"]
    code, whole_s = ended(100, *words, tmp_path / "whole")
    assert code == 0
    draw, killed, home = random.Random(0), 0, tmp_path / "killed"
    while killed < MOMENTS:
        code, _ = ended(draw.uniform(0, whole_s), *words, home)
        if code == -signal.SIGKILL:
            killed += 1
        else:  # it came to its end: begin again elsewhere
            assert code == 0
            assert max(entry.epoch for entry in read_all(home / "stages")) == EPOCHS
            home = tmp_path / f"killed{killed}"
        for path in home.glob("stages/*/*/*.safetensors"):
            assert load_file(path)
    resumed, undisturbed = (job_here("train.py", *words, folder) for folder in (home, tmp_path / "whole"))
    assert resumed.returncode == 0, resumed.stderr
    assert "torn" not in resumed.stderr
    assert "passed over" not in resumed.stderr
    assert json.loads(resumed.stdout) == json.loads(undisturbed.stdout)
    ours, theirs = (_finished(folder) for folder in (home, tmp_path / "whole"))
    assert ours == theirs
    assert max(entry.epoch for entry in read_all(home / "stages")) == EPOCHS


def _finished(home):
    """The tensors of each finished stage, as bytes."""
    tensors = {}
    for path in home.glob(f"stages/*/*/epoch-{EPOCHS:04}.safetensors"):
        held = load_file(path)
        tensors[path.parts[-3], path.parts[-2]] = {name: tensor.numpy().tobytes() for name, tensor in held.items()}
    assert len(tensors) == 3
    return tensors
