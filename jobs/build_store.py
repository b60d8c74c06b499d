"""Build the spectrogram store of a corpus, once for all sweeps to come.

    python jobs/build_store.py --corpus emodb --root DIR --out runs/stores/emodb.arrow
    python jobs/build_store.py --corpus folder --root DIR --out STORE 'speaker_regex=/(.+?)_'
    python jobs/build_store.py --corpus emodb --root DIR --out STORE --trim-db 40
    python jobs/build_store.py --corpus synthetic
    python jobs/build_store.py --out STORE --verify

On 2 idle cores EmoDB's 535 clips take about 15 s; the time grows with the number of clips. Run again with the same
settings it does nothing; with others it refuses and shows the difference. A model hears the first seconds of a
recording: --trim-db keeps silence from filling them, and goes with every model trained on the store.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from jobs.shared.cli import run, words
from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    options: Annotated[Positional[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()  # of the corpus' reader
    corpus: str | None = None  # emodb, savee, cremad, folder, csv or synthetic
    root: Path | None = None  # folder of the corpus, of csv its file; synthetic: runs/corpora/synthetic
    out: Path | None = None  # the store, .arrow is added; else runs/stores/CORPUS.arrow
    verify: bool = False  # only check every image in the store --out
    strict: bool = False  # refuse a corpus with a damaged recording, instead of leaving it out
    workers: int = len(os.sched_getaffinity(0))  # processes of one thread each
    seed: int = 0  # of the altered views
    frontend: OmitArgPrefixes[FrontEnd] = field(default_factory=FrontEnd)
    augmentation: OmitArgPrefixes[Augmentation] = field(default_factory=Augmentation)


def main(args: Args) -> None:
    """Verify a store, or build it unless it is there."""
    from sermodels.store.open import open_store  # so that --help answers at once

    if args.verify == (args.corpus is not None) or (args.verify and args.out is None):
        raise UserError("give --corpus, to build its store, or --verify and --out STORE alone, to check a finished one")
    out = args.out or Path("runs/stores", args.corpus)
    out = out.with_name(out.name.removesuffix(".arrow") + ".arrow")
    if args.verify:
        store = open_store(out)
        store.verify()
        print(f"{out}: every image is as it was written\n{store.summary()}")
    else:
        _build(args, out)


def _build(args: Args, out: Path) -> None:
    from jobs.shared.progress import counted
    from sermodels.corpora.read import read_corpus
    from sermodels.store.build import build

    root = args.root or (Path("runs/corpora/synthetic") if args.corpus == "synthetic" else None)
    if root is None:
        raise UserError(f"--root is missing: the folder where corpus {args.corpus} lies")
    corpus = read_corpus(args.corpus, root, words(args.options))
    start, existed = time.monotonic(), out.exists()
    with counted("clips") as progress:
        store = build(corpus, out, args.frontend, args.augmentation, args.seed, args.workers, args.strict, progress)
    took_s = time.monotonic() - start
    for warning in [*corpus.warnings, *(f"left out {clip['id']}: {clip['reason']}" for clip in store.skipped)]:
        print(f"warning: {warning}", file=sys.stderr)
    rate = f"built in {took_s:.1f} s, {len(corpus.utterances) / took_s:.1f} clips/s"
    print(f"{out}: {'already built with these settings, nothing to do' if existed else rate}\n{store.summary()}")


if __name__ == "__main__":
    run(main, Args)
