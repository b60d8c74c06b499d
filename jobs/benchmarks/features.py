"""`features`: the match stage with the teacher's features in a table, against running the teacher in every step.

Both sides train the same student, from the same parameters, on the same batches, by the project's own training loop,
and validate it; they differ in where the teacher's features come from, and they must arrive at the same losses. They
take turns of a few steps, on one thread. Networks, images and batches are the defaults, which are the paper's; images
are noise and the teacher is untrained, for neither changes the time of a step. About a minute.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from jobs.benchmarks.inputs import generated_store
from jobs.benchmarks.result import Result
from jobs.shared.progress import counted
from sermodels.config.settings import ChainConfig
from sermodels.memory import keep_freed
from sermodels.networks.factory import build_student, build_teacher
from sermodels.networks.network import Network
from sermodels.store.open import open_store
from sermodels.training.batches import Batch, Order, Source, draw_order
from sermodels.training.data import TrialData
from sermodels.training.lanes import LoopedLanes, infer
from sermodels.training.losses import match_loss
from sermodels.training.losses import measure as measure_rows

ROWS = 280  # of the store: 168 to train on, which is 42 steps of 4, and 14 to validate on
STEPS_A_TURN = 6
TRIES = 15  # of each part on its own
SAME = 1e-4  # relative: networks may round otherwise on batches of another size


def measure(scratch: Path, rows: int = ROWS, config: ChainConfig | None = None) -> Result:
    """Train and validate one epoch of match both ways.

    Raises:
        ArithmeticError: the losses differ, so that the times compare nothing.
    """
    config = config or ChainConfig()
    torch.set_num_threads(1)
    keep_freed()
    data = TrialData(open_store(generated_store(scratch / "noise.arrow", rows)), config)
    teacher = build_teacher(config, data.image, data.classes, seed=0).requires_grad_(False)
    targets, table_s = _table(data, teacher)
    table = _Table(data=data, targets=targets)
    running = _RunningTeacher(data=data, targets=targets[..., :0], teacher=teacher)
    order = draw_order(data, config.lanes, stage="match", epoch=1, batch=config.match.batch)
    forward_s, step_s = _separately(table, teacher, order, config)
    with_table, with_teacher = _Side(table, config), _Side(running, config)
    difference = _epochs(with_table, with_teacher, order)
    epochs = config.match.epochs
    return Result(
        name="features",
        compared="an epoch of match with the teacher's features from a table, against the teacher run on every batch; "
        f"{order.rows.shape[1]} steps of {config.match.batch} images of {data.image[0]} × {data.image[1]} and "
        f"{len(data.folds[0].valid)} images to validate, one thread",
        value=with_teacher.epoch_s / with_table.epoch_s,
        unit="× less time for an epoch",
        required="≥ 3",
        limit=f"(teacher forward + student step) / student step, each alone: {(forward_s + step_s) / step_s:.2f}×",
        parts={
            "steps_with_table_s": with_table.steps_s,
            "steps_with_teacher_s": with_teacher.steps_s,
            "ratio_of_steps": with_teacher.steps_s / with_table.steps_s,
            "validation_with_table_s": with_table.validation_s,
            "validation_with_teacher_s": with_teacher.validation_s,
            "teacher_forward_s": forward_s,
            "student_step_s": step_s,
            "making_the_table_s": table_s,
            f"ratio_over_{epochs}_epochs_with_table_made": epochs
            * with_teacher.epoch_s
            / (epochs * with_table.epoch_s + table_s),
            "largest_relative_difference_of_losses": difference,
        },
    )


class _Table(Source):
    """Batches whose targets were computed once."""

    def targets_of(self, rows: Tensor) -> Tensor:
        """The teacher's features of some rows, (n, D)."""
        return self.targets[0, rows]


@dataclass(frozen=True, kw_only=True)
class _RunningTeacher(Source):
    """Batches whose targets the frozen teacher computes each time."""

    teacher: Network

    def of_lane(self, lane: int, rows_B: Tensor) -> Batch:
        batch = super().of_lane(lane, rows_B)
        with torch.no_grad():
            return batch._replace(targets=self.teacher(batch.images).features)

    def targets_of(self, rows: Tensor) -> Tensor:
        """The teacher's features of some rows, (n, D)."""
        return infer(self.teacher, self, rows).features


class _Side:
    """A student that trains on one kind of targets, and the seconds it took so far."""

    def __init__(self, source: _Table | _RunningTeacher, config: ChainConfig):
        data = source.data
        self.lanes = LoopedLanes([build_student(config, data.image, data.classes, seed=0)], [None])
        self.source, self.lr = source, config.match.lr
        self.steps_s = self.validation_s = 0.0

    @property
    def epoch_s(self) -> float:
        return self.steps_s + self.validation_s

    def train(self, part: Order) -> float:
        """Some steps; their mean loss."""
        began = time.perf_counter()
        (loss,) = self.lanes.train_epoch(part, self.source, match_loss, self.lr, tick=lambda: None)
        self.steps_s += time.perf_counter() - began
        return loss

    def validate(self) -> float:
        """The L1 distance on the validation rows."""
        rows, began = self.source.data.folds[0].valid, time.perf_counter()
        (output,) = self.lanes.outputs(self.source, [rows])
        figures = measure_rows("match", output, self.source.data.labels[rows], self.source.targets_of(rows))
        self.validation_s += time.perf_counter() - began
        return figures["val_l1"]


def _table(data: TrialData, teacher: Network) -> tuple[Tensor, float]:
    """The features of every row the stage reads, (1, R, D), made as the chain makes them; and the seconds it took."""
    fold = data.folds[0]
    rows = torch.cat([fold.train, fold.valid])
    began = time.perf_counter()
    features = infer(teacher, Source(data=data, targets=torch.empty(0)), rows).features
    took_s = time.perf_counter() - began
    table = torch.zeros(1, len(data), features.shape[-1])
    table[0, rows] = features
    return table, took_s


def _separately(table: _Table, teacher: Network, order: Order, config: ChainConfig) -> tuple[float, float]:
    """Median seconds of the teacher's forward pass over one batch, and of a whole step of the student."""
    student, step = _Side(table, config), next(_turns(order, 1))
    images = table.of_lane(0, step.rows[0, 0]).images
    times = []
    for _ in range(1 + TRIES):
        began = time.perf_counter()
        with torch.no_grad():
            teacher(images)
        between = time.perf_counter()
        student.train(step)
        times.append((between - began, time.perf_counter() - between))
    forwards, steps = zip(*times[1:], strict=True)  # the first time, memory is allotted
    return median(forwards), median(steps)


def _epochs(with_table: _Side, with_teacher: _Side, order: Order) -> float:
    """Both epochs, in turns; the largest relative difference of their losses."""
    differences, steps = [], order.rows.shape[1]
    with counted("steps") as progress:
        for turn, part in enumerate(_turns(order, STEPS_A_TURN), start=1):
            differences.append(abs(with_teacher.train(part) / with_table.train(part) - 1))
            progress(min(turn * STEPS_A_TURN, steps), steps)
    differences.append(abs(with_teacher.validate() / with_table.validate() - 1))
    if not max(differences) < SAME:
        raise ArithmeticError(f"the two sides' losses differ by {max(differences):.1e}: they do not train the same")
    return max(differences)


def _turns(order: Order, steps: int) -> Iterator[Order]:
    """The epoch in parts of some steps."""
    for rows, weights in zip(order.rows.split(steps, dim=1), order.weights.split(steps, dim=1), strict=True):
        yield Order(rows, weights)
