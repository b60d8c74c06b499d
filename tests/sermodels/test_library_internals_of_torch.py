"""What torch does not promise is still so in the torch that is installed."""

import subprocess
import sys

import pytest
import torch

from sermodels.library_internals import adam_step

SHAPES = [(3, 5), (7,), ()]
LR, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8
ONE_STEP = """
import sys, torch
from sermodels.library_internals import adam_step
one = [torch.ones(2)]
adam_step(one, one, [torch.zeros(2)], [torch.zeros(2)], [torch.zeros(())], lr=0.1, betas=(0.9, 0.999), epsilon=1e-8)
print("torch._dynamo" in sys.modules)
"""


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


def test_a_step_does_not_import_the_compiler():
    answer = subprocess.run([sys.executable, "-c", ONE_STEP], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False"]
