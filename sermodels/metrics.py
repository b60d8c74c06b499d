"""How well a classifier does, in the field's words: WA, UAR, macro-F1, confusion matrix; and feature similarity."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Figures of one set of rows, all in 0…1."""

    wa: float  # weighted accuracy: correct / all (plain accuracy)
    uar: float  # unweighted average recall: mean over the emotions that occur
    macro_f1: float  # mean F1 over the emotions that occur
    confusion: list[list[int]]  # [true][predicted], counts


def score(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Scores:
    """Compare predicted with true class numbers, both (n,) in 0…classes−1, n ≥ 1."""
    confusion = confusion_matrix(truth, predicted, classes)
    hits, true, answered = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    present = true > 0
    return Scores(
        wa=float(wa(confusion)),
        uar=float(uar(confusion)),
        macro_f1=float(np.mean(2 * hits[present] / (true + answered)[present])),
        confusion=confusion.tolist(),
    )


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts of class numbers, both (n,) in 0…classes−1, as [true][predicted]: (K, K)."""
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    return confusion


def wa(counts: np.ndarray) -> np.ndarray:
    """Weighted accuracy, correct / all, of confusion matrices (…, K, K) → (…)."""
    accuracy: np.ndarray = np.trace(counts, axis1=-2, axis2=-1) / np.maximum(counts.sum((-2, -1)), 1)
    return accuracy


def uar(counts: np.ndarray) -> np.ndarray:
    """Unweighted average recall, mean over the emotions that occur, of confusion matrices (…, K, K) → (…)."""
    spoken = counts.sum(-1)
    recall = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(spoken, 1)
    mean: np.ndarray = recall.sum(-1) / np.maximum((spoken > 0).sum(-1), 1)
    return mean


def cosine(features_RD: Tensor, reference_RD: Tensor) -> float:
    """Mean cosine similarity, row by row (paper, figure 8), in −1…1."""
    return F.cosine_similarity(features_RD, reference_RD, dim=-1).mean().item()
