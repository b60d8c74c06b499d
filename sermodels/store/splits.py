"""Which rows of a store train, validate and test, as functions of (protocol, fold, seed).

For a search. The test side is set aside once: it does not depend on the fold.

utterance  test = a fifth of the clips, validation = a fifth of the rest; original views only
speaker    test = a fifth of the speakers, validation = about as many others; original views only

For a fixed configuration. The folds share out the corpus, and each is tested by what the others trained; there is no
validation side of its own, so whoever chose by these figures would choose on the test set.

paper                   a fifth of all views, drawn after augmentation; leaks, by design of the paper
utterance_folds         a fifth of the clips
speaker_folds           a fifth of the speakers: EmoDB's in pairs
loso                    leave one speaker out
sentence_folds          a fifth of the sentences: text-independent
speaker_sentence_folds  one of 5 × 5 parts, by speakers and by sentences; trained on clips that share neither with it

Of the latter, with 5 speakers or more, the first 5 folds hear each speaker once, all 25 each clip. Original views only.
"""

from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np

from sermodels.config.settings import Protocol
from sermodels.errors import UserError
from sermodels.randomness import generator

FOLDS = 5  # an evaluation of a fifth each
MOST_SPEAKER_FOLDS = 4  # 10 speakers: 2 for test and 4 folds of 2; 4 speakers: 1 and 3 folds of 1
FIXED = ("paper", "utterance_folds", "speaker_folds", "loso", "sentence_folds", "speaker_sentence_folds")


