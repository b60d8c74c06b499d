"""Splits keep sides apart, whatever the protocol, fold and seed; figures are those of the published corpora."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from sermodels.corpora.emodb import read
from sermodels.errors import UserError
from sermodels.store.splits import Split, count_folds, split

VIEWS = ("original", "noise", "shift", "speed")
SEEDS = range(4)
PROTOCOLS = ("paper", "utterance", "speaker")


@dataclass(frozen=True)
class Rows:
    speaker: np.ndarray
    sentence: np.ndarray
    clip: np.ndarray
    view: np.ndarray
    emotion: np.ndarray


def table(speakers: int, clips: int, emotions: int) -> Rows:
    """Clips of speakers and emotions in no order, four rows a clip."""
    rng = np.random.default_rng([speakers, clips])
    speaker = rng.permutation(np.arange(clips) % speakers)
    emotion = rng.integers(emotions, size=clips)
    return of_clips([f"s{number:02}" for number in speaker], emotion, [f"t{n % 10}" for n in rng.permutation(clips)])


def of_clips(speaker, emotion, sentence) -> Rows:
    return Rows(
        speaker=np.repeat(speaker, 4),
        sentence=np.repeat(np.array(sentence, dtype=object), 4),
        clip=np.repeat(np.arange(len(speaker)), 4),
        view=np.tile(VIEWS, len(speaker)),
        emotion=np.repeat(emotion, 4),
    )


EMODB = table(speakers=10, clips=535, emotions=7)
SAVEE = table(speakers=4, clips=480, emotions=7)
CREMAD = table(speakers=91, clips=7442, emotions=6)
TABLES = {"emodb": EMODB, "savee": SAVEE, "cremad": CREMAD, "three speakers": table(3, 12, 2)}


def every_split(protocol: str, names=TABLES):
    for name, seed in itertools.product(names, SEEDS):
        for fold in range(count_folds(TABLES[name], protocol)):
            yield TABLES[name], split(TABLES[name], protocol, fold, seed)


def sides(found: Split) -> list[np.ndarray]:
    return [found.train, found.valid, found.test]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sides_are_sorted_distinct_rows_and_none_is_empty(protocol):
    for rows, found in every_split(protocol):
        for side in sides(found):
            assert len(side) > 0
            assert (np.diff(side) > 0).all()
            assert 0 <= side[0] <= side[-1] < len(rows.clip)


@pytest.mark.parametrize(("protocol", "group"), [("utterance", "clip"), ("speaker", "speaker")])
def test_no_group_is_on_two_sides_and_altered_views_are_trained_on_only(protocol, group):
    for rows, found in every_split(protocol):
        groups = getattr(rows, group)
        train, valid, test = (set(groups[side]) for side in sides(found))
        assert train | valid | test == set(groups)
        assert len(train) + len(valid) + len(test) == len(set(groups))
        assert set(rows.view[found.valid]) == set(rows.view[found.test]) == {"original"}
        for side, members in ((found.valid, valid), (found.test, test)):
            assert len(side) == np.isin(groups, list(members)).sum() / 4  # of every clip its original
        assert len(found.train) == np.isin(groups, list(train)).sum()  # of every clip all views


@pytest.mark.parametrize("protocol", ["utterance", "speaker"])
def test_the_test_side_is_set_aside_once_and_every_other_row_is_validated_in_one_fold(protocol):
    for rows, seed in itertools.product(TABLES.values(), SEEDS):
        found = [split(rows, protocol, fold, seed) for fold in range(count_folds(rows, protocol))]
        assert all(np.array_equal(found[0].test, other.test) for other in found)
        validated = np.concatenate([one.valid for one in found])
        originals = np.flatnonzero(rows.view == "original")
        assert np.array_equal(np.sort(validated), np.setdiff1d(originals, found[0].test))


@pytest.mark.parametrize(("protocol", "group"), [("speaker", "speaker"), ("utterance", "clip")])
def test_with_all_data_the_training_side_has_every_view_of_all_but_the_test_side(protocol, group):
    for rows, seed in itertools.product(TABLES.values(), SEEDS):
        usual, whole = (split(rows, protocol, 1, seed, all_data=all_data) for all_data in (False, True))
        tested = np.isin(getattr(rows, group), getattr(rows, group)[usual.test])
        assert np.array_equal(whole.train, np.flatnonzero(~tested))
        assert np.array_equal(whole.test, usual.test)
        assert np.array_equal(whole.valid, usual.valid)


def test_under_paper_the_folds_share_out_all_views_and_test_is_validation():
    for rows, seed in itertools.product(TABLES.values(), SEEDS):
        found = [split(rows, "paper", fold, seed) for fold in range(count_folds(rows, "paper"))]
        everything = np.arange(len(rows.clip))
        assert np.array_equal(np.sort(np.concatenate([one.test for one in found])), everything)
        for one in found:
            assert np.array_equal(one.valid, one.test)
            assert np.array_equal(np.sort(np.concatenate([one.train, one.test])), everything)


@pytest.mark.parametrize("fold", range(5))
@pytest.mark.parametrize(("rows", "views"), [(SAVEE, 384), (EMODB, 428)], ids=["savee", "emodb"])
def test_under_paper_as_many_views_are_tested_as_the_papers_accuracies_betray(rows, views, fold):
    found = split(rows, "paper", fold, seed=0)
    assert len(found.test) == views
    assert set(rows.view[found.test]) == set(VIEWS)
    assert set(rows.clip[found.test]) & set(rows.clip[found.train])  # it leaks, and is labelled so


@pytest.mark.parametrize(
    ("rows", "test", "valid"),
    [(EMODB, 2, [2, 2, 2, 2]), (SAVEE, 1, [1, 1, 1]), (CREMAD, 18, [19, 18, 18, 18])],
    ids=["emodb", "savee", "cremad"],
)
def test_speakers_a_side_are_those_of_the_corpora(rows, test, valid):
    assert count_folds(rows, "speaker") == len(valid)
    found = [split(rows, "speaker", fold, seed=0) for fold in range(len(valid))]
    assert len(set(rows.speaker[found[0].test])) == test
    assert [len(set(rows.speaker[one.valid])) for one in found] == valid


def test_every_number_of_speakers_from_three_has_folds_of_about_the_test_sides_size():
    for speakers in range(3, 40):
        rows = table(speakers, 4 * speakers, 2)
        folds = count_folds(rows, "speaker")
        found = [split(rows, "speaker", fold, seed=1) for fold in range(folds)]
        test = len(set(rows.speaker[found[0].test]))
        valid = [len(set(rows.speaker[one.valid])) for one in found]
        assert 2 <= folds <= 4
        assert abs(test - speakers / 5) <= 0.5 or (speakers, test) == (3, 1)
        assert max(valid) - min(valid) <= 1
        assert test <= min(valid) <= max(valid) <= 2 * test
        assert sum(valid) == speakers - test


def test_utterance_sides_are_a_fifth_and_hold_their_share_of_every_emotion():
    for rows, found in every_split("utterance", ["emodb", "savee", "cremad"]):
        emotions = rows.emotion[rows.view == "original"]
        share = {"test": (found.test, 1 / 5), "valid": (found.valid, 4 / 25)}
        for side, part in share.values():
            counts = np.bincount(rows.emotion[side])
            assert (np.abs(counts - part * np.bincount(emotions)) < 2).all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_split_is_a_function_of_its_seed(protocol):
    tests = [split(EMODB, protocol, 0, seed).test for seed in range(8)]
    again = [split(EMODB, protocol, 0, seed).test for seed in range(8)]
    assert all(np.array_equal(one, same) for one, same in zip(tests, again, strict=True))
    assert len({tuple(test) for test in tests}) >= 7


@pytest.mark.parametrize(
    ("protocol", "groups", "folds"),
    [
        ("utterance_folds", ["clip"], 5),
        ("speaker_folds", ["speaker"], 5),
        ("loso", ["speaker"], 10),
        ("sentence_folds", ["sentence"], 5),
        ("speaker_sentence_folds", ["speaker", "sentence"], 25),
    ],
)
def test_folds_for_a_fixed_configuration_share_out_all_clips_and_train_on_none_of_the_groups_they_test(
    protocol, groups, folds
):
    for seed in SEEDS:
        assert count_folds(EMODB, protocol) == folds
        found = [split(EMODB, protocol, fold, seed) for fold in range(folds)]
        tested = np.concatenate([one.test for one in found])
        assert np.array_equal(np.sort(tested), np.flatnonzero(EMODB.view == "original"))
        for one in found:
            assert np.array_equal(one.valid, one.test)
            assert set(EMODB.view[one.train]) == set(VIEWS)
            for group in groups:
                column = getattr(EMODB, group)
                assert not set(column[one.train]) & set(column[one.test])
        if len(groups) == 1:
            assert all(len(one.train) == 4 * (535 - len(one.test)) for one in found)
        else:  # the first five hear everyone and everything once
            for group in groups:
                assert [len(set(getattr(EMODB, group)[one.test])) for one in found[:5]] == [2] * 5
                assert len(set(np.concatenate([getattr(EMODB, group)[one.test] for one in found[:5]]))) == 10


def test_fewer_speakers_or_sentences_have_fewer_folds():
    assert count_folds(SAVEE, "speaker_folds") == count_folds(SAVEE, "loso") == 4
    assert count_folds(SAVEE, "speaker_sentence_folds") == 20
    tested = np.concatenate([split(SAVEE, "speaker_sentence_folds", fold, 0).test for fold in range(20)])
    assert len(set(tested)) == len(tested) == 480


def test_sentences_that_a_corpus_does_not_tell_are_asked_for():
    silent = of_clips(["a", "b"] * 5, [0, 1] * 5, [None] * 10)
    with pytest.raises(UserError, match="'sentence_folds' needs the sentence of each clip"):
        split(silent, "sentence_folds", 0, seed=0)
    alike = of_clips(["a", "b"] * 5, [0, 1] * 5, ["t"] * 10)
    with pytest.raises(UserError, match="needs at least 2 sentences; this store has 1"):
        split(alike, "speaker_sentence_folds", 0, seed=0)


def test_a_fold_without_clips_is_named():
    apart = of_clips(["a", "b"] * 5, [0, 1] * 5, ["s", "t"] * 5)  # each speaker says a sentence of his own
    with pytest.raises(UserError, match="has no clip to test in this store"):
        [split(apart, "speaker_sentence_folds", fold, seed=0) for fold in range(4)]
    # What b says is all that a says, too, but once.
    one_text = of_clips(["a"] * 6 + ["b"] * 6, [0, 1] * 6, ["s", "t"] * 3 + ["s"] * 6)
    with pytest.raises(UserError, match="leaves no clip to train on"):
        [split(one_text, "speaker_sentence_folds", fold, seed=seed) for fold in range(3) for seed in range(4)]


def test_too_few_speakers_or_clips_are_counted_and_the_way_out_is_named():
    with pytest.raises(UserError, match=r"at least 3 speakers .* this store has 2: use protocol=utterance"):
        split(table(2, 40, 2), "speaker", 0, seed=0)
    with pytest.raises(UserError, match="at least 10 clips; this store has 9"):
        split(table(3, 9, 2), "utterance", 0, seed=0)


@pytest.mark.parametrize(
    ("rows", "protocol", "folds"),
    [(EMODB, "speaker", 4), (SAVEE, "speaker", 3), (EMODB, "utterance", 5), (SAVEE, "paper", 5)],
)
def test_a_fold_too_high_is_answered_with_how_many_there_are(rows, protocol, folds):
    split(rows, protocol, folds - 1, seed=0)
    with pytest.raises(UserError) as caught:
        split(rows, protocol, folds, seed=0)
    message = str(caught.value)
    assert f"fold {folds} does not exist" in message
    assert f"{folds} folds (0 to {folds - 1})" in message
    if protocol == "speaker":
        assert f"{len(set(rows.speaker))} speakers" in message


def test_real_emodb_sets_two_speakers_aside_and_rotates_the_others(emodb):
    corpus = read(emodb)
    rows = of_clips(
        [utterance.speaker for utterance in corpus.utterances],
        [corpus.emotions.index(utterance.emotion) for utterance in corpus.utterances],
        [utterance.sentence for utterance in corpus.utterances],
    )
    found = [split(rows, "speaker", fold, seed=0) for fold in range(count_folds(rows, "speaker"))]
    assert [len(set(rows.speaker[one.valid])) for one in found] == [2, 2, 2, 2]
    assert len(set(rows.speaker[found[0].test])) == 2
    assert len(split(rows, "paper", 0, seed=0).test) == 428
    pairs = [split(rows, "speaker_folds", fold, seed=0) for fold in range(count_folds(rows, "speaker_folds"))]
    assert [len(set(rows.speaker[one.test])) for one in pairs] == [2] * 5
    assert [len(set(rows.sentence[split(rows, "sentence_folds", fold, 0).test])) for fold in range(5)] == [2] * 5
    assert count_folds(rows, "loso") == 10
