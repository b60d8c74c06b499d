"""The report of a sweep as one HTML file: what won, by how much, why, and whether to believe it.

    python jobs/report.py --sweep first
    python jobs/report.py --sweep first --out report.html

Written when a sweep has finished, too, and kept as an artifact of its run; this job writes it at any time, while a
sweep is running or after it was interrupted. One page: 0.2 MB for ten trials, 0.8 MB for 300.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from jobs.shared.cli import run


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    sweep: str  # name of the sweep
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # that it was run with
    out: Path | None = None  # file to write; if not given, HOME/spool/SWEEP/report/report.html


def main(args: Args) -> None:
    """Write the report and say where it is."""
    from search.home import open_home  # so that --help answers at once
    from search.report.page import write_report

    home = open_home(args.home)
    path = args.out or home.report(args.sweep)
    write_report(home, args.sweep, path)
    print(path)


if __name__ == "__main__":
    run(main, Args)
