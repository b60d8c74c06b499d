"""Name the emotion in recordings.

    python jobs/predict.py best anger.wav other.flac
    python jobs/predict.py best recordings/ --json > answers.jsonl      # a folder, with all below it
    python jobs/predict.py best interview.mp3 --every 1.0               # a curve over time
    cat anger.wav | python jobs/predict.py best -

Any sample rate and channel count that libsndfile reads: WAV, FLAC, OGG, MP3. A table, or with --json one line of JSON a
file. A model hears the first seconds of a recording, as many as it was trained on; with --every it hears all of it, up
to an hour, in windows that begin so many seconds apart, and the answer is the mean over them; silent windows get none.
A file that cannot be read has a line on standard error; the others are answered, and the exit code is 2. Needs no
PyTorch.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from jobs.shared.cli import run
from jobs.shared.table import aligned
from sermodels.errors import UserError

if TYPE_CHECKING:
    from sermodels.deploy.recogniser import Recogniser


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    model: Annotated[Positional[Path], arg(metavar="DIR")]  # folder made by jobs/export_best.py or jobs/train.py --out
    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE")]  # recordings, folders, or - for standard input
    json: bool = False  # one JSON object a line instead of a table
    every: float | None = None  # seconds between the starts of windows; hears long recordings to their end
    threads: int = 1  # cores to use


def main(args: Args) -> None:
    """Answer file by file."""
    from jobs.shared.progress import counted  # so that --help answers at once
    from sermodels.deploy.listening import listen, recordings
    from sermodels.deploy.recogniser import Recogniser

    if not args.files:
        raise UserError("no recordings given: name files or folders behind the model's folder, or - for standard input")
    if args.threads < 1:
        raise UserError(f"--threads {args.threads}: must be at least 1")
    sys.stdout.reconfigure(errors="backslashreplace")  # a file name may hold anything
    model, windows = Recogniser(args.model, args.threads), args.every is not None
    if windows and not 0.01 <= args.every <= model.clip_s:
        raise UserError(
            f"--every {args.every:g}: must be 0.01 to {model.clip_s:g} seconds, what the model hears at once"
        )
    files = recordings(args.files)
    table, failed, longer = _Table(model, files, windows=windows), 0, 0
    # In a terminal the answers themselves show how far it is.
    with nullcontext(lambda *_: None) if sys.stdout.isatty() else counted("recordings") as progress:
        for done, heard in enumerate(listen(model, files, args.every), start=1):
            if isinstance(heard, UserError):
                print(f"error: {heard}", file=sys.stderr)
                failed += 1
            else:
                longer += heard.duration_s > model.clip_s and not windows
                answer = heard.plain(model, windows=windows)
                print(json.dumps(answer) if args.json else table.lines(**answer), flush=True)
            progress(done, len(files))
    if longer:
        some = f"{longer} of {len(files)} recordings are" if len(files) > 1 else "the recording is"
        print(f"{some} longer than the {model.clip_s:g} s that were heard; --every 1 hears all", file=sys.stderr)
    if failed:
        sys.exit(2)


class _Table:
    """The lines of a table whose head comes with the first of them."""

    def __init__(self, model: "Recogniser", files: Sequence[Path | UserError], *, windows: bool):
        spans = ["from", "to"] if windows else []
        self.head = ["file", *spans, "emotion", "probability", *model.emotions]
        names = [str(path) for path in files if isinstance(path, Path)]
        self.widths = [max(map(len, ("file", *names))), *(7 for _ in spans)]
        self.widths += [max(map(len, (*model.emotions, "emotion"))), len("probability")]
        self.widths += [max(len(name), 5) for name in model.emotions]
        self.empty = True

    def lines(self, file: str, curve: Sequence[dict[str, Any]] = (), **answer: Any) -> str:
        """Of one file: its windows, if it was heard in any, and the whole."""
        rows = [[file, f"{part['from_s']:.2f}", f"{part['to_s']:.2f}", *_cells(**part)] for part in curve]
        rows.append([file, *(("all", "mean") if curve else ()), *_cells(**answer)])
        head = [self.head] if self.empty else []
        self.empty = False
        return "\n".join(aligned(row, self.widths[: len(row)]) for row in (*head, *rows))


def _cells(
    emotion: str | None, probability: float | None, probabilities: dict[str, float] | None, **_: float
) -> list[str]:
    if emotion is None or probabilities is None:
        return ["silence"]
    return [emotion, *(f"{value:.3f}" for value in (probability, *probabilities.values()))]


if __name__ == "__main__":
    run(main, Args)
