"""Send to the tracker what sweeps could not: after a server was away, or a sweep ran with --offline.

    python jobs/sync_tracking.py                                      # all sweeps of ./runs, each to its own tracker
    python jobs/sync_tracking.py --sweep first --tracking-uri http://127.0.0.1:5000

Runs that a dead driver left open are closed as interrupted. Sending twice does no harm: runs are found by their key.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from jobs.shared.cli import run
from sermodels.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    sweep: str | None = None  # name of one sweep; if not given, all of the home folder
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # of the sweeps
    tracking_uri: str | None = os.environ.get("MLFLOW_TRACKING_URI")  # if not given, the one that each sweep had


def main(args: Args) -> None:
    """Send each spool in turn."""
    from search.home import open_home  # so that --help answers at once
    from search.tracking.spool import Spool, remembered_tracker
    from search.tracking.sync import settle, spools
    from search.tracking.tracker import Tracker

    home = open_home(args.home)
    found = [folder for folder in spools(home) if args.sweep in (None, folder.name)]
    if not found:
        raise UserError(f"{home.spools}: nothing logged by {args.sweep or 'any sweep'} is there")
    left = []
    for folder in found:
        tracker = Tracker(args.tracking_uri or remembered_tracker(folder) or home.tracking_uri, home.artifacts)
        tracker.connect()
        with Spool(folder) as spool:
            before = spool.unsent
            if not settle(spool, tracker):
                left.append(folder.name)
            print(f"{folder.name}: {before - spool.unsent} bytes sent to {tracker.uri}", file=sys.stderr)
    if left:
        raise UserError(f"not sent as a whole: {', '.join(left)}; type the same again to go on")


if __name__ == "__main__":
    run(main, Args)
