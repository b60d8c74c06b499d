"""What a trial receives of a store, and which of it makes a batch.

L lanes, S steps, B rows of a batch, R rows of the trial.
"""

from collections import Counter

import numpy as np
import pytest
import torch

from sermodels.errors import UserError
from sermodels.store.splits import split
from sermodels.training.batches import Source, draw_order
from sermodels.training.data import TrialData

LANES = [(0, 0), (4, 0), (0, 1)]  # (fold, seed); fold 4 has a clip more to train on


@pytest.fixture(scope="module")
def data(store, tiny_config) -> TrialData:
    return TrialData(store, tiny_config(protocol="utterance", folds=[0, 4]))


@pytest.mark.parametrize("protocol", ["paper", "utterance", "speaker"])
def test_a_trial_has_the_rows_of_its_folds_and_no_others(store, tiny_config, protocol):
    config = tiny_config(protocol=protocol, folds=[1, 0], split_seed=3)
    data = TrialData(store, config)
    wanted = set()
    for fold in config.folds:
        sides = split(store, protocol, fold, 3)
        wanted |= {*sides.train, *sides.valid}
        for side in ("train", "valid"):
            rows = getattr(data.folds[fold], side)
            expected = getattr(sides, side)
            assert torch.equal(data.images(rows)[:, 0], torch.from_numpy(store.pixels[expected]).float())
            assert torch.equal(data.labels[rows], torch.from_numpy(store.emotion[expected]))
    assert len(data) == len(data.labels) == len(wanted)
    if protocol != "paper":
        everything = data.images(torch.arange(len(data)))
        for row in split(store, protocol, 0, 3).test:
            assert not (everything[:, 0].numpy() == store.pixels[row]).all((1, 2)).any()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_images_come_in_the_trials_precision_and_in_any_shape_of_rows(store, tiny_config, precision):
    data = TrialData(store, tiny_config(precision=precision))
    rows = torch.tensor([[0, 5, 2], [7, 7, 1]])
    images = data.images(rows)
    assert images.dtype == getattr(torch, precision)
    assert images.shape == (2, 3, 1, *data.image)
    assert torch.equal(images[1, 0], data.images(torch.tensor([7]))[0])
    assert images.min() >= 0
    assert images.max() <= 1
    assert (data.classes, data.image, data.fingerprint) == (7, (32, 32), store.fingerprint)


def test_a_trial_of_a_fold_that_does_not_exist_is_refused(store, tiny_config):
    with pytest.raises(UserError, match="fold 4 does not exist"):
        TrialData(store, tiny_config(folds=[0, 4]))


@pytest.mark.parametrize("batch", [1, 7, 8, 1000])
def test_an_epoch_is_every_training_row_once_and_padding_weighs_nothing(data, batch):
    order = draw_order(data, LANES, stage="match", epoch=1, batch=batch)
    longest = max(len(data.folds[fold].train) for fold, _ in LANES)
    assert order.rows.shape == order.weights.shape == (3, -(-longest // batch), batch)
    for lane, (fold, _) in enumerate(LANES):
        real = order.weights[lane] > 0
        assert Counter(order.rows[lane][real].tolist()) == Counter(data.folds[fold].train.tolist())
        assert order.weights[lane].unique().tolist() in ([1], [0, 1])
        flat = order.weights[lane].flatten()
        assert (flat.diff() <= 0).all()  # padding comes last


def test_a_lanes_order_is_its_own_wherever_it_stands(data):
    together = draw_order(data, LANES, stage="match", epoch=2, batch=8)
    for place, lane in enumerate(LANES):
        alone = draw_order(data, [lane], stage="match", epoch=2, batch=8)
        steps = alone.rows.shape[1]
        assert torch.equal(together.rows[place, :steps], alone.rows[0])
        assert torch.equal(together.weights[place, :steps], alone.weights[0])
        assert together.weights[place, steps:].sum() == 0


def test_an_order_is_the_same_rows_of_the_store_whatever_other_folds_the_trial_has(store, tiny_config):
    seen = []
    for folds in ([0], [0, 1], [2, 0]):
        data = TrialData(store, tiny_config(folds=folds))
        rows = draw_order(data, [(0, 5)], stage="teacher", epoch=1, batch=1000).rows[0, 0, :84]
        seen.append(data.images(rows))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_seeds_folds_stages_and_epochs_have_orders_of_their_own(data):
    drawn = {
        tuple(draw_order(data, [(fold, seed)], stage=stage, epoch=epoch, batch=4).rows.flatten().tolist())
        for fold, seed in LANES
        for stage in ("teacher", "match", "student")
        for epoch in (1, 2, 11)
    }
    assert len(drawn) == 27
    again = draw_order(data, LANES, stage="match", epoch=1, batch=4)
    assert torch.equal(again.rows, draw_order(data, LANES, stage="match", epoch=1, batch=4).rows)


def test_a_batch_of_all_lanes_is_each_lanes_batch(data):
    targets = torch.from_numpy(np.random.default_rng(0).normal(size=(3, len(data), 5)))
    source = Source(data=data, targets=targets)
    order = draw_order(data, LANES, stage="match", epoch=1, batch=8)
    stacked = source.of_all(order.rows[:, 0], order.weights[:, 0], slice(None))
    for lane in range(3):
        alone = source.of_lane(lane, order.rows[lane, 0])
        for one, other in zip(alone, (part[lane] for part in stacked), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(alone.targets, targets[lane, order.rows[lane, 0]])
    for one, other in zip(source.of_all(order.rows[:, 0], order.weights[:, 0], slice(1, 3)), stacked, strict=True):
        assert torch.equal(one, other[1:3])
