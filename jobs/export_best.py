"""Fetch the best configuration of a finished sweep: a folder with weights, settings, labels and figures.

    python jobs/export_best.py --sweep first --out best
    python jobs/export_best.py --sweep first --out best --tracking-uri http://127.0.0.1:5000   # from any machine

Use it with jobs/predict.py, jobs/evaluate.py, and jobs/train.py --config best/config.yaml.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from _cli import run


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    sweep: str  # name of the sweep
    out: Path = Path("best")  # folder to make; an earlier export there is replaced
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # of the sweep
    tracking_uri: str | None = os.environ.get("MLFLOW_TRACKING_URI")  # if not given, the database HOME/mlflow.db


def main(args: Args) -> None:
    """Fetch, check, write."""
    from search.export import export_best  # so that --help answers at once
    from search.home import open_home
    from search.tracking.tracker import Tracker

    home = open_home(args.home)
    tracker = Tracker(args.tracking_uri or home.tracking_uri, home.artifacts)
    tracker.connect()
    bundle = export_best(tracker, args.sweep, args.out)
    test = bundle.metrics["test"]
    print(f"{args.out}: student of depth {bundle.config.student.depth} on patches of {bundle.config.patch}")
    print(f"test UAR {test['uar']:.3f}, WA {test['wa']:.3f} on {test['rows']} clips, protocol {test['protocol']}")


if __name__ == "__main__":
    run(main, Args)
