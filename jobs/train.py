"""Train one configuration: teacher, match, student. No Ray, no MLflow.

    python jobs/train.py --store runs/stores/emodb.arrow
    python jobs/train.py --store STORE --config best/config.yaml --out DIR
    python jobs/train.py --store STORE --config best/config.yaml --out final --all-data
    python jobs/train.py --store STORE teacher.depth=2 student.lr=3e-4 'folds=[0, 1]'

Settings are those of sermodels/config/settings.py: the paper's, if not given. Progress goes to standard error; standard
output has one line of JSON, the validation figures, on a CPU the same to the bit for the same chain. --out writes the
student as jobs/export_best.py writes a sweep's best. --all-data trains a configuration that has been chosen on train
and validation side together, for as many epochs; the test side stays aside. Interrupted, it goes on from the last
epoch. On one core a step of the paper's teacher takes about 0.45 s, of its student 0.06 s: on EmoDB the whole is about
3 hours.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jobs.shared.cli import run
from sermodels.config.parsing import load_yaml, merged, parse, parse_overrides, to_plain
from sermodels.config.settings import ChainConfig
from sermodels.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    settings: Annotated[Positional[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()  # changes to the configuration
    store: str  # made by jobs/build_store.py: a path, or an address such as s3://bucket/emodb.arrow
    config: Path | None = None  # YAML file of settings
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # finished stages are kept in HOME/stages
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1  # of PyTorch on the CPU
    all_data: bool = False  # train on the validation side, too: for a configuration that has been chosen
    out: Path | None = None  # folder for the student of the first fold and seed; an older one is replaced


def main(args: Args) -> None:
    """Check all that was given, train, write."""
    from jobs.shared.device import use  # so that --help answers at once
    from jobs.shared.epochs import shown
    from jobs.shared.store import found
    from search.home import open_home
    from sermodels.deploy.complete import complete
    from sermodels.evaluation.evaluate import run_figures
    from sermodels.store.open import open_store
    from sermodels.training.bundle import FINGERPRINT, check_replaceable, write_bundle
    from sermodels.training.cache import StageCache
    from sermodels.training.chain import Chain
    from sermodels.training.data import TrialData
    from sermodels.training.losses import NonFiniteLossError

    config = parse(ChainConfig, load_yaml(args.config), str(args.config)) if args.config else ChainConfig()
    changes = parse_overrides(args.settings)
    if args.all_data and changes.get("all_data", True) is not True:
        raise UserError("--all-data and all_data=false exclude each other")
    if args.all_data:  # all folds would train on the same clips: of those in a file the first is meant
        changes = {"folds": config.folds[:1]} | changes | {"all_data": True}
    config = parse(ChainConfig, merged(to_plain(config), changes), "command line")
    if args.out:
        check_replaceable(args.out)
    device, store = use(args.device, args.threads), open_store(found(args.store))
    data, stacked = TrialData(store, config, device), device != "cpu"
    chain = Chain(config, data, StageCache(open_home(args.home).stages), stacked=stacked)
    try:
        with shown(data, config, stacked=stacked) as told:
            result = chain.run(*told)
    except NonFiniteLossError as error:
        raise UserError(f"{error}: training diverged; lower the lr of this stage or of one before it") from None
    trained, reused = sum(result.trained_seconds.values()), sum(result.reused_seconds.values())
    print(f"trained {trained:.1f} s, reused {reused:.1f} s", file=sys.stderr)
    figures, student = run_figures(result, store, config), chain.network("student", 0)
    if args.out:
        parts = {"emotions": store.emotions, "frontend": store.frontend, "network": student, "metrics": figures}
        write_bundle(args.out, config=config, finish=complete, **parts)
    print(json.dumps(figures["validation"] | {FINGERPRINT: store.fingerprint}))


if __name__ == "__main__":
    run(main, Args)
