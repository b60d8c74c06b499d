"""How far a job is: a bar in a terminal, a plain line now and then in a log; both on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callable that takes how many of `what` are done, and of how many."""
    if not sys.stderr.isatty():
        yield _lines(what)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # Not redirected: what a job prints belongs to its standard output, which may be a file.
    kept = {"redirect_stdout": False, "redirect_stderr": False}
    with Progress(*columns, console=Console(stderr=True), transient=True, **kept) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Callable[[int, int], None]:
    start = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            print(f"{what}: {done} of {total} after {now - start:.0f} s", file=sys.stderr, flush=True)

    return report
