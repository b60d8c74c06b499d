"""Stacked lanes, looped lanes and a textbook loop train alike; states go in and out at any epoch.

Losses and outputs are compared, not parameters, where sums run in another order: the stem's biases sit before an
instance norm and get only rounding noise for a gradient, which Adam makes into steps.

L lanes, S steps, B rows of a batch, D feature size.
"""

import pytest
import torch

from sermodels.config.settings import STAGES
from sermodels.networks.factory import Builder
from sermodels.training.batches import Order, Source, draw_order
from sermodels.training.data import FoldRows, TrialData
from sermodels.training.lanes import LoopedLanes, StackedLanes, infer, network_state
from sermodels.training.losses import loss_of

KINDS = [LoopedLanes, StackedLanes]
LANES = [(0, 3), (1, 4)]  # (fold, seed)
SHORT = 37  # training rows of fold 1
BATCH, LR = 12, 3e-3


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(precision="float64", folds=[0, 1], alpha=2, encoding="ice")


@pytest.fixture(scope="module")
def data(store, config) -> TrialData:
    """Fold 0 trains on 84 rows, 7 steps of 12; fold 1 on 37, 4 steps, the last of one row."""
    data = TrialData(store, config)
    long, other = data.folds[0], data.folds[1]
    data.folds = {0: long, 1: FoldRows(train=other.train[:SHORT], valid=other.valid[:3])}
    return data


class Training:
    """Lanes of one stage that can be trained epoch by epoch."""

    def __init__(self, kind, config, data, stage, lanes=LANES, states=None):
        self.config, self.data, self.stage, self.lanes = config, data, stage, lanes
        build = Builder(config=config, image=data.image, classes=data.classes)
        networks = [build(stage, seed) for _, seed in lanes]
        self.trained = kind(networks, states or [None] * len(lanes))
        noise = [torch.randn(len(data), config.dim, generator=torch.Generator().manual_seed(s)) for _, s in lanes]
        self.source = Source(data=data, targets=torch.stack(noise).double())
        self.ticks = 0

    def epoch(self, number: int) -> list[float]:
        order = draw_order(self.data, self.lanes, stage=self.stage, epoch=number, batch=BATCH)
        return self.of(order)

    def of(self, order: Order) -> list[float]:
        return self.trained.train_epoch(order, self.source, loss_of(self.stage, self.config), LR, self._tick)

    def outputs(self):
        valid = [self.data.folds[fold].valid for fold, _ in self.lanes]
        return self.trained.outputs(self.source, valid)

    def _tick(self) -> None:
        self.ticks += 1


@pytest.fixture
def training(config, data):
    return lambda kind, stage, **kwargs: Training(kind, config, data, stage, **kwargs)


def assert_same_states(one, other, tolerance: float = 0):
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=tolerance, check_device=False)


def assert_same_outputs(one, other, tolerance: float = 0):
    for a, b in zip(one, other, strict=True):
        for left, right in zip(a, b, strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=tolerance)


def textbook(config, data, stage: str, lane: int, epochs: int):
    """One lane trained alone by torch's own Adam on plain means: its losses, and its outputs at the end."""
    fold, seed = LANES[lane]
    rows = data.folds[fold]
    network = Builder(config=config, image=data.image, classes=data.classes)(stage, seed)
    targets = torch.randn(len(data), config.dim, generator=torch.Generator().manual_seed(seed)).double()
    adam = torch.optim.Adam(network.parameters(), lr=LR, foreach=False)
    losses = []
    for epoch in range(1, epochs + 1):
        order = draw_order(data, [LANES[lane]], stage=stage, epoch=epoch, batch=BATCH).rows.flatten()[: len(rows.train)]
        summed = 0.0
        for chunk in order.split(BATCH):
            output = network(data.images(chunk))
            entropy = torch.nn.functional.cross_entropy(output.logits, data.labels[chunk])
            distance = torch.nn.functional.l1_loss(output.features, targets[chunk])
            loss = {"teacher": entropy, "match": distance, "student": entropy + config.alpha * distance}[stage]
            adam.zero_grad()
            loss.backward()
            adam.step()
            summed += loss.item() * len(chunk)
        losses.append(summed / len(order))
    return losses, network(data.images(rows.valid))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_lanes_of_unequal_length_train_as_each_alone_by_the_book(training, config, data, kind, stage):
    lanes = training(kind, stage)
    losses = [lanes.epoch(epoch) for epoch in (1, 2, 3)]
    outputs = lanes.outputs()
    assert [len(output.logits) for output in outputs] == [7, 3]
    for lane in range(2):
        expected_losses, expected_output = textbook(config, data, stage, lane, epochs=3)
        assert [row[lane] for row in losses] == pytest.approx(expected_losses, rel=0, abs=1e-9)
        assert_same_outputs([outputs[lane]], [expected_output], 1e-9)
    assert losses[0] != pytest.approx(losses[2], abs=1e-3)  # they do learn something


