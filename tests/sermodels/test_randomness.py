"""Randomness is a function of (seed, purpose): the same everywhere, and no generator's state is touched."""

import numpy as np
import pytest
import torch

from sermodels.randomness import derive, generator, seeded


def test_a_purpose_has_the_same_number_on_every_machine():
    # Other numbers here mean other networks, splits and views from the same seed: caches and stores lose their worth.
    assert derive(0, "teacher parameters") == 472489611937048499
    assert generator(7, "split", "speaker").permutation(8).tolist() == [1, 0, 2, 4, 3, 5, 6, 7]


def test_purposes_and_seeds_have_numbers_of_their_own():
    draws = [derive(seed, "order", fold, epoch) for seed in range(5) for fold in range(4) for epoch in range(50)]
    draws += [derive(seed, purpose) for seed in range(5) for purpose in ("a", "b", 1, 11)]
    assert len(set(draws)) == len(draws)
    assert all(0 <= draw < 2**63 for draw in draws)


def test_numbers_of_numpy_count_as_the_same_seed():
    assert derive(np.int64(3), "x", np.int64(1)) == derive(3, "x", 1)


def test_seeded_draws_alike_and_puts_the_global_generator_back():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with seeded(5, "x"):
        first = torch.randn(4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with seeded(5, "x"):
        assert torch.equal(torch.randn(4), first)
    with seeded(5, "y"):
        assert not torch.equal(torch.randn(4), first)


def test_the_global_generator_is_put_back_after_an_error_too():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(5, "x"):
        torch.randn(4).reshape(3)
    assert torch.equal(torch.get_rng_state(), before)
