"""Fetch the best configuration of a finished sweep: a folder that labels recordings anywhere.

    python jobs/export_best.py --sweep first --out best
    python jobs/export_best.py --sweep first --out best --store runs/stores/emodb.arrow --recordings EMODB
    python jobs/export_best.py --sweep first --out best --tracking-uri http://127.0.0.1:5000 --register ser

It holds an ONNX graph from waveform to probabilities, weights, settings, labels, figures, and a model card. With
--store and --recordings the sweep's test figures are computed again from it, and ONNX is compared with PyTorch on the
test clips; a model that does not reproduce them is not written. With --register it becomes a version in MLflow's
registry, to be served by `mlflow models serve -m models:/NAME@champion`; it is made the champion if its validation UAR
is better than the present champion's beyond noise.

Use it with jobs/predict.py, jobs/evaluate.py, and jobs/train.py --config best/config.yaml.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.shared.cli import run
from sermodels.errors import UserError

if TYPE_CHECKING:
    from search.publish.registry import Registered


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    sweep: str  # name of the sweep
    out: Path = Path("best")  # folder to make; an earlier export there is replaced
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # of the sweep
    tracking_uri: str | None = os.environ.get("MLFLOW_TRACKING_URI")  # if not given, the database HOME/mlflow.db
    store: str | None = None  # that the sweep searched on: computes the test figures again
    recordings: Path | None = None  # folder of its corpus: compares ONNX with PyTorch there
    register: str | None = None  # name in MLflow's registry to make a version of
    force: bool = False  # with --register: make it the champion, whatever the present one's figures


def main(args: Args) -> None:
    """Fetch, check, write."""
    from jobs.shared.device import use  # so that --help answers at once
    from jobs.shared.store import found
    from search.home import open_home
    from search.publish.export import export_best
    from search.tracking.tracker import Tracker
    from sermodels.deploy.complete import complete
    from sermodels.store.open import open_store

    if args.force and not args.register:
        raise UserError("--force: is about the champion of a registered model: give --register NAME, too")
    if args.register is not None:
        from search.publish.registry import check_name

        check_name(args.register)
    use("cpu", threads=1)
    home, store = open_home(args.home), open_store(found(args.store)) if args.store else None
    tracker = Tracker(args.tracking_uri or home.tracking_uri, home.artifacts)
    tracker.connect()

    def finish(folder: Path) -> None:
        _say(f"exporting to {args.out}: some 15 s, more with many recordings")
        complete(folder, store, args.recordings, _say)

    bundle, of_sweep = export_best(tracker, args.sweep, args.out, finish)
    test = bundle.metrics["test"]
    print(f"{args.out}: student of depth {bundle.config.student.depth} on patches of {bundle.config.patch}")
    print(f"test UAR {test['uar']:.3f}, WA {test['wa']:.3f} on {test['rows']} clips, protocol {test['protocol']}")
    if args.register is not None:
        from search.publish.registry import register

        print(_told(args.register, register(tracker.client, of_sweep, args.out, args.register, force=args.force)))


def _told(name: str, registered: "Registered") -> str:
    state = "is the champion" if registered.champion else "is not made the champion"
    return f"{name}, version {registered.version}, {state}: {registered.why}"


def _say(check: str) -> None:
    print(check, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(main, Args)
