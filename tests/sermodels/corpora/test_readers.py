"""Every reader on small corpora of real files, in every layout, whole, incomplete and wrong."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from made import CLASS_FOLDERS, by_id, copies, recordings, refusal, table

from sermodels.corpora import audio
from sermodels.corpora.read import READERS, read_corpus

EMODB_COUNTS = {
    "anger": 127,
    "anxiety": 69,
    "boredom": 81,
    "disgust": 46,
    "happiness": 71,
    "neutral": 79,
    "sadness": 62,
}

EMODB_NAMES = ("03a01Fa.wav", "03a02Wb.wav", "08b10Nc.wav")

SAVEE_FOLDERS = ("DC/a01.wav", "JE/n30.wav", "KL/su04.wav")

SAVEE_FLAT = ("DC_a01.wav", "JE_n30.wav", "KL_su04.wav")

CREMAD_NAMES = ("1001_DFA_ANG_XX.wav", "1002_IEO_SAD_HI.wav", "1040_ITH_SAD_X.wav")


# What holds for every reader


def small_corpus(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    if name == "csv":
        return table(folder, "file,speaker,emotion", "sub/c.flac,2,sad", "b.wav,1,sad", "a.wav,1,glad"), {}
    if name == "synthetic":
        return folder / "new", {"speakers": 2, "clips_per_emotion": 1}
    files = {
        "emodb": [f"wav/{n}" for n in EMODB_NAMES],
        "savee": SAVEE_FLAT,
        "cremad": CREMAD_NAMES,
        "folder": CLASS_FOLDERS,
    }
    return recordings(folder, files[name]), {"speaker_regex": "([a-z]+)_"} if name == "folder" else {}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_keeps_the_contract(tmp_path: Path, name: str) -> None:
    root, options = small_corpus(name, tmp_path)
    corpus = read_corpus(name, root, options)
    ids = [u.id for u in corpus.utterances]
    assert corpus.name == name
    assert ids == sorted(set(ids))
    assert len(corpus.utterances) >= 3
    assert len(set(corpus.emotions)) == len(corpus.emotions) >= 2
    for utterance in corpus.utterances:
        assert utterance.emotion in corpus.emotions
        assert utterance.speaker
        assert str(tmp_path) not in utterance.id
        assert len(audio.load(utterance.path, 16_000)) >= 1600
    assert read_corpus(name, root, options) == corpus


def test_an_unknown_corpus_is_refused_with_the_nearest_name_or_all(tmp_path: Path) -> None:
    assert "unknown corpus 'cremda'; the nearest valid name is 'cremad'" in refusal("cremda", tmp_path)
    assert f"valid names are {', '.join(READERS)}" in refusal("xyz", tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_an_option_that_a_reader_does_not_take_is_refused(tmp_path: Path, name: str) -> None:
    assert "'speaker_regexp'" in refusal(name, tmp_path, speaker_regexp="(.)")


def test_the_nearest_option_is_named(tmp_path: Path) -> None:
    assert "nearest valid name is 'speaker_regex'" in refusal("folder", tmp_path, speaker_regexp="(.)")


@pytest.mark.parametrize("name", ["emodb", "savee", "cremad", "folder"])
def test_a_root_that_is_no_folder_of_recordings_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "readme.txt").touch()
    (tmp_path / "nothing").mkdir()
    assert f"{tmp_path / 'missing'}: no such folder" in refusal(name, tmp_path / "missing")
    assert f"{tmp_path / 'readme.txt'}: is a file" in refusal(name, tmp_path / "readme.txt")
    assert "readme.txt" in refusal(name, tmp_path)
    assert "empty" in refusal(name, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "example"),
    [("emodb", "03a01Fa.wav"), ("savee", "DC/a01.wav"), ("cremad", "1001_DFA_ANG_XX.wav")],
)
class TestPublished:
    def test_a_folder_of_another_kind_is_refused_with_found_and_expected(
        self, tmp_path: Path, name: str, example: str
    ) -> None:
        message = refusal(name, recordings(tmp_path, ["song.wav", "tune.flac"]))
        assert str(tmp_path) in message
        assert "song.wav" in message
        assert example in message

    def test_a_foreign_recording_among_good_ones_is_named(self, tmp_path: Path, name: str, example: str) -> None:
        message = refusal(name, recordings(tmp_path, [example.split()[0], "song.mp3"]))
        assert message.startswith(str(tmp_path / "song.mp3"))

    def test_other_and_hidden_files_are_ignored(self, tmp_path: Path, name: str, example: str) -> None:
        recordings(tmp_path, [example.split()[0]])
        for other in ("README.txt", ".hidden.wav", "__MACOSX/._03a01Fa.wav"):
            (tmp_path / other).parent.mkdir(exist_ok=True)
            (tmp_path / other).touch()
        assert len(read_corpus(name, tmp_path, {}).utterances) == 1


@pytest.mark.parametrize(
    ("name", "file"),
    [("emodb", "03a01Xa.wav"), ("savee", "DC/x01.wav"), ("savee", "DC_sx01.wav"), ("cremad", "1001_DFA_JOY_XX.wav")],
)
def test_an_unknown_code_of_emotion_is_refused_with_the_known_ones(tmp_path: Path, name: str, file: str) -> None:
    message = refusal(name, recordings(tmp_path, [file]))
    assert message.startswith(str(tmp_path / file))
    assert "anger" in message
    assert "neutral" in message


# Single corpora


def test_emodb_reads_names_from_either_folder(tmp_path: Path) -> None:
    recordings(tmp_path / "wav", EMODB_NAMES)
    (tmp_path / "erkennung.txt").touch()
    corpus = read_corpus("emodb", tmp_path, {})
    assert by_id(corpus) == {
        "03a01Fa.wav": ("03", "happiness", "a01"),
        "03a02Wb.wav": ("03", "anger", "a02"),
        "08b10Nc.wav": ("08", "neutral", "b10"),
    }
    assert corpus.emotions == tuple(EMODB_COUNTS)
    assert read_corpus("emodb", tmp_path / "wav", {}) == corpus


def test_counts_that_differ_are_told_by_class_and_speaker(tmp_path: Path) -> None:
    clips, speakers = read_corpus("emodb", recordings(tmp_path, [*EMODB_NAMES, "99a01Fa.wav"]), {}).warnings
    assert "4 clips" in clips
    assert "535" in clips
    assert "anger 1 of 127" in clips
    assert "boredom 0 of 81" in clips
    assert "3 speakers" in speakers
    assert "09, 10, 11, 12, 13 and 3 more missing" in speakers
    assert "99 unknown" in speakers


@pytest.mark.parametrize("inner", [".", "AudioData", "ALL"])
@pytest.mark.parametrize("names", [SAVEE_FOLDERS, SAVEE_FLAT])
def test_savee_reads_both_layouts_wherever_they_lie(tmp_path: Path, inner: str, names: tuple[str, ...]) -> None:
    recordings(tmp_path / inner, names)
    corpus = read_corpus("savee", tmp_path, {})
    assert by_id(corpus) == {
        names[0]: ("DC", "anger", "common01"),
        names[1]: ("JE", "neutral", "n30"),
        names[2]: ("KL", "surprise", "su04"),
    }
    assert corpus.emotions == ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")


def test_savee_is_complete_without_a_warning(tmp_path: Path) -> None:
    numbers = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    copies(
        tmp_path,
        [
            f"{s}/{code}{i:02d}.wav"
            for s in ("DC", "JE", "JK", "KL")
            for code, n in numbers.items()
            for i in range(1, n + 1)
        ],
    )
    corpus = read_corpus("savee", tmp_path, {})
    assert corpus.warnings == ()
    assert len(corpus.utterances) == 480
    of_sentence = Counter(u.sentence for u in corpus.utterances)
    assert of_sentence["common02"] == 4 * 7  # each speaker, each emotion
    assert of_sentence["sa04"] == 4


def test_savee_refuses_a_fifth_speaker(tmp_path: Path) -> None:
    assert "XY/a01.wav" in refusal("savee", recordings(tmp_path, ["DC/a01.wav", "XY/a01.wav"]))


@pytest.mark.parametrize("inner", [".", "AudioWAV"])
def test_cremad_reads_names_and_the_odd_one(tmp_path: Path, inner: str) -> None:
    recordings(tmp_path / inner, CREMAD_NAMES)
    if inner != ".":
        recordings(tmp_path / "AudioMP3", ["1001_DFA_ANG_XX.mp3"])  # the same clips again: not read
    corpus = read_corpus("cremad", tmp_path, {})
    assert by_id(corpus) == {
        "1001_DFA_ANG_XX.wav": ("1001", "anger", "DFA"),
        "1002_IEO_SAD_HI.wav": ("1002", "sadness", "IEO"),
        "1040_ITH_SAD_X.wav": ("1040", "sadness", "ITH"),
    }
    assert corpus.emotions == ("anger", "disgust", "fear", "happiness", "neutral", "sadness")


def test_cremad_is_complete_without_a_warning_and_misses_one(tmp_path: Path) -> None:
    # An actor says 11 sentences at one level and one at three; 3 clips a class, of neutral 5, were never published.
    said = [(s, "XX") for s in ("DFA", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")]
    loud = [*said, *(("IEO", level) for level in ("LO", "MD", "HI"))]
    takes = dict.fromkeys(("ANG", "DIS", "FEA", "HAP", "SAD"), loud) | {"NEU": [*said, ("IEO", "XX")]}
    names = []
    for code, pairs in takes.items():
        whole = [f"{actor}_{sentence}_{code}_{level}.wav" for actor in range(1001, 1092) for sentence, level in pairs]
        names += whole[: -5 if code == "NEU" else -3]
    copies(tmp_path, names)
    assert read_corpus("cremad", tmp_path, {}).warnings == ()
    (tmp_path / names[0]).unlink()
    (warning,) = read_corpus("cremad", tmp_path, {}).warnings
    assert "7441 clips" in warning
    assert warning.endswith("7442: anger 1270 of 1271")


def test_the_real_emodb_has_its_published_counts() -> None:
    if "SER_CORPORA" not in os.environ:
        pytest.skip("set SER_CORPORA to a folder that holds emodb/")
    corpus = read_corpus("emodb", Path(os.environ["SER_CORPORA"]) / "emodb", {})
    assert corpus.warnings == ()
    assert len(corpus.utterances) == 535
    assert len({u.speaker for u in corpus.utterances}) == 10
    assert len({u.sentence for u in corpus.utterances}) == 10
    assert Counter(u.emotion for u in corpus.utterances) == EMODB_COUNTS
