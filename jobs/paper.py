"""The paper's tables, measured: every system in them that can be built, beside the figure that the paper prints.

    python jobs/paper.py --store runs/stores/emodb.arrow --table complexity
    python jobs/paper.py --store runs/stores/emodb.arrow --table all --size reduced
    python jobs/paper.py --store STORE --protocol paper --systems teacher student --seeds 0 1 2 --gpus 0.5

--protocol says who is tested: speaker (speakers never heard, in five parts), loso (one at a time), utterance (clips),
sentence, speaker-sentence (of its 25 parts five, which hear everybody once, if --folds names no others), or paper: a
fifth of all views, drawn after augmentation, which leaks. Nothing is chosen by these figures: configurations are the
paper's, figures those of the last epoch.

Ray trains each stage once and keeps it in HOME/stages; each finished lane is kept in OUT/measured.json, whoever trained
it, so the same command goes on after any interruption, and other seeds, systems and machines add to the same tables,
which lie in a folder of OUT for each store and size.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.shared.cli import run
from sermodels.errors import UserError


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
    out: Path | None = None  # folder for measured.json and tables; if not given, HOME/paper
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # finished stages are kept in HOME/stages
    address: str | None = None  # of a Ray cluster
    cpus: float = 1  # cores, and threads, of a task
    gpus: float = 0  # GPUs, or a part of one, of a task
    dry_run: bool = False  # say what would be trained, and stop


def main(args: Args) -> None:
    """Plan, train, write."""
    from jobs.reproduction.plan import Plan, usual_folds
    from jobs.reproduction.results import Results
    from jobs.reproduction.run import train
    from jobs.reproduction.systems import read_book
    from jobs.reproduction.writing import write_tables
    from jobs.shared.store import found  # so that --help answers at once
    from search.home import open_home, outside_a_job
    from search.run.stage_graph import Place
    from sermodels.store.fetch import is_address
    from sermodels.store.open import open_store

    book, home, store = read_book(), open_home(args.home), open_store(found(args.store))
    out = outside_a_job("--out", args.out) if args.out else home.root / "paper"
    plan = Plan(
        book=book,
        store=store,
        address=args.store if is_address(args.store) else None,
        stores=home.root / "stores",
        protocol=args.protocol,
        size=args.size,
        folds=args.folds or usual_folds(store, args.protocol),
        seeds=args.seeds,
        ast_weights=args.ast_weights,
        gpu=args.gpus > 0,
    )
    plan.check()
    tables = [args.table]
    if args.table == "all":
        tables = [name for name in book.tables if not (args.systems and name == "complexity")]
    wanted, results = plan.to_train(tables, args.systems), Results(out / "measured.json")
    missing = {name: sum(stage.id not in results for stage in one.of_lanes()) for name, one in wanted.items()}
    print(f"{len(wanted)} systems, {sum(missing.values())} lanes to train", file=sys.stderr)
    if args.dry_run:
        print("\n".join(f"{lanes} lanes of {name}: {book.system(name).title}" for name, lanes in missing.items()))
        return
    plan.prepare([name for name, lanes in missing.items() if lanes])
    place = Place(stages=str(home.stages), cpus=args.cpus, gpus=args.gpus, owner="paper")
    folder = out / f"{store.corpus}-{store.fingerprint[:8]}-{args.size}"
    try:
        failures = train(wanted, place, results, args.address)
    except KeyboardInterrupt:  # shows what there is, but for what has to be timed
        write_tables(plan, [name for name in tables if name != "complexity"], results, folder)
        raise
    print(write_tables(plan, tables, results, folder))
    print(f"tables, as .md, .csv and .json, are in {folder}, all results in {results.path}", file=sys.stderr)
    if failures:
        raise UserError(f"{len(failures)} tasks failed, the first: {failures[0]}")


if __name__ == "__main__":
    run(main, Args)
