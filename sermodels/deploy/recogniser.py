"""Name the emotion in recordings with onnxruntime, numpy and soundfile alone: no PyTorch.

Other sample rates, and models trained without the silence at both ends, need librosa, too.

    from sermodels.deploy.recogniser import Recogniser
    model = Recogniser("best")
    print(model.answer("recording.wav"))

n waveforms, K emotions, D embedding size, w windows.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from sermodels.corpora import audio
from sermodels.errors import UserError
from sermodels.model_files import INPUT, MODEL

AT_ONCE = 16  # waveforms a call: more are not answered faster
LONGEST_S = 3600.0  # of a recording


def session(model: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """An opened ONNX graph, on so many cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Answers(NamedTuple):
    """What a model says of n waveforms, float32."""

    probabilities: np.ndarray  # (n, K); a row sums to 1
    logits: np.ndarray  # (n, K)
    embedding: np.ndarray  # (n, D): what enters the classifier


class Recogniser:
    """An opened model.

    Attributes:
        emotions: class i is emotions[i].
        sample_rate_hz: of the waveforms it takes.
        clip_s: seconds it hears of one; what comes later is ignored, see `windows`.
        trim_db: how far below its loudest part a recording's ends are silence, which it was trained without; None: they
            are not cut.
    """

    def __init__(self, model: str | Path, threads: int = 1):
        """Open the `model.onnx` of a folder.

        Args:
            model: a folder written by jobs/export_best.py or jobs/train.py --out.
            threads: cores that a call may use.

        Raises:
            UserError: no such folder, or a model that is missing, damaged or of another kind.
        """
        path = Path(model) / MODEL
        if not Path(model).is_dir():
            made = "expected one written by jobs/export_best.py or jobs/train.py --out"
            raise UserError(f"{model}: no such folder; {made}")
        if not path.is_file():
            raise UserError(f"{path}: missing; export the model again")
        try:
            self._session = session(path, threads)
            about = self._session.get_modelmeta().custom_metadata_map
            self.emotions: tuple[str, ...] = tuple(json.loads(about["emotions"]))
            self.sample_rate_hz, self.clip_s = int(about["sample_rate_hz"]), float(about["clip_s"])
            self.trim_db = float(about["trim_db"]) if "trim_db" in about else None
        except KeyError as missing:
            raise UserError(f"{path}: does not say its {missing}: not a model exported here") from None
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise UserError(f"{path}: damaged: {' '.join(str(error).split())}; export it again") from None
        self._check(path)

    def answer(self, path: str | Path) -> dict[str, float]:
        """The probability of each emotion in a recording of any rate, at most an hour; its first `clip_s` are heard.

        Raises:
            UserError: it cannot be read.
        """
        waveform = audio.load(Path(path), self.sample_rate_hz, LONGEST_S, self.trim_db)
        return self.named(self.run([waveform]).probabilities[0])

    def named(self, probabilities: np.ndarray) -> dict[str, float]:
        """Probabilities of shape (K,) by emotion."""
        return dict(zip(self.emotions, probabilities.tolist(), strict=True))

    def described(self, probabilities: np.ndarray) -> dict[str, Any]:
        """As JSON holds probabilities of shape (K,): `emotion`, the likeliest, `probability`, its own, and all of them.

        Of a silent window, whose probabilities are NaN, all three are None.
        """
        if np.isnan(probabilities).any():
            return {"emotion": None, "probability": None, "probabilities": None}
        named = self.named(probabilities)
        emotion = max(named, key=named.__getitem__)
        return {"emotion": emotion, "probability": named[emotion], "probabilities": named}

    def run(self, waveforms: Sequence[np.ndarray]) -> Answers:
        """Answer waveforms.

        Args:
            waveforms: n ≥ 1 of them, each (samples,) float32 at `sample_rate_hz`, as `audio.load` gives them with this
                model's `trim_db`.
        """
        parts = [self._batch(waveforms[start : start + AT_ONCE]) for start in range(0, len(waveforms), AT_ONCE)]
        return Answers(*map(np.concatenate, zip(*parts, strict=True)))

    def windows(self, waveform: np.ndarray, every_s: float) -> tuple[np.ndarray, Answers]:
        """Hear a long recording in windows of `clip_s` seconds, each as a recording of its own.

        Args:
            waveform: (samples,) float32 at `sample_rate_hz`, not trimmed.
            every_s: seconds from the start of a window to that of the next: above 0, at most `clip_s`. Less than
                that, and they overlap.

        Returns:
            Start of each window in seconds, (w,), and their answers; those of a silent window are NaN, for the model
            would name something. What is left behind the last window is shorter than 0.1 s.

        Raises:
            UserError: windows would leave gaps.
        """
        if not 0 < every_s <= self.clip_s:
            raise UserError(f"windows every {every_s:g} s: must be above 0 and at most {self.clip_s:g}, what one hears")
        clip, hop = round(self.clip_s * self.sample_rate_hz), max(1, round(every_s * self.sample_rate_hz))
        shortest = round(audio.MIN_DURATION_S * self.sample_rate_hz)
        behind = max(0, len(waveform) - clip)  # samples that the first window does not hear
        starts = [
            start for start in range(0, behind + hop, hop) if len(waveform) - start >= min(shortest, len(waveform))
        ]
        windows = [waveform[start : start + clip] for start in starts]
        answers = self.run([audio.trimmed(window, self.trim_db) for window in windows])
        for values in answers:
            values[[np.abs(window).max() < audio.SILENT_PEAK for window in windows]] = np.nan
        return np.array(starts) / self.sample_rate_hz, answers

    def _check(self, path: Path) -> None:
        """Make sure that the graph is one of ours, and what it says of itself can be true."""
        taken = [given.name for given in self._session.get_inputs()]
        given = {output.name: output.shape for output in self._session.get_outputs()}
        if taken != [INPUT] or given.keys() != set(Answers._fields) or given["logits"][-1:] != [len(self.emotions)]:
            raise UserError(f"{path}: not a model exported here: it takes {taken} and gives {given}")
        if self.sample_rate_hz < audio.MIN_RATE_HZ or not 0 < self.clip_s <= LONGEST_S:
            told = f"{self.clip_s:g} s at {self.sample_rate_hz} Hz"
            raise UserError(f"{path}: damaged: it says that it hears {told}; export it again")
        if self.trim_db is not None and not 0 < self.trim_db < math.inf:
            raise UserError(
                f"{path}: damaged: it says that silence is {self.trim_db:g} dB below speech; export it again"
            )

    def _batch(self, waveforms: Sequence[np.ndarray]) -> Answers:
        clip = round(self.clip_s * self.sample_rate_hz)
        cut = [waveform[:clip] for waveform in waveforms]
        shortest = round(audio.MIN_DURATION_S * self.sample_rate_hz)  # that the graph takes; trimming may leave less
        together = np.zeros((len(cut), max(shortest, *map(len, cut))), np.float32)  # zeros behind change nothing
        for row, waveform in zip(together, cut, strict=True):
            row[: len(waveform)] = waveform
        return Answers(*self._session.run(list(Answers._fields), {INPUT: together}))
