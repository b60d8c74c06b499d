"""Each kind of mistake that tyro draws a box about, against the installed tyro: the line that is made of it."""

import io
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from tyro.conf import Positional

from jobs.shared.cli import words as options
from jobs.shared.parsing import Alone, parse
from sermodels.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Args:
    """Some of every kind."""

    words: Positional[tuple[str, ...]] = ()
    store: str  # where it lies
    trials: int = 3
    side: Literal["test", "valid"] = "test"
    resume: Annotated[Literal["yes", "no"], Alone("yes")] = "no"


def parsed(*words: str) -> Args:
    return parse(Args, words, "A job.", "job")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "Missing from job: --store STR where it lies (required)"),
        (("--store",), "Missing value for argument '--store'. Expected 1 values"),
        (("--store", "s", "--trials", "x"), "Error parsing --trials: invalid literal for int() with base 10: 'x'"),
        (
            ("--store", "s", "--side", "x"),
            "invalid choice 'x' for argument '--side'. Expected one of ('test', 'valid')",
        ),
        (("--store", "s", "--trails", "4"), "Unrecognized options: --trails, 4"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_mistake_is_one_line(words, line, encoding, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))  # decides how boxes are drawn
    with pytest.raises(UserError) as mistake:
        parsed(*words)
    assert str(mistake.value) == f"{line}; see --help"


@pytest.mark.parametrize(
    ("words", "resume", "rest"),
    [
        (("--resume",), "yes", ()),
        (("--resume", "trials=40"), "yes", ("trials=40",)),
        (("--resume", "no"), "no", ()),
        (("--resume", "--trials", "4"), "yes", ()),
        ((), "no", ()),
    ],
)
def test_a_flag_that_may_stand_alone(words, resume, rest):
    args = parsed("--store", "s", *words)
    assert (args.resume, args.words) == (resume, rest)


def test_help_ends_with_code_0(capsys):
    with pytest.raises(SystemExit, match="0"):
        parsed("--help")
    assert "A job." in capsys.readouterr().out


def test_options_that_are_whole_numbers_are_numbers():
    given = ("seed=-1", "speakers=12", "speaker_regex=[^/]+", "scale=2.5", "sign=-")
    assert options(given) == {"seed": -1, "speakers": 12, "speaker_regex": "[^/]+", "scale": "2.5", "sign": "-"}
    with pytest.raises(UserError, match="'seed' is not of the form key=value"):
        options(["seed"])
