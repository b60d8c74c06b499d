"""What each stage is trained to do: its loss, its learning rate, and how it is measured after an epoch.

B rows of a batch, n validation rows, D feature size, K classes.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from sermodels.config.settings import ChainConfig, Lane, StageName, StageSettings
from sermodels.metrics import cosine, score
from sermodels.networks.network import Output
from sermodels.training.batches import Batch
from sermodels.training.lanes import Loss


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


def learning_rate(settings: StageSettings, epoch: int) -> float:
    """Of one epoch, 1 being the first: halved every `halve_every` epochs."""
    return settings.lr * 0.5 ** ((epoch - 1) // settings.halve_every)


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


class NonFiniteLossError(ArithmeticError):
    """Training diverged: a loss, or a figure of the validation rows, is not finite; the message says where."""


def require_finite(stage: StageName, epoch: int, lanes: Sequence[Lane], figures: Sequence[Mapping[str, float]]) -> None:
    """Make sure that every figure of an epoch, one mapping for each lane, is a number.

    Raises:
        NonFiniteLossError: one is not.
    """
    for lane, row in zip(lanes, figures, strict=True):
        for name, figure in row.items():
            if not math.isfinite(figure):
                raise NonFiniteLossError(f"{stage} stage, epoch {epoch}, {lane}: {name} is {figure}")


def _weighted_mean(values_B: Tensor, weights_B: Tensor) -> Tensor:
    return (values_B * weights_B).sum() / weights_B.sum().clamp(min=1)
