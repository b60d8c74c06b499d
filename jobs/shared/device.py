"""Where a job computes, and with how many threads."""

from typing import Literal

import torch

from sermodels.errors import UserError
from sermodels.memory import keep_freed


def use(device: Literal["auto", "cpu", "cuda"], threads: int) -> str:
    """Set threads and memory for training on the CPU, and return the device: "cpu" or "cuda".

    Raises:
        UserError: no thread, or no GPU where one is asked for.
    """
    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")
    torch.set_num_threads(threads)
    keep_freed()
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise UserError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    return ("cuda" if gpu else "cpu") if device == "auto" else device
