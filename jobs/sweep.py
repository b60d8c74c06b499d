"""Search for the best configuration: trials of teacher → match → student on Ray, runs in MLflow.

    python jobs/sweep.py --store runs/stores/synthetic.arrow --preset demo             # 2 cores: about 3 minutes
    python jobs/sweep.py --store runs/stores/emodb.arrow --preset cpu --name first     # at most 45 minutes
    python jobs/sweep.py --store runs/stores/emodb.arrow --preset cpu --dry-run        # what it would do
    python jobs/sweep.py --store STORE --preset full trials=200 gpus=0.5 'space.alpha=[1, 10]'

Presets: demo, cpu, full, paper, or the path of a YAML file of the same form. Words key=value change the preset.
Everything it makes lies below --home; jobs/export_best.py fetches the winner.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from _cli import run
from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Flags of the job."""

    store: Path
    """Spectrogram store, made by jobs/build_store.py; the same path on every node."""
    preset: str = "demo"
    """Name of a built-in preset, or path of a YAML file."""
    name: str | None = None
    """Of the sweep; the preset's name and the time, if left out."""
    trials: int | None = None
    """Configurations to train; the preset's number, if left out."""
    home: Path = Path(os.environ.get("SER_HOME", "runs"))
    """Where all state is kept. On a cluster: an absolute folder that every node sees."""
    tracking_uri: str | None = os.environ.get("MLFLOW_TRACKING_URI")
    """MLflow server or database; HOME/mlflow.db, if left out."""
    address: str | None = None
    """Ray cluster; RAY_ADDRESS, or a Ray of its own on this machine, if left out."""
    dry_run: bool = False
    """Check everything, say what would be done, and start nothing."""
    overrides: Positional[tuple[str, ...]] = ()
    """Changes to the preset, such as trials=4 chain.teacher.epochs=2 'space.alpha=[1, 10]'."""


def main(args: Args) -> None:
    """Plan, and unless it is a dry run, search."""
    from search.plan import describe, make_plan  # so that --help answers at once

    words = [*args.overrides, *([f"trials={args.trials}"] if args.trials is not None else [])]
    plan = make_plan(args.store, args.preset, words)
    if args.dry_run:
        print(describe(plan))
        return
    from search.home import open_home
    from search.report import summary
    from search.sweep import run_sweep
    from search.tracking import Tracker

    home = open_home(args.home)
    name = args.name or f"{Path(args.preset).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    tracker = Tracker(args.tracking_uri or home.tracking_uri, home.artifacts)
    result = run_sweep(plan, name, home, tracker, args.address)
    print(summary(result, name, home, tracker))


if __name__ == "__main__":
    run(main, Args)
