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
    """Flags of the job."""

    sweep: str
    """Name of the sweep."""
    out: Path = Path("best")
    """Folder to make; an earlier export there is replaced."""
    home: Path = Path(os.environ.get("SER_HOME", "runs"))
    """Where the sweep kept its state, if no tracking server was used."""
    tracking_uri: str | None = os.environ.get("MLFLOW_TRACKING_URI")
    """MLflow server or database; HOME/mlflow.db, if left out."""


def main(args: Args) -> None:
    """Fetch, check, write."""
    from search.export import export_best  # so that --help answers at once
    from search.home import open_home
    from search.tracking import Tracker

    home = open_home(args.home)
    tracker = Tracker(args.tracking_uri or home.tracking_uri, home.artifacts)
    bundle = export_best(tracker, args.sweep, args.out)
    test = bundle.metrics["test"]
    print(f"{args.out}: student of depth {bundle.config.student.depth} on patches of {bundle.config.patch}")
    print(f"test UAR {test['uar']:.3f}, WA {test['wa']:.3f} on {test['rows']} clips, protocol {test['protocol']}")


if __name__ == "__main__":
    run(main, Args)
