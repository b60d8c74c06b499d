"""Many recordings, one answer each; what cannot be heard is told in its place.

K emotions, w windows.
"""

import os.path
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sermodels.corpora import audio
from sermodels.corpora.files import audio_files
from sermodels.deploy.recogniser import AT_ONCE, LONGEST_S, Recogniser
from sermodels.errors import UserError

STDIN = Path("-")


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """What a model says of a recording."""

    file: Path
    duration_s: float  # without what the model's `trim_db` cuts, unless it was heard in windows
    probabilities: np.ndarray  # (K,); the mean over windows that are not silent if it was heard in windows
    starts_s: np.ndarray  # (w,) of the windows; one, at 0, if it was not
    curve: np.ndarray  # (w, K) probabilities of each window; NaN for a silent one

    def plain(self, model: Recogniser, *, windows: bool) -> dict[str, Any]:
        """As JSON holds it; with the curve over time, if asked for."""
        answer = {"file": str(self.file), **model.described(self.probabilities)}
        if windows:
            ends = np.minimum(self.starts_s + model.clip_s, self.duration_s)
            spans = zip(self.starts_s.tolist(), ends.tolist(), self.curve, strict=True)
            answer["curve"] = [{"from_s": a, "to_s": b, **model.described(p)} for a, b, p in spans]
        return answer


def recordings(given: Sequence[Path]) -> list[Path | UserError]:
    """Files as they are, and for a folder all audio files below it, sorted; or why it has none."""
    found: list[Path | UserError] = []
    for path in given:
        try:
            # Not Path.is_dir, which raises for names that are too long and places that are closed.
            found += [path / name for name in audio_files(path)] if os.path.isdir(path) else [path]
        except UserError as error:
            found.append(error)
    return found


def listen(
    model: Recogniser, files: Sequence[Path | UserError], every_s: float | None = None
) -> Iterator[Heard | UserError]:
    """Answer files in order, some at a time.

    Args:
        model: that answers.
        files: recordings; "-" is standard input. Errors are passed on in their place.
        every_s: seconds between the starts of windows, or None to hear the beginning alone.

    Yields:
        What it says of each, or why it cannot be heard.
    """
    waiting, at_once = iter(files), AT_ONCE if every_s is None else 1
    while chunk := list(islice(waiting, at_once)):
        loaded = [_load(path, model, whole=every_s is not None) for path in chunk]
        answers = iter(_answers(model, [sound.waveform for sound in loaded if isinstance(sound, _Sound)], every_s))
        for sound in loaded:
            yield sound if isinstance(sound, UserError) else _heard(sound, *next(answers))


class _Sound(NamedTuple):
    file: Path
    waveform: np.ndarray  # what is heard of it
    duration_s: float


def _load(path: Path | UserError, model: Recogniser, *, whole: bool) -> _Sound | UserError:
    if isinstance(path, UserError):
        return path
    trim_db = None if whole else model.trim_db  # windows are trimmed one by one
    try:
        if path == STDIN:
            encoded = sys.stdin.buffer.read() if sys.stdin else b""
            waveform = audio.decode(encoded, "standard input", model.sample_rate_hz, LONGEST_S, trim_db)
        else:
            waveform = audio.load(path, model.sample_rate_hz, LONGEST_S, trim_db)
    except UserError as error:
        return error
    heard = waveform if whole else waveform[: round(model.clip_s * model.sample_rate_hz)].copy()  # an hour is let go
    return _Sound(path, heard, len(waveform) / model.sample_rate_hz)


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


def _heard(sound: _Sound, starts_s: np.ndarray, curve: np.ndarray) -> Heard:
    mean = curve[~np.isnan(curve).any(axis=1)].mean(axis=0)
    return Heard(file=sound.file, duration_s=sound.duration_s, probabilities=mean, starts_s=starts_s, curve=curve)
