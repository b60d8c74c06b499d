"""How well trained students do on rows of a store, and the figures that a run or a bundle carries.

n rows asked for, K emotions.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sermodels.config.settings import ChainConfig
from sermodels.errors import UserError
from sermodels.metrics import Scores, confusion_matrix, score
from sermodels.networks.network import Network
from sermodels.store.open import Store
from sermodels.store.splits import FIXED, split
from sermodels.training.batches import Source
from sermodels.training.bundle import FINGERPRINT, Bundle
from sermodels.training.chain_result import ChainResult
from sermodels.training.data import TrialData
from sermodels.training.lanes import ROWS_AT_ONCE, infer

SIDES = ("train", "valid", "test")

LEAKING = (
    "leaking: under protocol 'paper' validation and test are the same rows, and altered views of their clips "
    "were trained on; no estimate of accuracy on new speakers"
)
TRAINED_ON = "the validation side was trained on, too: its figures say nothing"
FIXED_ONLY = "validation and test are the same rows: figures of a fixed configuration, not of one chosen by them"


def evaluate(network: Network, store: Store, rows: np.ndarray) -> Scores:
    """Compare a network's answers with the labels of some rows.

    Args:
        network: on any device, of any precision.
        store: with the network's emotions and front-end.
        rows: (n,) row numbers, n ≥ 1.
    """
    return score(store.emotion[rows], _answers(network, store, rows), len(store.emotions))


def was_trained_on(bundle: Bundle, store: Store) -> bool:
    """Whether a model was trained on this store; only then is there a side of it that was set aside for the test."""
    return bool(bundle.metrics[FINGERPRINT] == store.fingerprint)


@torch.no_grad()
def feature_similarity(one: Network, other: Network, data: TrialData, rows: Tensor) -> np.ndarray:
    """Cosine similarity, row by row, of what enters the classifiers of two networks (paper, figure 8): (n,), −1…1.

    Args:
        one: a student, say.
        other: its teacher; its features have the same size.
        data: that the rows are of.
        rows: (n,) numbers into the trial's rows.
    """
    source = Source(data=data, targets=torch.empty(0))
    features, reference = (infer(network, source, rows).features for network in (one, other))
    return F.cosine_similarity(features, reference, dim=-1).cpu().numpy()


def check_same_task(bundle: Bundle, store: Store) -> None:
    """Make sure that a store asks what a model answers.

    Raises:
        UserError: other emotions, or images of another front-end; the message says which.
    """
    if store.emotions != bundle.emotions:
        here, there = ", ".join(store.emotions), ", ".join(bundle.emotions)
        raise UserError(f"{store.path}: its emotions are {here}; the model's are {there}: expected the same, in order")
    asked, answered = asdict(store.frontend), asdict(bundle.frontend)
    different = [
        f"{name} is {asked[name]}, the model's {answered[name]}" for name in asked if asked[name] != answered[name]
    ]
    if different:
        raise UserError(
            f"{store.path}: other front-end settings: {'; '.join(different)}: build a store with the model's"
        )


def sides(store: Store, config: ChainConfig) -> dict[str, Any]:
    """Who trains, validates and tests, for the description of a run.

    Returns:
        {"fold 0": {"train": {"rows": …, "clips": …, "speakers": […]}, "valid": …, "test": …}, "fold 1": …}
    """
    described = {}
    for fold in config.folds:
        divided = split(store, config.protocol, fold, config.split_seed, all_data=config.all_data)
        described[f"fold {fold}"] = {side: describe(store, getattr(divided, side)) for side in SIDES}
    return described


def rows_of(side: str, store: Store, config: ChainConfig) -> np.ndarray:
    """Row numbers of a side of the first lane's fold: "train", "valid", "test"; or "all": every clip as recorded."""
    if side == "all":
        return np.flatnonzero(store.view == "original")
    rows: np.ndarray = getattr(split(store, config.protocol, config.lanes[0][0], config.split_seed), side)
    return rows


def describe(store: Store, rows: np.ndarray) -> dict[str, Any]:
    """How many rows and clips, and whose: {"rows": …, "clips": …, "speakers": […]}."""
    return {
        "rows": len(rows),
        "clips": len(np.unique(store.clip[rows])),
        "speakers": np.unique(store.speaker[rows]).tolist(),
    }


def run_figures(result: ChainResult, store: Store, config: ChainConfig) -> dict[str, Any]:
    """What a bundle tells of the run it came from, the test side left out.

    Returns:
        Plain JSON: `corpus`, FINGERPRINT, `sides`, and `validation`: `val_uar`, `val_wa`, `val_macro_f1` and
        `best_val_uar` as means over lanes, each with `…_std`, `protocol`, `caveat`, and `lanes`, the figures of each.
        The same for the same chain, wherever and however long it ran.
    """
    columns = {name: getattr(result, name) for name in ("val_uar", "val_wa", "val_macro_f1", "best_val_uar")}
    lanes = [
        {"fold": fold, "seed": seed} | {name: values[lane] for name, values in columns.items()}
        for lane, (fold, seed) in enumerate(config.lanes)
    ]
    means, told = _over_lanes(lanes, tuple(columns)), TRAINED_ON if config.all_data else caveat(config)
    return {
        "corpus": store.corpus,
        FINGERPRINT: store.fingerprint,
        "sides": sides(store, config),
        "validation": {**means, "protocol": config.protocol, "caveat": told, "lanes": lanes},
    }


