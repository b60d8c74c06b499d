"""Name the emotion in recordings.

    python jobs/predict.py best anger.wav other.flac
    python jobs/predict.py best *.wav --json > answers.jsonl

Any sample rate and channel count that libsndfile reads: WAV, FLAC, OGG, MP3. A table, or with --json one line of JSON a
file. A file that cannot be read has a line on standard error; the others are answered, and the exit code is 2. Four
seconds to start, then some 70 files a second.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from _cli import run
from _table import aligned
from tyro.conf import Positional, arg

from sermodels.errors import UserError

if TYPE_CHECKING:
    from sermodels.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    model: Annotated[Positional[Path], arg(metavar="DIR")]  # folder made by jobs/export_best.py or jobs/train.py --out
    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="FILE")]  # recordings
    json: bool = False  # one JSON object a line instead of a table


def main(args: Args) -> None:
    """Answer file by file."""
    from _device import use  # so that --help answers at once

    from sermodels.bundle import load_bundle

    if not args.files:
        raise UserError("no recordings given: name one file or more behind the model's folder")
    use("cpu", threads=1)
    sys.stdout.reconfigure(errors="backslashreplace")  # a file name may hold anything
    bundle, failed = load_bundle(args.model), False
    head = ["file", "emotion", "probability", *bundle.emotions]
    widths = [max(len(str(path)) for path in ("file", *args.files)), max(map(len, head[1:]))]
    widths += [max(len(name), 5) for name in head[2:]]
    if not args.json:
        print(aligned(head, widths))
    for path in args.files:
        try:
            answer = _answer(bundle, path)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        print(json.dumps(answer) if args.json else aligned(_cells(**answer), widths), flush=True)
    if failed:
        sys.exit(2)


def _answer(bundle: "Bundle", path: Path) -> dict[str, Any]:
    import torch

    from sermodels.audio import load

    waveform = torch.from_numpy(load(path, bundle.frontend.sample_rate_hz))
    probabilities = dict(zip(bundle.emotions, bundle.classify([waveform])[0].tolist(), strict=True))
    emotion = max(probabilities, key=probabilities.get)
    answer = {"file": str(path), "emotion": emotion, "probability": probabilities[emotion]}
    return answer | {"probabilities": probabilities}


def _cells(file: str, emotion: str, probability: float, probabilities: dict[str, float]) -> list[str]:
    return [file, emotion, *(f"{value:.3f}" for value in (probability, *probabilities.values()))]


if __name__ == "__main__":
    run(main, Args)
