"""A CSV file that lists recordings: its columns, its lines, and what is refused."""

from pathlib import Path

import pytest
from made import by_id, refusal, table

from sermodels.corpora.read import read_corpus

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
