"""jobs/train.py is killed at twenty random moments; nothing torn is ever read, and the weights are the same bytes."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import yaml
from conftest import TINY
from here import job_here
from processes import ROOT, environment
from safetensors.torch import load_file

from sermodels.config.parsing import merged
from sermodels.config.settings import STAGES
from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

MOMENTS, EPOCHS = 20, 20
# Imports take half of a short job's time, and a kill harms nothing there: here they are done once. A line of standard
# input, the words of a command, is a new process: its number is printed when it begins, its exit code when it ends.
FORKS = """
    import json, os, runpy, sys, traceback
    import jobs.shared.device, jobs.shared.epochs, jobs.shared.store, search.home
    import sermodels.training.chain, sermodels.deploy.complete, sermodels.evaluation.evaluate, sermodels.store.open

    for line in sys.stdin:
        process = os.fork()
        if process:
            print(process, flush=True)
            print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
            continue
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = json.loads(line)
        code = 1
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)  # threads that were not forked cannot be joined
"""


@pytest.fixture
def forks():
    """Runs a job, and kills it after some seconds: its exit code."""
    command = [sys.executable, "-c", textwrap.dedent(FORKS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, bufsize=1, **pipes) as parent:

        def run(seconds, name, *words):
            print(json.dumps([f"jobs/{name}", *map(str, words)]), file=parent.stdin, flush=True)
            process = int(parent.stdout.readline())
            if not select.select([parent.stdout], [], [], seconds)[0]:
                os.kill(process, signal.SIGKILL)
            return int(parent.stdout.readline())

        yield run


def test_twenty_kills_leave_whole_files_and_change_no_byte(forks, store, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(merged(TINY, {f"{stage}.epochs": EPOCHS for stage in STAGES})))
    words = ["train.py", "--store", store.path, "--config", config, "--home"]
    began = time.monotonic()
    assert forks(100, *words, tmp_path / "whole") == 0
    whole_s, draw, killed = time.monotonic() - began, random.Random(0), 0
    home = tmp_path / "killed"
    while killed < MOMENTS:
        if forks(draw.uniform(0, whole_s), *words, home) == -signal.SIGKILL:
            killed += 1
        else:  # it came to its end: begin again elsewhere
            assert max(entry.epoch for entry in read_all(home / "stages")) == EPOCHS
            home = tmp_path / f"killed{killed}"
        for path in home.glob("stages/*/*/*.safetensors"):
            assert load_file(path)
    resumed, undisturbed = (job_here(*words, folder) for folder in (home, tmp_path / "whole"))
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