@pytest.mark.parametrize("kind", KINDS)
def test_a_lanes_place_does_not_matter(training, kind):
    one, other = training(kind, "student"), training(kind, "student", lanes=LANES[::-1])
    for epoch in (1, 2):
        assert one.epoch(epoch) == pytest.approx(other.epoch(epoch)[::-1], rel=0, abs=1e-12)
    assert_same_outputs(one.outputs(), other.outputs()[::-1], 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_one_lane_alone_is_the_lane_among_others(training, kind):
    together, alone = training(kind, "teacher"), training(kind, "teacher", lanes=LANES[1:])
    for epoch in (1, 2):
        assert together.epoch(epoch)[1] == pytest.approx(alone.epoch(epoch)[0], rel=0, abs=1e-12)
    assert_same_outputs(together.outputs()[1:], alone.outputs(), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_past_its_last_step_keeps_parameters_and_moments(training, data, kind):
    whole = draw_order(data, LANES, stage="student", epoch=1, batch=BATCH)
    last = -(-SHORT // BATCH)  # steps of the shorter lane
    until_then, to_the_end = training(kind, "student"), training(kind, "student")
    losses = until_then.of(Order(whole.rows[:, :last], whole.weights[:, :last]))
    assert to_the_end.of(whole)[1] == pytest.approx(losses[1], abs=1e-12)
    assert_same_states(until_then.trained.states()[1:], to_the_end.trained.states()[1:])
    assert [state["step"].item() for state in to_the_end.trained.states()] == [whole.rows.shape[1], last] == [7, 4]


@pytest.mark.parametrize("stage", ["match", "student"])
@pytest.mark.parametrize(("before", "after"), [(a, b) for a in KINDS for b in KINDS])
def test_a_state_taken_up_goes_on_as_if_never_laid_down(training, before, after, stage):
    unbroken, broken = training(before, stage), training(before, stage)
    assert unbroken.epoch(1) == broken.epoch(1)
    resumed = training(after, stage, states=broken.trained.states())
    tolerance = {(LoopedLanes, LoopedLanes): 0, (StackedLanes, StackedLanes): 1e-12}.get((before, after), 1e-9)
    for epoch in (2, 3):
        assert resumed.epoch(epoch) == pytest.approx(unbroken.epoch(epoch), rel=0, abs=tolerance)
    assert_same_outputs(resumed.outputs(), unbroken.outputs(), tolerance)
    if before is after:
        assert_same_states(resumed.trained.states(), unbroken.trained.states(), tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_lane_may_join_one_that_is_taken_up(training, kind):
    veteran, joined = training(kind, "teacher"), training(kind, "teacher")
    veteran.epoch(1)
    states = [veteran.trained.states()[0], None]
    mixed = training(kind, "teacher", states=states)
    losses = mixed.epoch(2)
    assert losses[0] == pytest.approx(veteran.epoch(2)[0], abs=1e-12)
    assert losses[1] == pytest.approx(joined.epoch(2)[1], abs=1e-12)


class FullDevice(Source):
    """A device that has memory for the batches of two lanes."""

    def of_all(self, rows_LB, weights_LB, part):
        batch = super().of_all(rows_LB, weights_LB, part)
        if len(batch.images) > 2:
            raise torch.OutOfMemoryError("no memory left")
        return batch


def test_where_memory_is_short_fewer_lanes_take_a_step_at_once(training, caplog):
    five = [(fold, seed) for fold in (0, 1) for seed in (0, 1, 2)][:5]
    whole, halved = (training(StackedLanes, "student", lanes=five) for _ in range(2))
    halved.source = FullDevice(data=halved.source.data, targets=halved.source.targets)
    for number in (1, 2):
        assert halved.epoch(number) == pytest.approx(whole.epoch(number), rel=1e-12)
    assert (whole.trained.at_once, halved.trained.at_once) == (5, 2)
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "3 lanes take a step at once from now on",
        "2 lanes take a step at once from now on",
    ]
    assert_same_states(halved.trained.states(), whole.trained.states(), tolerance=1e-12)
    assert_same_outputs(halved.outputs(), whole.outputs(), tolerance=1e-12)
    assert halved.ticks == whole.ticks


def test_a_lane_that_does_not_fit_alone_is_an_error(training):
    class NoDevice(Source):
        def of_all(self, *_):
            raise torch.OutOfMemoryError("no memory at all")

    lanes = training(StackedLanes, "teacher")
    lanes.source = NoDevice(data=lanes.source.data, targets=lanes.source.targets)
    with pytest.raises(torch.OutOfMemoryError, match="no memory at all"):
        lanes.epoch(1)


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_copies_and_both_kinds_hold_the_same(training, kind):
    lanes = training(kind, "student")
    fresh = lanes.trained.states()
    assert_same_states(fresh, training(LoopedLanes, "student").trained.states())
    kept = [{name: tensor.clone() for name, tensor in state.items()} for state in fresh]
    lanes.epoch(1)
    assert_same_states(fresh, kept)
    resumed = training(kind, "student", states=fresh)
    resumed.epoch(1)
    assert_same_states(fresh, kept)
    assert not torch.equal(lanes.trained.states()[0]["network.token"], kept[0]["network.token"])


@pytest.mark.parametrize("kind", KINDS)
def test_matching_leaves_the_classifier_alone(training, kind):
    lanes = training(kind, "match")
    before = [network_state(state) for state in lanes.trained.states()]
    lanes.epoch(1)
    lanes.epoch(2)
    for old, new in zip(before, (network_state(state) for state in lanes.trained.states()), strict=True):
        for name, tensor in old.items():
            assert torch.equal(tensor, new[name]) == name.startswith("classify."), name


@pytest.mark.parametrize(("kind", "ticks"), [(LoopedLanes, 7 + 4), (StackedLanes, 7)])
def test_there_is_a_tick_a_step(training, kind, ticks):
    lanes = training(kind, "teacher")
    lanes.epoch(1)
    assert lanes.ticks == ticks


def test_inference_in_chunks_is_inference_at_once(config, data):
    network = Builder(config=config, image=data.image, classes=data.classes)("teacher", 0)
    rows = torch.arange(len(data)).flip(0)[:75]
    source = Source(data=data, targets=torch.empty(0))
    inferred = infer(network, source, rows)
    assert not inferred.logits.requires_grad
    assert_same_outputs([inferred], [network(data.images(rows))], 1e-12)
