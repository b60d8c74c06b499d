"""The three stages: what each is judged by while it trains, and how it is measured after an epoch.

B rows of a batch, n validation rows, D feature size, K classes.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from sermodels.batches import Batch
from sermodels.config import ChainConfig, Stage
from sermodels.lanes import Loss
from sermodels.metrics import cosine, score
from sermodels.networks import Network, Output, build_student, build_teacher

StageName = Literal["teacher", "match", "student"]
STAGES: tuple[StageName, ...] = ("teacher", "match", "student")

# Raise a stage's number when its arithmetic changes: finished stages of the old arithmetic are then not reused.
STAGE_VERSION: dict[StageName, int] = {"teacher": 2, "match": 2, "student": 2}


def teacher_loss(output: Output, batch: Batch) -> Tensor:
    """Cross entropy (paper, stage 1)."""
    return _weighted_mean(F.cross_entropy(output.logits, batch.labels, reduction="none"), batch.weights)


def match_loss(output: Output, batch: Batch) -> Tensor:
    """L1 distance of the features to the teacher's, mean over D (paper, stage 2)."""
    return _weighted_mean((output.features - batch.targets).abs().mean(-1), batch.weights)


def student_loss(output: Output, batch: Batch, alpha: float) -> Tensor:
    """Cross entropy + α · L1 (paper, stage 3)."""
    return teacher_loss(output, batch) + alpha * match_loss(output, batch)


def loss_of(stage: StageName, config: ChainConfig) -> Loss:
    """The loss of a stage."""
    if stage == "teacher":
        return teacher_loss
    if stage == "match":
        return match_loss
    return functools.partial(student_loss, alpha=config.alpha)


def settings_of(stage: StageName, config: ChainConfig) -> Stage:
    """The training settings of a stage."""
    return {"teacher": config.teacher, "match": config.match, "student": config.student}[stage]


def stage_of(metrics: Iterable[str]) -> StageName:
    """The stage that the metrics of an epoch belong to: the first of their names that is `STAGE/…` says it."""
    return next(name.split("/")[0] for name in metrics if "/" in name)


def learning_rate(settings: Stage, epoch: int) -> float:
    """Of one epoch, 1 being the first: halved every `halve_every` epochs."""
    return settings.lr * 0.5 ** ((epoch - 1) // settings.halve_every)


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds the networks of a chain, before their training."""

    config: ChainConfig
    image: tuple[int, int]  # H, W in pixels
    classes: int

    def __call__(self, stage: StageName, seed: int) -> Network:
        """The network of a stage with fresh parameters; match and student train the same one."""
        build = build_teacher if stage == "teacher" else build_student
        return build(self.config, self.image, self.classes, seed)


def measure(stage: StageName, output: Output, labels_n: Tensor, targets_nD: Tensor) -> dict[str, float]:
    """The validation metrics of one lane after an epoch.

    Args:
        stage: decides which; features are compared in match and student, classes in teacher and student.
        output: of the lane's network on its validation rows.
        labels_n: true classes.
        targets_nD: the teacher's features of the same rows; (n, 0) in the teacher stage.
    """
    figures: dict[str, float] = {}
    if stage != "teacher":
        figures["val_l1"] = (output.features - targets_nD).abs().mean().item()
        figures["val_cosine"] = cosine(output.features, targets_nD)
    if stage != "match":
        scores = score(labels_n.cpu().numpy(), output.logits.argmax(-1).cpu().numpy(), output.logits.shape[-1])
        figures |= {"val_uar": scores.uar, "val_wa": scores.wa, "val_macro_f1": scores.macro_f1}
        figures["val_loss"] = F.cross_entropy(output.logits, labels_n).item()
    return figures


def _weighted_mean(values_B: Tensor, weights_B: Tensor) -> Tensor:
    return (values_B * weights_B).sum() / weights_B.sum().clamp(min=1)
