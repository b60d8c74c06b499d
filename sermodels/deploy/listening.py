"""Many recordings, one answer each; what cannot be heard is told in its place.

K emotions, w windows.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sermodels import audio
from sermodels.corpora.files import audio_files
from sermodels.deploy.recogniser import AT_ONCE, LONGEST_S, Recogniser
from sermodels.errors import UserError

STDIN = Path("-")


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """What a model says of a recording."""

    file: Path
    duration_s: float
    probabilities: np.ndarray  # (K,); the mean over windows if it was heard in windows
    starts_s: np.ndarray  # (w,) of the windows; one, at 0, if it was not
    curve: np.ndarray  # (w, K) probabilities of each window

    def plain(self, model: Recogniser, *, windows: bool) -> dict[str, Any]:
        """As JSON holds it; with the curve over time, if asked for."""
        answer = {"file": str(self.file), **_named(model, self.probabilities)}
        if windows:
            ends = np.minimum(self.starts_s + model.clip_s, self.duration_s)
            spans = zip(self.starts_s.tolist(), ends.tolist(), self.curve, strict=True)
            answer["curve"] = [{"from_s": a, "to_s": b, **_named(model, p)} for a, b, p in spans]
        return answer


def recordings(given: Sequence[Path]) -> list[Path]:
    """Files as they are, and for a folder all audio files below it, sorted.

    Raises:
        UserError: a folder without any.
    """
    return [file for path in given for file in ([path / n for n in audio_files(path)] if path.is_dir() else [path])]


def listen(model: Recogniser, files: Sequence[Path], every_s: float | None = None) -> Iterator[Heard | UserError]:
    """Answer files in order, some at a time.

    Args:
        model: that answers.
        files: recordings; "-" is standard input.
        every_s: seconds between the starts of windows, or None to hear the beginning alone.

    Yields:
        What it says of each, or why it cannot be heard.
    """
    waiting = iter(files)
    while chunk := list(islice(waiting, AT_ONCE)):
        loaded = [_load(path, model.sample_rate_hz) for path in chunk]
        sound = [waveform for waveform in loaded if not isinstance(waveform, UserError)]
        answers = iter(_answers(model, sound, every_s))
        for path, waveform in zip(chunk, loaded, strict=True):
            if isinstance(waveform, UserError):
                yield waveform
                continue
            starts_s, curve = next(answers)
            parts = {"probabilities": curve.mean(0), "starts_s": starts_s, "curve": curve}
            yield Heard(file=path, duration_s=len(waveform) / model.sample_rate_hz, **parts)


def _answers(
    model: Recogniser, waveforms: Sequence[np.ndarray], every_s: float | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Starts and probabilities of each waveform's windows."""
    if every_s is not None:
        for waveform in waveforms:
            starts_s, answers = model.windows(waveform, every_s)
            yield starts_s, answers.probabilities
    elif waveforms:
        for probabilities in model.run(waveforms).probabilities:
            yield np.zeros(1), probabilities[None]


def _load(path: Path, sample_rate_hz: int) -> np.ndarray | UserError:
    try:
        if path == STDIN:
            return audio.decode(sys.stdin.buffer.read(), "standard input", sample_rate_hz, LONGEST_S)
        return audio.load(path, sample_rate_hz, LONGEST_S)
    except UserError as error:
        return error


def _named(model: Recogniser, probabilities: np.ndarray) -> dict[str, Any]:
    named = model.named(probabilities)
    emotion = max(named, key=named.get)
    return {"emotion": emotion, "probability": named[emotion], "probabilities": named}
