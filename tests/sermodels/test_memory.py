"""Freed memory is kept for the next step, and given back when the work is over."""

import subprocess
import sys
import textwrap

SCRIPT = """
    import resource
    from pathlib import Path
    import torch
    from sermodels.config.settings import ChainConfig
    from sermodels.memory import give_back, keep_freed
    from sermodels.networks.factory import build_teacher

    torch.set_num_threads(1)
    teacher = build_teacher(ChainConfig(), (128, 128), 7, seed=0)

    def faults_of_a_step():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        teacher(torch.zeros(4, 1, 128, 128)).logits.sum().backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    by_default = [faults_of_a_step() for _ in range(3)][-1]
    keep_freed()
    kept = [faults_of_a_step() for _ in range(3)][-1]
    held = resident()
    give_back()
    print(by_default, kept, (held - resident()) // 1_000_000)
"""


def test_memory_is_kept_while_working_and_given_back_after():
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    by_default, kept, given_back_mb = map(int, done.stdout.split())
    assert kept < by_default / 2
    assert given_back_mb > 40
