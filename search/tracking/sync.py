"""Spools and trackers brought together: while a sweep runs, and afterwards."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.home import Home
from search.tracking.runs import Runs
from search.tracking.sender import Sender
from search.tracking.spool import Spool, remember_tracker
from search.tracking.tracker import Tracker

AT_THE_END_S = 20.0  # without any success, after a sweep that ran to its end
WHEN_STOPPED_S = 4.0  # in all, after Ctrl-C or SIGTERM, when somebody waits


@contextmanager
def tracked(home: Home, name: str, tracker: Tracker | None) -> Iterator[Runs]:
    """The runs of a sweep; what is told of them in the block is sent meanwhile, and the rest at the end.

    Args:
        home: where the spool lies.
        name: of the sweep.
        tracker: to send to; None: everything stays in the spool.

    Raises:
        UserError: another process runs the sweep, or the spool cannot be written.
    """
    with Spool(home.spools / name) as spool:
        if tracker:
            remember_tracker(spool.folder, tracker.uri)
        sender = Sender(spool, tracker) if tracker else None
        at_most_s = WHEN_STOPPED_S
        try:
            yield Runs(spool)
            at_most_s = math.inf
        finally:
            if not (sender and sender.finish(AT_THE_END_S, at_most_s)):
                _say_unsent(home, spool.folder)


def settle(spool: Spool, tracker: Tracker | None) -> bool:
    """Close what a dead driver left open, and send all; whether all of it was sent."""
    Runs(spool).end_open()
    return Sender(spool, tracker).finish(AT_THE_END_S) if tracker else False


def spools(home: Home) -> list[Path]:
    """The folders of all spools of a home, by name."""
    return sorted(file.parent for file in home.spools.glob("*/records.jsonl"))


def _say_unsent(home: Home, folder: Path) -> None:
    command = f"python jobs/sync_tracking.py --home {home.root} --sweep {folder.name}"
    print(f"the tracker does not have all of it yet; later: {command}", file=sys.stderr, flush=True)  # noqa: T201  # a job's log
