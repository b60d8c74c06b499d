"""Where and with what something was computed: recorded beside results, never part of a key."""

import functools
import platform
import re
import subprocess
from pathlib import Path

import torch


def provenance(device: str = "cpu") -> dict[str, str | int]:
    """Versions, device, threads of this process and, where known, the commit of this project."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": commit(),
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.processor() or "unknown"


@functools.cache
def commit() -> str:
    """The checked-out commit of this project, "-dirty" behind it if files differ, or "unknown" outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
