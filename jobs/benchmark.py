"""Measure what this system claims, beside what it is compared with, on this machine.

    python jobs/benchmark.py features
    python jobs/benchmark.py reuse --json docs/benchmarks/reuse.json

reuse: stages shared between trials; features: the frozen teacher's table; build and store: the spectrogram store;
overhead and scale: what trials cost beyond their training; sweep: the whole against a plain Ray Tune script;
deploy: what a trained student costs those who use it; lanes: seeds trained as one program, which is meant for a GPU.
Both sides of a comparison run in turn, so leave the machine to them. A requirement that is missed is a result, too:
exit code 0.
"""

import shlex
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jobs.shared.cli import run
from sermodels.errors import UserError
from sermodels.files import replacing

Name = Literal["reuse", "features", "build", "store", "overhead", "scale", "sweep", "deploy", "lanes"]


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    name: Annotated[Positional[Name], arg(metavar="NAME")]  # which benchmark
    json: Path | None = None  # file to write all figures to, with machine, commit and date
    home: Path | None = None  # folder for what is generated, up to 2 GB, removed at the end; else the system's


def main(args: Args) -> None:
    """Measure, print, and write if asked to."""
    from jobs.benchmarks.result import record

    measure = import_module(f"jobs.benchmarks.{args.name}").measure  # this one alone: most need neither Ray nor MLflow
    for flag, folder in (("--home", args.home), ("--json", args.json and args.json.parent)):
        if folder:
            _make(flag, folder)  # before minutes of measuring
    with TemporaryDirectory(prefix="benchmark-", dir=args.home) as scratch:
        result = measure(Path(scratch))
    print(result.text())
    if args.json:
        with replacing(args.json) as unfinished:
            unfinished.write_text(record(result, _command(args)), "utf-8")


def _command(args: Args) -> str:
    """The command line that measures this again."""
    flags = (("--json", args.json), ("--home", args.home))
    words = [word for flag, path in flags if path for word in (flag, str(path))]
    return shlex.join(["python", "jobs/benchmark.py", args.name, *words])


def _make(flag: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag}: {folder} cannot be made: {error.strerror}") from None


if __name__ == "__main__":
    run(main, Args)