class Table(Interface):
    """The columns of a store that a split looks at; one entry a row."""

    @property
    def speaker(self) -> np.ndarray:
        """(R,) str."""

    @property
    def sentence(self) -> np.ndarray:
        """(R,) str, or None where the corpus does not tell."""

    @property
    def clip(self) -> np.ndarray:
        """(R,) numbers of the utterances."""

    @property
    def view(self) -> np.ndarray:
        """(R,) of "original", "noise", "shift", "speed"."""

    @property
    def emotion(self) -> np.ndarray:
        """(R,) class numbers."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Sorted row numbers of each side."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split(table: Table, protocol: Protocol, fold: int, seed: int, *, all_data: bool = False) -> Split:
    """Divide the rows of a store.

    Args:
        table: the store.
        protocol: see the head of this file.
        fold: 0 … `count_folds` − 1; which part validates.
        seed: of the draw.
        all_data: train on the validation side's clips, too, in every view; `utterance` and `speaker` alone.

    Raises:
        UserError: the store has fewer folds than asked for, too few speakers, sentences or clips for any, or none for
            this one.
    """
    folds = count_folds(table, protocol)
    if fold >= folds:
        speakers = f" for {len(np.unique(table.speaker))} speakers" if "speaker" in protocol else ""
        raise UserError(
            f"fold {fold} does not exist: protocol {protocol!r} has {folds} folds (0 to {folds - 1}){speakers}"
        )
    if protocol == "paper":
        return _paper(len(table.clip), fold, seed)
    original = table.view == "original"
    if protocol in FIXED:
        held, trained = _fixed(table, protocol, fold, seed)
        test = np.flatnonzero(held & original)
        if not len(test):
            raise UserError(f"fold {fold} of protocol {protocol!r} has no clip to test in this store")
        if not trained.any():
            raise UserError(f"fold {fold} of protocol {protocol!r} leaves no clip to train on in this store")
        return Split(train=np.flatnonzero(trained), valid=test, test=test)
    if protocol == "utterance":
        group, (test, valid) = table.clip, _draw_clips(table, fold, seed)
    else:
        group, (test, valid) = table.speaker, _draw_speakers(table, fold, seed)
    in_test, in_valid = np.isin(group, test), np.isin(group, valid)
    return Split(
        train=np.flatnonzero(~in_test if all_data else ~in_test & ~in_valid),
        valid=np.flatnonzero(in_valid & original),
        test=np.flatnonzero(in_test & original),
    )


def count_folds(table: Table, protocol: Protocol) -> int:
    """How many folds the protocol offers on this store.

    Raises:
        UserError: not enough speakers (3, or 2 in folds), sentences (2) or clips (10) for it; or their sentences are
            not known.
    """
    if protocol == "paper":
        return FOLDS
    if protocol.startswith("utterance"):
        _require(len(np.unique(table.clip)), 10, "clips", protocol)
        return FOLDS
    parts = {"speaker": len(np.unique(table.speaker)), "sentence": 0}
    if "sentence" in protocol:
        parts["sentence"] = len(_sentences(table, protocol))
        _require(parts["sentence"], 2, "sentences", protocol)
    if protocol == "sentence_folds":
        return min(parts["sentence"], FOLDS)
    if protocol == "speaker":
        _require(parts["speaker"], 3, "speakers (train, validation, test)", protocol)
        side = _speakers_a_side(parts["speaker"])
        return min((parts["speaker"] - side) // side, MOST_SPEAKER_FOLDS)
    _require(parts["speaker"], 2, "speakers", protocol)
    if protocol == "speaker_sentence_folds":
        return min(parts["speaker"], FOLDS) * min(parts["sentence"], FOLDS)
    return parts["speaker"] if protocol == "loso" else min(parts["speaker"], FOLDS)


def _require(found: int, needed: int, what: str, protocol: Protocol) -> None:
    if found < needed:
        way_out = "" if protocol.startswith("utterance") else ": use protocol=utterance"
        raise UserError(f"protocol {protocol!r} needs at least {needed} {what}; this store has {found}{way_out}")


def _sentences(table: Table, protocol: Protocol) -> np.ndarray:
    if None in table.sentence:
        raise UserError(f"protocol {protocol!r} needs the sentence of each clip; this store's corpus does not tell it")
    return np.unique(table.sentence.astype(str))


def _speakers_a_side(speakers: int) -> int:
    return max(1, round(speakers / 5))


def _paper(rows: int, fold: int, seed: int) -> Split:
    order = generator(seed, "split paper").permutation(rows)
    part = np.sort(np.array_split(order, FOLDS)[fold])
    return Split(train=np.setdiff1d(np.arange(rows), part), valid=part, test=part)


def _fixed(table: Table, protocol: Protocol, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows that a fold holds out, and of those that it trains on."""
    if protocol == "utterance_folds":
        held = np.isin(table.clip, _dealt_clips(table, seed)[fold::FOLDS])
        return held, ~held
    speakers = np.unique(table.speaker)
    if protocol == "loso":
        held = table.speaker == speakers[fold]
        return held, ~held
    if protocol == "speaker_folds":
        held = np.isin(table.speaker, _part(speakers, fold, seed, "speaker"))
        return held, ~held
    sentences = _sentences(table, protocol)
    if protocol == "sentence_folds":
        held = np.isin(table.sentence.astype(str), _part(sentences, fold, seed, "sentence"))
        return held, ~held
    # Diagonal by diagonal of the table of both parts.
    row, diagonal = fold % min(len(speakers), FOLDS), fold // min(len(speakers), FOLDS)
    heard = np.isin(table.speaker, _part(speakers, row, seed, "speaker"))
    said = np.isin(table.sentence.astype(str), _part(sentences, row + diagonal, seed, "sentence"))
    return heard & said, ~heard & ~said


def _part(names: np.ndarray, fold: int, seed: int, what: str) -> np.ndarray:
    """One of the parts that names are shared out into; after the last comes the first again."""
    parts = np.array_split(generator(seed, f"split {what} folds").permutation(names), min(len(names), FOLDS))
    return parts[fold % len(parts)]


def _draw_speakers(table: Table, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    speakers = generator(seed, "split speaker").permutation(np.unique(table.speaker))
    side = _speakers_a_side(len(speakers))
    test, rest = speakers[:side], speakers[side:]
    return test, np.array_split(rest, count_folds(table, "speaker"))[fold]


def _draw_clips(table: Table, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    dealt = _dealt_clips(table, seed)
    test, rest = dealt[::FOLDS], np.delete(dealt, np.s_[::FOLDS])
    return test, rest[fold::FOLDS]


def _dealt_clips(table: Table, seed: int) -> np.ndarray:
    """Clips shuffled within each emotion and laid out by emotion: every so-manieth of them has its share of each."""
    clips, first_row = np.unique(table.clip, return_index=True)
    shuffled = generator(seed, "split utterance").permutation(len(clips))
    return clips[shuffled[np.argsort(table.emotion[first_row][shuffled], kind="stable")]]
