"""How much memory this process uses, and what glibc's malloc does with freed memory (elsewhere nothing is changed).

Training frees and allocates the same large buffers in every step. By default malloc gives them back to the kernel and
asks for them again, page by page and filled with zeros: for the paper's teacher on one core that is a fifth of a step.
"""

import ctypes
import platform
import resource
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
KEPT = 1 << 30  # bytes of free memory at the end of the heap
LARGEST = 1 << 26  # bytes of a buffer that is kept: malloc reuses larger ones badly, and the heap would grow


def keep_freed() -> None:
    """From now on, keep freed memory for the next allocation of this process."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        # Both or none: one alone would switch off malloc's own adaptation of the other.
        if libc.mallopt(M_MMAP_THRESHOLD, LARGEST):
            libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Return what was kept to the kernel: the work that needed it is over."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def memory_used() -> dict[str, float]:
    """Of this process now, in MB: `memory_mb`, and on a GPU `gpu_memory_mb`, the most since the last call."""
    used = {"memory_mb": int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        used["gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
        torch.cuda.reset_peak_memory_stats()
    return used
