"""What this package uses of other libraries that they do not promise: one function for each piece.

Each docstring names the library, the versions that it was seen in, and what is relied on. Its test compares it with
what the library does promise, and fails when it has moved. What the search uses is in search/library_internals.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


@torch.no_grad()
def adam_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    exp_avg: Sequence[Tensor],
    exp_avg_sq: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """One step of Adam, in place, as `torch.optim.Adam(…, fused=True)` makes it.

    Torch 2.11 to 2.14: the function that Adam.step calls. To construct torch.optim.Adam itself imports the compiler,
    1.2 s and 115 MB in every process.

    Args:
        parameters: of any shapes, one device and one dtype.
        gradients: of the same shapes and memory order, as `backward` leaves them: the kernel reads no strides.
        exp_avg: first moments, of the same shapes.
        exp_avg_sq: second moments, of the same shapes.
        steps: steps so far, a scalar of float32 for each parameter, on its device.
        lr: learning rate.
        betas: decay of the first and of the second moments.
        epsilon: added to the root of the second moments.
    """
    adam(
        list(parameters),
        list(gradients),
        list(exp_avg),
        list(exp_avg_sq),
        [],
        list(steps),
        fused=True,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=lr,
        weight_decay=0,
        eps=epsilon,
        maximize=False,
    )
