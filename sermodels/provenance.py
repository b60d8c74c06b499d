"""Where and with what something was computed: recorded beside results, never part of a key."""

import functools
import platform
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


@functools.cache
def commit() -> str:
    """The checked-out commit of this project, "-dirty" behind it if files differ, or "unknown" outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
