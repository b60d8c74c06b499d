"""What all jobs share: the command line, one line for a mistake, the exit code."""

import contextlib
import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import dropwhile, takewhile, zip_longest
from typing import TypeVar

import tyro

from sermodels.errors import UserError

Args = TypeVar("Args")


def run(main: Callable[[Args], None], args_type: type[Args], bare: Mapping[str, tuple[str, ...]] | None = None) -> None:
    """Parse the command line and call `main`; the docstring of its module is the help text.

    Args:
        main: the job.
        args_type: a dataclass, one flag a field.
        bare: flags that may stand without a value → their values, the first being the one that is meant then.

    Raises:
        SystemExit: code 2 after one line on standard error for a mistake of the user or a full disk, 130 after Ctrl-C
            or SIGTERM.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is open gets closed
    try:
        args = _completed(sys.argv[1:], bare or {})
        main(_parse(args_type, args, sys.modules[main.__module__].__doc__ or ""))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read the answers has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}; make room and type the same again", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def words(options: Iterable[str]) -> dict[str, int | str]:
    """`key=value` words as a dict; whole numbers are numbers.

    Not read as YAML, to which a regular expression like `[^/]+` is a list.

    Raises:
        UserError: a word without "=".
    """
    result: dict[str, int | str] = {}
    for word in options:
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise UserError(f"command line: {word!r} is not of the form key=value")
        result[key] = int(text) if text.isdecimal() else text
    return result


def _completed(args: list[str], bare: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The command line with the values that were left out."""
    whole = []
    for arg, following in zip_longest(args, args[1:]):
        whole.append(arg)
        if arg in bare and following not in bare[arg]:
            whole.append(bare[arg][0])
    return whole


def _parse(args_type: type[Args], args: list[str], description: str) -> Args:
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(args_type, args=args, description=description, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as end:
        if end.code:
            print(f"error: {_one_line(shown.getvalue())}; see --help", file=sys.stderr)
        raise


def _one_line(box: str) -> str:
    """The message of tyro's box, drawn in UTF-8 or ASCII: what stands under its title, down to the next rule."""
    _title, *lines = re.sub(r"\x1b\[[\d;]*m", "", box).strip().splitlines()
    rows = [line.strip(" │╰╯") for line in lines]
    message = takewhile(_is_text, dropwhile(lambda row: not _is_text(row), rows))
    return " ".join(message).rstrip(".") or box.strip()


def _is_text(row: str) -> bool:
    return bool(row.strip("─-"))
