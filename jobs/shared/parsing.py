"""A command line as a dataclass, by tyro: the only place that leans on how tyro draws its errors."""

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile, zip_longest
from typing import Any, TypeVar, get_args, get_type_hints

import tyro

from sermodels.errors import UserError

Args = TypeVar("Args")
SHELLS = ("bash", "zsh", "fish")  # that tyro completes for by itself
_CONFIG = (tyro.conf.FlagCreatePairsOff,)


@dataclass(frozen=True)
class Alone:
    """In the annotation of a field of Literal type: its flag may stand without a value, and means this one then."""

    value: str


def parse(args_type: type[Args], words: Sequence[str], description: str, prog: str | None) -> Args:
    """Parse a command line.

    Args:
        args_type: a dataclass, one flag a field.
        words: the command line behind the name of the program.
        description: shown by --help.
        prog: the name of the program in help and errors; None: the path of the script.

    Raises:
        UserError: words that do not make up an `args_type`.
        SystemExit: code 0 after --help.
    """
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            whole = _completed(words, args_type)
            return tyro.cli(args_type, prog=prog, args=whole, description=description, config=_CONFIG)
    except SystemExit as end:
        if end.code:
            raise UserError(f"{_one_line(shown.getvalue())}; see --help") from None
        raise


def completion(commands: Mapping[str, type], prog: str, shell: str) -> str:
    """Return the script by which a shell completes the commands of a program, their flags and their values.

    Args:
        commands: the dataclass of each command, by its name.
        prog: the name of the program.
        shell: one of SHELLS.
    """
    words, written = ["--tyro-write-completion", shell, "-"], io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(dict(commands), prog=prog, args=words, config=_CONFIG)
    # The script for bash would complete no file names; those for zsh and fish do.
    return written.getvalue().replace("complete -F ", "complete -o default -F ")


def _completed(words: Sequence[str], args_type: type) -> list[str]:
    """The command line with the values that were left out."""
    alone = _alone(args_type)
    whole = []
    for word, following in zip_longest(words, words[1:]):
        whole.append(word)
        if word in alone and following not in alone[word][1]:
            whole.append(alone[word][0])
    return whole


def _alone(args_type: type) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """Flags that may stand alone → the value meant then, all values."""
    flags = {}
    for name, hint in get_type_hints(args_type, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Alone):
                flags[f"--{name.replace('_', '-')}"] = (mark.value, get_args(get_args(hint)[0]))
    return flags


def _one_line(box: str) -> str:
    """The message of tyro's box, drawn in UTF-8 or ASCII: what stands under its title, down to the next rule.

    tyro has no other door: it prints the box and exits. A test holds each kind of message against the installed tyro.
    """
    _title, *lines = re.sub(r"\x1b\[[\d;]*m", "", box).strip().splitlines()
    rows = [line.strip(" │╰╯") for line in lines]
    message = takewhile(_is_text, dropwhile(lambda row: not _is_text(row), rows))
    return " ".join(message).rstrip(".") or box.strip()


def _is_text(row: str) -> bool:
    return bool(row.strip("─-"))