def test_report(networks: Sequence[Network], store: Store, config: ChainConfig) -> dict[str, Any]:
    """The test figures of a configuration. To be asked for once a sweep, of the winner alone.

    Args:
        networks: the trained student of each lane, in the order of `config.lanes`.
        store: that they were trained on.
        config: that they were trained with.

    Returns:
        Plain JSON: `wa`, `uar`, `macro_f1` as means over lanes, each with `…_std`; `lanes`, the figures of each;
        `confusion` ([true][predicted], counts) of the exported lane, the first, `confusion_by_speaker`, the same by
        speaker, and `confusion_all_lanes`, summed;
        `emotions`, naming their rows; `by_speaker`, the `clips`, `wa` and `uar` of each, means over lanes; `rows`,
        `clips` and `speakers` of the test side; `chance`, `protocol`, and `caveat`: None, or why the figures mean
        little.
    """
    rows = [split(store, config.protocol, fold, config.split_seed).test for fold, _ in config.lanes]
    answers = [_answers(network, store, own) for network, own in zip(networks, rows, strict=True)]
    scores = [score(store.emotion[o], a, len(store.emotions)) for o, a in zip(rows, answers, strict=True)]
    lanes = [
        {"fold": fold, "seed": seed, "wa": s.wa, "uar": s.uar, "macro_f1": s.macro_f1}
        for (fold, seed), s in zip(config.lanes, scores, strict=True)
    ]
    return {
        **_over_lanes(lanes, ("wa", "uar", "macro_f1")),
        "chance": chance(store),
        "protocol": config.protocol,
        "caveat": caveat(config),
        **describe(store, rows[0]),
        "emotions": list(store.emotions),
        "confusion": scores[0].confusion,
        "confusion_by_speaker": _confusion_by_speaker(store, rows[0], answers[0]),
        "confusion_all_lanes": np.sum([s.confusion for s in scores], axis=0).tolist(),
        "lanes": lanes,
        "by_speaker": _by_speaker(store, rows, answers),
    }


def confusion_by_speaker(network: nn.Module, store: Store, rows: np.ndarray) -> dict[str, list[list[int]]]:
    """Counts [true][predicted] of each speaker's rows, for intervals over speakers.

    Args:
        network: on any device, of any precision.
        store: with the network's emotions and front-end.
        rows: (n,) row numbers, n ≥ 1.
    """
    return _confusion_by_speaker(store, rows, _answers(network, store, rows))


def _confusion_by_speaker(store: Store, rows: np.ndarray, answers: np.ndarray) -> dict[str, list[list[int]]]:
    found = {}
    for speaker in np.unique(store.speaker[rows]).tolist():
        theirs = store.speaker[rows] == speaker
        counts = confusion_matrix(store.emotion[rows[theirs]], answers[theirs], len(store.emotions))
        found[speaker] = counts.tolist()
    return found


def chance(store: Store) -> float:
    """The UAR of a guess."""
    return 1 / len(store.emotions)


def caveat(config: ChainConfig) -> str | None:
    """Why figures under this configuration's protocol mean little, or None."""
    if config.protocol == "paper":
        return LEAKING
    return FIXED_ONLY if config.protocol in FIXED else None


@torch.no_grad()
def _answers(network: nn.Module, store: Store, rows: np.ndarray) -> np.ndarray:
    # In the chunks of a chain's validation: the size of a batch changes the last bits of a logit.
    parameter = next(network.parameters())
    answers = []
    for first in range(0, len(rows), ROWS_AT_ONCE):
        pixels = torch.from_numpy(store.pixels[rows[first : first + ROWS_AT_ONCE]])
        images = pixels.to(parameter.device, parameter.dtype).unsqueeze(1)
        answers.append(network(images).logits.argmax(-1).cpu().numpy())
    return np.concatenate(answers)


def _by_speaker(store: Store, rows: Sequence[np.ndarray], answers: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Figures of each speaker of the test side: rows and answers of each lane → means over the lanes that hear them."""
    found: dict[str, list[dict[str, float]]] = {}
    for own, answered in zip(rows, answers, strict=True):
        for speaker in np.unique(store.speaker[own]).tolist():
            theirs = store.speaker[own] == speaker
            figures = score(store.emotion[own[theirs]], answered[theirs], len(store.emotions))
            clips = len(np.unique(store.clip[own[theirs]]))
            found.setdefault(speaker, []).append({"clips": clips, "wa": figures.wa, "uar": figures.uar})
    return {
        speaker: {name: statistics.fmean(lane[name] for lane in lanes) for name in lanes[0]}
        for speaker, lanes in sorted(found.items())
    }


def _over_lanes(lanes: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    figures = {}
    for name in names:
        values = [lane[name] for lane in lanes]
        figures[name] = statistics.fmean(values)
        figures[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return figures
