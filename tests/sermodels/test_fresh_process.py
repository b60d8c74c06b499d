"""What only a process of its own can tell: what it has imported, and what it does with freed memory.

One process answers everything, as its imports take seconds.
"""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from test_boundary import ABOVE

import sermodels

SCRIPT = """
    import importlib, json, pkgutil, resource, sys
    from pathlib import Path
    import torch
    from sermodels.config.settings import ChainConfig
    from sermodels.memory import give_back, keep_freed
    from sermodels.networks.cost import count_macs
    from sermodels.networks.factory import Builder, build_student, build_teacher
    from sermodels.training.batches import Batch, Order
    from sermodels.training.lanes import LoopedLanes
    from sermodels.training.losses import teacher_loss

    torch.set_num_threads(1)
    answers = {}

    # Memory: before all that would leave holes in it.
    teacher = build_teacher(ChainConfig(), (128, 128), 7, seed=0)

    def faults_of_a_step():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        teacher(torch.zeros(4, 1, 128, 128)).logits.sum().backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    answers["faults by default"] = [faults_of_a_step() for _ in range(3)][-1]
    keep_freed()
    answers["faults where memory is kept"] = [faults_of_a_step() for _ in range(3)][-1]
    held = resident()
    give_back()
    answers["given back"] = held - resident()

    # Training, and counting.
    class Source:
        def of_lane(self, lane, rows):
            return Batch(torch.rand(1, 1, 8, 8), torch.tensor([1]), torch.ones(1), torch.empty(1, 0))

    config = ChainConfig(patch="8x2", dim=4, mlp=4, head_dim=2)
    lanes = LoopedLanes([Builder(config=config, image=(8, 8), classes=2)("student", 0)], [None])
    order = Order(torch.zeros(1, 1, 1, dtype=torch.int64), torch.ones(1, 1, 1))
    lanes.train_epoch(order, Source(), teacher_loss, 0.1, lambda: None)
    answers["steps"] = lanes.states()[0]["step"].item()
    answers["MACs"] = count_macs(build_student(ChainConfig(), (128, 128), classes=7, seed=0), (128, 128))
    answers["compiler"] = "torch._dynamo" in sys.modules

    # Everything else.
    import sermodels
    names = [m.name for m in pkgutil.walk_packages(sermodels.__path__, "sermodels.")]
    for name in names:
        importlib.import_module(name)
    answers["modules"] = len(names)
    answers["packages"] = sorted({name.split(".")[0] for name in sys.modules})
    print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    """What the process said on standard output."""
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_memory_is_kept_while_working_and_given_back_after(answers):
    assert answers["faults where memory is kept"] < answers["faults by default"] / 2
    assert answers["given back"] > 40_000_000


def test_training_and_counting_do_not_import_the_compiler(answers):
    assert answers["steps"] == 1
    assert answers["MACs"] > 0
    assert not answers["compiler"]


def test_importing_all_of_sermodels_loads_nothing_of_what_stands_above_it(answers):
    sources = list(Path(sermodels.__file__).parent.rglob("*.py"))
    assert answers["modules"] == len(sources) - 1  # all but its own __init__.py
    assert "torch" in answers["packages"]
    assert not ABOVE["sermodels"] & {*answers["packages"]}
