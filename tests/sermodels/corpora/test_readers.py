"""Every reader on small corpora of real files, in every layout, whole, incomplete and wrong."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sermodels import audio
from sermodels.corpora.read import READERS, read_corpus
from sermodels.corpora.utterance import Corpus
from sermodels.errors import UserError

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
CLASS_FOLDERS = ("anger/kim_1.wav", "neutral/lee_2.flac", "neutral/old/kim_3.OGG")


def recordings(folder: Path, names: Iterable[str]) -> Path:
    """Write a recording of 0.1 s under each name; returns `folder`."""
    samples = 0.1 * np.sin(np.arange(800) / 5)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 8000)
    return folder


def copies(folder: Path, names: Iterable[str]) -> Path:
    """Like recordings, but encoded once, for thousands of files."""
    recordings(folder, ["first.wav"])
    encoded = (folder / "first.wav").read_bytes()
    (folder / "first.wav").unlink()
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    return folder


def table(folder: Path, *lines: str) -> Path:
    """A CSV file of these lines, beside the recordings a.wav, b.wav and sub/c.flac."""
    recordings(folder, ["a.wav", "b.wav", "sub/c.flac"])
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "list.csv"


def by_id(corpus: Corpus) -> dict[str, tuple[str, str, str | None]]:
    return {u.id: (u.speaker, u.emotion, u.sentence) for u in corpus.utterances}


def refusal(name: str, root: Path, **options: Any) -> str:
    """The one line with which reading ends."""
    with pytest.raises(UserError) as caught:
        read_corpus(name, root, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


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


HEADER = "file,speaker,emotion,sentence"


def test_csv_reads_columns_in_any_order_from_file_or_folder(tmp_path: Path) -> None:
    path = table(
        tmp_path, "\ufeffemotion, file,sentence,speaker", '"sad, very",sub/../sub/c.flac,s1,kim', "", "glad,a.wav,,lee"
    )
    corpus = read_corpus("csv", path, {})
    assert by_id(corpus) == {"a.wav": ("lee", "glad", None), "sub/c.flac": ("kim", "sad, very", "s1")}
    assert corpus.emotions == ("glad", "sad, very")
    assert corpus.warnings == ()
    assert read_corpus("csv", tmp_path, {}) == corpus


def test_csv_names_columns_that_it_does_not_use(tmp_path: Path) -> None:
    path = table(tmp_path, "file,speaker,emotion,sentense", "a.wav,1,sad,x", "b.wav,1,glad,y")
    (warning,) = read_corpus("csv", path, {}).warnings
    assert "sentense" in warning


@pytest.mark.parametrize(
    ("lines", "place", "reason"),
    [
        (["file,speakr,emotion", "a.wav,1,sad"], ", line 1: ", "column 'speaker' is missing; is 'speakr' meant?"),
        (["file;speaker;emotion", "a.wav;1;sad"], ", line 1: ", "found are 'file;speaker;emotion'"),
        (["file,speaker,emotion,file", "a.wav,1,sad,b.wav"], ", line 1: ", "'file' appears twice"),
        ([HEADER, "a.wav,1,sad,", "b.wav,,sad,"], ", line 3: ", "speaker is empty"),
        ([HEADER, "a.wav,1"], ", line 2: ", "emotion is empty"),
        ([HEADER, "a.wav,1,sad,well, yes"], ", line 2: ", "5 fields for 4 columns"),
        ([HEADER, "", "no.wav,1,sad,"], ", line 3: ", "no.wav"),
        ([HEADER, "sub,1,sad,"], ", line 2: ", "sub"),
        ([HEADER, "/a.wav,1,sad,"], ", line 2: ", "absolute"),
        (
            [HEADER, "a.wav,1,sad,", "b.wav,1,glad,", "./a.wav,2,sad,"],
            ", line 4: ",
            "a.wav is already listed in line 2",
        ),
        ([HEADER, 'a.wav,"1,sad,'], ", line 2: ", "not CSV"),
        ([HEADER, "a.wav,1,sad,", "b.wav,1,sad,"], ": ", "'sad'"),
        ([HEADER], ": ", "no rows"),
        ([], ": ", "no rows"),
    ],
)
def test_csv_errors_name_the_line(tmp_path: Path, lines: list[str], place: str, reason: str) -> None:
    path = table(tmp_path, *lines)
    message = refusal("csv", path)
    assert message.startswith(f"{path}{place}")
    assert reason in message


def test_csv_refuses_what_is_no_table(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER)
    assert "cannot be read" in refusal("csv", tmp_path / "missing.csv")
    assert "UTF-8" in refusal("csv", tmp_path / "a.wav")
    assert "found none" in refusal("csv", tmp_path / "sub")
    path.with_name("other.csv").touch()
    assert "list.csv, other.csv" in refusal("csv", tmp_path)


def test_the_real_emodb_has_its_published_counts() -> None:
    if "SER_CORPORA" not in os.environ:
        pytest.skip("set SER_CORPORA to a folder that holds emodb/")
    corpus = read_corpus("emodb", Path(os.environ["SER_CORPORA"]) / "emodb", {})
    assert corpus.warnings == ()
    assert len(corpus.utterances) == 535
    assert len({u.speaker for u in corpus.utterances}) == 10
    assert len({u.sentence for u in corpus.utterances}) == 10
    assert Counter(u.emotion for u in corpus.utterances) == EMODB_COUNTS
