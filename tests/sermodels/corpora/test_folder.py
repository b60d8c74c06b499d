"""One folder a class: speakers from the paths, and what is refused."""

from pathlib import Path

import pytest
from made import CLASS_FOLDERS, by_id, recordings, refusal

from sermodels.corpora.read import read_corpus


def test_folder_takes_classes_from_folders_and_speakers_from_the_expression(tmp_path: Path) -> None:
    corpus = read_corpus("folder", recordings(tmp_path, CLASS_FOLDERS), {"speaker_regex": r"/([a-z]+)_\d"})
    assert by_id(corpus) == {
        "anger/kim_1.wav": ("kim", "anger", None),
        "neutral/lee_2.flac": ("lee", "neutral", None),
        "neutral/old/kim_3.OGG": ("kim", "neutral", None),
    }
    assert corpus.emotions == ("anger", "neutral")
    assert corpus.warnings == ()


def test_folder_without_expression_warns_that_speakers_are_unknown(tmp_path: Path) -> None:
    corpus = read_corpus("folder", recordings(tmp_path, CLASS_FOLDERS), {})
    assert len({u.speaker for u in corpus.utterances}) == 3
    (warning,) = corpus.warnings
    assert "speaker" in warning


def test_folder_names_folders_that_hold_no_audio(tmp_path: Path) -> None:
    recordings(tmp_path, CLASS_FOLDERS)
    (tmp_path / "fear").mkdir()
    (tmp_path / "fear" / "kim_4.m4a").touch()
    corpus = read_corpus("folder", tmp_path, {"speaker_regex": "([a-z]+)_"})
    assert "fear" not in corpus.emotions
    (warning,) = corpus.warnings
    assert "fear" in warning


@pytest.mark.parametrize(
    ("speaker_regex", "reason"),
    [
        ("([a-z]+", "not a regular expression"),
        ("kim", "no group"),
        ("(kim)", "lee_2.flac"),
        ("(lee)?", "kim_1.wav"),
    ],
)
def test_folder_refuses_an_expression_that_finds_no_speaker(tmp_path: Path, speaker_regex: str, reason: str) -> None:
    root = recordings(tmp_path, ["anger/kim_1.wav", "neutral/lee_2.flac"])
    message = refusal("folder", root, speaker_regex=speaker_regex)
    assert reason in message
    assert repr(speaker_regex) in message


def test_folder_refuses_audio_outside_classes_and_a_single_class(tmp_path: Path) -> None:
    assert "'anger'" in refusal("folder", recordings(tmp_path, ["anger/kim_1.wav"]))
    assert str(tmp_path / "stray.wav") in refusal("folder", recordings(tmp_path, ["neutral/a.wav", "stray.wav"]))
