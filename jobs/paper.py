"""The paper's tables, measured: every system in them that can be built, beside the figure that the paper prints.

    python jobs/paper.py --store runs/stores/emodb.arrow --table complexity
    python jobs/paper.py --store runs/stores/emodb.arrow --table all --size reduced
    python jobs/paper.py --store STORE --protocol paper --systems teacher student --seeds 0 1 2 --gpus 0.5

--protocol says who is tested: speaker (speakers never heard, in five parts), loso (one at a time), utterance (clips),
sentence, speaker-sentence (of its 25 parts five, which hear everybody once, if --folds names no others), or paper: a
fifth of all views, drawn after augmentation, which leaks. Nothing is chosen by these figures: configurations are the
paper's, figures those of the last epoch.

Ray trains each stage once and keeps it in HOME/stages; each finished lane is kept in OUT/measured.json, whoever trained
it, so the same command goes on after any interruption, and other folds, seeds and machines add to the same tables.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from _cli import run

from sermodels.errors import UserError

if TYPE_CHECKING:
    from reproduction.results import Results

    from search.stage_graph import Place, Wanted


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    store: str  # made by jobs/build_store.py: a path, or an address such as s3://bucket/emodb.arrow
    table: Literal["1", "2", "complexity", "patches", "ablation", "all"] = "all"
    protocol: Literal["paper", "utterance", "speaker", "loso", "sentence", "speaker-sentence"] = "speaker"
    size: Literal["full", "reduced"] = "full"  # the paper's networks and training, or what two cores can do in an hour
    systems: tuple[str, ...] = ()  # only these of the tables' systems, by their names in reproduction/systems.yaml
    folds: tuple[int, ...] = ()  # if not given, all (of speaker-sentence the first five)
    seeds: tuple[int, ...] = (0,)
    ast_weights: Path | None = None  # folder of an ImageNet DeiT that AST at full size starts from
    out: Path | None = None  # folder for tables and measured.json; if not given, HOME/paper
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # finished stages are kept in HOME/stages
    address: str | None = None  # of a Ray cluster
    cpus: float = 1  # cores, and threads, of a task
    gpus: float = 0  # GPUs, or a part of one, of a task
    dry_run: bool = False  # say what would be trained, and stop


def main(args: Args) -> None:
    """Plan, train, write."""
    from _store import found  # so that --help answers at once
    from reproduction.plan import Plan
    from reproduction.results import Results
    from reproduction.systems import read_book
    from reproduction.writing import write_tables

    from search.home import open_home
    from search.stage_graph import Place
    from sermodels.store import open_store
    from sermodels.store_fetch import is_address

    book, home = read_book(), open_home(args.home)
    plan = Plan(
        book=book,
        store=open_store(found(args.store)),
        address=args.store if is_address(args.store) else None,
        stores=home.root / "stores",
        protocol=args.protocol,
        size=args.size,
        folds=args.folds,
        seeds=args.seeds,
        ast_weights=args.ast_weights,
        gpu=args.gpus > 0,
    )
    tables = list(book.tables) if args.table == "all" else [args.table]
    wanted = plan.wanted(tables, args.systems)
    out = args.out or home.root / "paper"
    results = Results(out / "measured.json")
    lanes = {key: name for name, one in wanted.items() for key in one.keys()}  # noqa: SIM118
    missing = {key: name for key, name in lanes.items() if key not in results}
    print(f"{len(lanes)} lanes of {len(wanted)} systems, {len(missing)} to train", file=sys.stderr)
    if args.dry_run:
        print("\n".join(f"{name}: {book.system(name).title}" for name in dict.fromkeys(missing.values())))
        return
    place = Place(stages=str(home.stages), cpus=args.cpus, gpus=args.gpus, owner="paper")
    failures = _train([wanted[name] for name in dict.fromkeys(missing.values())], missing, place, results, args.address)
    print(write_tables(plan, tables, wanted, results, out))
    print(f"tables, as .md, .csv and .json, and {results.path.name} are in {out}", file=sys.stderr)
    if failures:
        raise UserError(f"{len(failures)} tasks failed, the first: {failures[0]}")


def _train(
    wanted: "Sequence[Wanted]", missing: dict[str, str], place: "Place", results: "Results", address: str | None
) -> list[str]:
    """Train and test, keeping each lane as it comes; returns why tasks failed.

    Args:
        wanted: configurations with a missing lane.
        missing: the key of each missing lane → its system.
        place: where to train.
        results: to add to.
        address: of a Ray cluster.
    """
    if not missing:
        return []
    from search.cluster import ray_session
    from search.stage_graph import run_graph

    failures, done, began = [], 0, time.monotonic()
    with ray_session(address):
        for lanes, failure in run_graph(wanted, place):
            results.add(lanes)
            failures += [failure] if failure else []
            for key in lanes.keys() & missing.keys():
                done += 1
                lane, minutes = lanes[key], (time.monotonic() - began) / 60
                left = minutes / done * (len(missing) - done)
                figures = f"WA {lane['wa']:.3f}, UAR {lane['uar']:.3f}"
                told = f"{missing[key]}, fold {lane['fold']}, seed {lane['seed']}: {figures}"
                far = f"{done}/{len(missing)} lanes, {minutes:.0f} min, about {left:.0f} left"
                print(f"{far}: {told}", file=sys.stderr, flush=True)
            if failure:
                print(f"failed: {failure}", file=sys.stderr, flush=True)
    return failures


if __name__ == "__main__":
    run(main, Args)
