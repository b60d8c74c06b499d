"""What all jobs share: the command line, one line for a mistake, the exit code."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sermodels.errors import UserError

Args = TypeVar("Args")


def run(
    main: Callable[[Args], None], args_type: type[Args], words: Sequence[str] | None = None, prog: str | None = None
) -> None:
    """Parse the command line and call `main`; the docstring of its module is the help text.

    Args:
        main: the job.
        args_type: a dataclass, one flag a field; see `parse`.
        words: the command line behind the name of the program; None: that of this process.
        prog: the name of the program in help and errors; None: the path of the script.

    Raises:
        SystemExit: see `exit_codes`.
    """
    from jobs.shared.parsing import parse  # `ser` alone does without tyro, which takes 0.1 s

    with exit_codes():
        description = sys.modules[main.__module__].__doc__ or ""
        main(parse(args_type, sys.argv[1:] if words is None else words, description, prog))


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the process as a job ends: a mistake is one line, not a traceback.

    Raises:
        SystemExit: code 2 after one line on standard error for a mistake of the user or a full disk, 130 after Ctrl-C
            or SIGTERM.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is open gets closed
    try:
        yield
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
        result[key] = int(text) if text.removeprefix("-").isdecimal() else text
    return result
