"""jobs/train.py is killed at twenty random moments; nothing torn is ever read, and the weights are the same bytes."""

import json
import os
import random
import signal
import time
from subprocess import TimeoutExpired

import pytest
import yaml
from conftest import TINY
from processes import job, started
from safetensors.torch import load_file

from sermodels.config import STAGES
from sermodels.settings import merged
from sermodels.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

MOMENTS, EPOCHS = 20, 60


def test_twenty_kills_leave_whole_files_and_change_no_byte(store, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(merged(TINY, {f"{stage}.epochs": EPOCHS for stage in STAGES})))
    words = ["--store", store.path, "--config", config, "--home"]
    began = time.monotonic()
    undisturbed = job("train.py", *words, tmp_path / "whole")
    assert undisturbed.returncode == 0, undisturbed.stderr
    whole_s, draw, killed = time.monotonic() - began, random.Random(0), 0
    home = tmp_path / "killed"
    while killed < MOMENTS:
        with started("train.py", *words, home) as process:
            try:
                process.wait(draw.uniform(0, whole_s))
            except TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
                process.wait(10)
            else:  # it came to its end: begin again elsewhere
                assert process.returncode == 0
                home = tmp_path / f"killed{killed}"
        for path in home.glob("stages/*/*/*.safetensors"):
            assert load_file(path)
    resumed = job("train.py", *words, home)
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
