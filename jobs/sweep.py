"""Search for the best configuration: trials of teacher → match → student on Ray, runs in MLflow.

    python jobs/sweep.py --store runs/stores/synthetic.arrow --preset demo             # 2 cores: about 2 minutes
    python jobs/sweep.py --store runs/stores/emodb.arrow --preset cpu --name first     # at most 45 minutes
    python jobs/sweep.py --store runs/stores/emodb.arrow --preset cpu --dry-run        # what it would do
    python jobs/sweep.py --store STORE --preset full trials=200 gpus=0.5 'space.alpha=[1, 10]'

    python jobs/sweep.py … --name first --resume            # the same command again, after whatever ended it
    python jobs/sweep.py … --name first --resume trials=40  # or with more trials than before

Presets: demo, cpu, full, paper, or the path of a YAML file of the same form. Words key=value change the preset.
Everything it makes lies below --home; jobs/export_best.py fetches the winner.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jobs.shared.cli import run
from jobs.shared.parsing import Alone
from jobs.shared.supervise import end_with_supervisor, is_supervised, supervise
from sermodels.errors import UserError

# Of --help. No docstrings below their fields: a line break in one would be offered for completion by a shell.
STORE = (
    "Made by jobs/build_store.py: a path, on a cluster the same on every node; or an address that each node fetches it "
    "from once, such as s3://bucket/emodb.arrow."
)
RESUME = (
    "Go on with the sweep of this name: --resume. `auto` begins it if there is none, and goes on by itself when its "
    "process dies: for Ray jobs."
)


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    overrides: Annotated[Positional[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()  # changes to the preset
    store: Annotated[str, arg(help=STORE)]
    preset: str = "demo"  # name of a built-in preset, or path of a YAML file
    name: str | None = None  # of the sweep; if not given, the preset's name and the time
    trials: int | None = None  # configurations to train; if not given, the preset's number
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # all state; on a cluster, a folder that every node sees
    tracking_uri: str | None = os.environ.get("MLFLOW_TRACKING_URI")  # if not given, the database HOME/mlflow.db
    address: str | None = None  # of a Ray cluster; if not given, RAY_ADDRESS, or a Ray of its own on this machine
    resume: Annotated[Literal["yes", "no", "auto"], Alone("yes"), arg(help=RESUME)] = "no"
    fresh: bool = False  # put the sweep of this name aside and begin anew; finished stages are used in any case
    retry_failed: bool = False  # with --resume: train configurations again that failed
    offline: bool = False  # begin without a tracker; jobs/sync_tracking.py sends the runs later
    prune_cache: float | None = None  # GB: keep HOME/stages below it, dropping what was least recently used
    dry_run: bool = False  # check everything, say what would be done, and start nothing


def main(args: Args) -> None:
    """Plan, and unless it is a dry run, search."""
    if args.resume == "auto" and not args.dry_run:
        if not args.name:
            raise UserError("--resume auto needs a --name to find the sweep by")
        if not is_supervised():
            sys.exit(supervise())
        end_with_supervisor()
    from jobs.shared.store import found  # so that --help answers at once
    from search.run.plan import describe, make_plan
    from search.space.preset import load
    from sermodels.store.fetch import is_address

    if args.prune_cache is not None and not args.prune_cache >= 0:
        raise UserError(f"--prune-cache {args.prune_cache:g}: must be 0 or more, in GB")
    if args.resume != "no" and args.fresh:
        raise UserError("--resume and --fresh exclude each other: go on with the sweep, or begin anew")

    if args.retry_failed and args.resume == "no":
        raise UserError("--retry-failed goes with --resume: nothing has failed in a sweep that begins")

    words = [*args.overrides, *([f"trials={args.trials}"] if args.trials is not None else [])]
    load(args.preset, words)  # a mistake there is to cost no download
    plan = make_plan(found(args.store), args.preset, words, address=args.store if is_address(args.store) else None)
    if args.dry_run:
        print("timing a few training steps of each network", file=sys.stderr)
        print(describe(plan))
        return
    from search.home import open_home
    from search.run.summary import summary
    from search.run.sweep import run_sweep
    from search.tracking.tracker import Tracker

    home = open_home(args.home)
    name = args.name or f"{Path(args.preset).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    tracker = Tracker(args.tracking_uri or home.tracking_uri, home.artifacts)
    result = run_sweep(
        plan,
        name,
        home,
        tracker,
        resume=args.resume,
        fresh=args.fresh,
        retry_failed=args.retry_failed,
        offline=args.offline,
        address=args.address,
        cache_gb=args.prune_cache,
    )
    print(summary(result, name, home, tracker))


if __name__ == "__main__":
    run(main, Args)
