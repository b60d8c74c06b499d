"""What torch does not promise is still so in the torch that is installed."""

import pytest
import torch

from sermodels.library_internals import adam_step

SHAPES = [(3, 5), (7,), ()]
LR, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8


def drawn(dtype):
    return [torch.randn(shape, dtype=dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_torchs_fused_adam_to_the_bit(dtype):
    torch.manual_seed(0)
    ours = drawn(dtype)
    theirs = [start.clone().requires_grad_() for start in ours]
    first, second = ([torch.zeros_like(tensor) for tensor in ours] for _ in range(2))
    steps = [torch.zeros(()) for _ in ours]
    optimizer = torch.optim.Adam(theirs, lr=LR, betas=BETAS, eps=EPSILON, fused=True)
    for _ in range(5):
        gradients = drawn(dtype)
        adam_step(ours, gradients, first, second, steps, lr=LR, betas=BETAS, epsilon=EPSILON)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    for place, parameter in enumerate(theirs):
        assert torch.equal(ours[place], parameter)
        state = optimizer.state[parameter]
        assert torch.equal(first[place], state["exp_avg"])
        assert torch.equal(second[place], state["exp_avg_sq"])
        assert steps[place] == state["step"] == 5
