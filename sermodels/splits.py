"""Which rows of a store train, validate and test: three protocols, functions of (protocol, fold, seed).

paper      test = validation = a fifth of all views, drawn after augmentation; leaks, by design of the paper
utterance  test = a fifth of the clips, validation = a fifth of the rest; original views only
speaker    test = a fifth of the speakers, validation = about as many others; original views only

The test side is set aside once: it does not depend on the fold (but under `paper`, which has no validation set).
"""

from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np

from sermodels.config import Protocol
from sermodels.errors import UserError
from sermodels.randomness import generator

PAPER_FOLDS = 5
UTTERANCE_FOLDS = 5
MOST_SPEAKER_FOLDS = 4  # 10 speakers: 2 for test and 4 folds of 2; 4 speakers: 1 and 3 folds of 1


class Table(Interface):
    """The columns of a store that a split looks at; one entry a row."""

    speaker: np.ndarray
    clip: np.ndarray  # number of the utterance
    view: np.ndarray  # "original", "noise", "shift", "speed"
    emotion: np.ndarray  # class number


@dataclass(frozen=True, kw_only=True)
class Split:
    """Sorted row numbers of each side."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split(table: Table, protocol: Protocol, fold: int, seed: int) -> Split:
    """Divide the rows of a store.

    Args:
        table: the store.
        protocol: see the head of this file.
        fold: 0 … `count_folds` − 1; which part validates.
        seed: of the draw.

    Raises:
        UserError: the store has fewer folds than asked for, or too few speakers or clips for any.
    """
    folds = count_folds(table, protocol)
    if fold >= folds:
        speakers = f" for {len(np.unique(table.speaker))} speakers" if protocol == "speaker" else ""
        raise UserError(
            f"fold {fold} does not exist: protocol {protocol!r} has {folds} folds (0 to {folds - 1}){speakers}"
        )
    if protocol == "paper":
        return _paper(len(table.clip), fold, seed)
    original = table.view == "original"
    if protocol == "utterance":
        group, (test, valid) = table.clip, _draw_clips(table, fold, seed)
    else:
        group, (test, valid) = table.speaker, _draw_speakers(table, fold, seed)
    in_test, in_valid = np.isin(group, test), np.isin(group, valid)
    return Split(
        train=np.flatnonzero(~in_test & ~in_valid),
        valid=np.flatnonzero(in_valid & original),
        test=np.flatnonzero(in_test & original),
    )


def count_folds(table: Table, protocol: Protocol) -> int:
    """How many folds the protocol offers on this store.

    Raises:
        UserError: not enough speakers (`speaker`: 3) or clips (`utterance`: 10) for one fold.
    """
    if protocol == "paper":
        return PAPER_FOLDS
    if protocol == "utterance":
        if (clips := len(np.unique(table.clip))) < 10:
            raise UserError(f"protocol 'utterance' needs at least 10 clips; this store has {clips}")
        return UTTERANCE_FOLDS
    speakers = len(np.unique(table.speaker))
    if speakers < 3:
        raise UserError(
            f"protocol 'speaker' needs at least 3 speakers (train, validation, test); this store has {speakers}: "
            "use protocol=utterance"
        )
    side = _speakers_a_side(speakers)
    return min((speakers - side) // side, MOST_SPEAKER_FOLDS)


def _speakers_a_side(speakers: int) -> int:
    return max(1, round(speakers / 5))


def _paper(rows: int, fold: int, seed: int) -> Split:
    order = generator(seed, "split paper").permutation(rows)
    part = np.sort(np.array_split(order, PAPER_FOLDS)[fold])
    return Split(train=np.setdiff1d(np.arange(rows), part), valid=part, test=part)


def _draw_speakers(table: Table, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    speakers = generator(seed, "split speaker").permutation(np.unique(table.speaker))
    side = _speakers_a_side(len(speakers))
    test, rest = speakers[:side], speakers[side:]
    return test, np.array_split(rest, count_folds(table, "speaker"))[fold]


def _draw_clips(table: Table, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    # Clips are shuffled within each emotion and dealt like cards, so that every part has its share of each.
    clips, first_row = np.unique(table.clip, return_index=True)
    shuffled = generator(seed, "split utterance").permutation(len(clips))
    by_emotion = shuffled[np.argsort(table.emotion[first_row][shuffled], kind="stable")]
    test, rest = clips[by_emotion[::5]], np.delete(by_emotion, np.s_[::5])
    return test, clips[rest[fold::UTTERANCE_FOLDS]]
