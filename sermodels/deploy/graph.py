"""A trained student and its front-end as one ONNX graph, from waveform to emotion.

Spectra are matrix products here: onnxruntime's own Fourier transform takes ten times as long in double precision, which
quiet bins beside loud ones need (frontend.py). Frames that can only hold the clip's maximum do with single precision.

B waveforms, f frames, F frequency bins, M mel bands (image height), T frames of a clip, W image columns, K emotions.
"""

import copy
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sermodels.config.settings import FrontEnd
from sermodels.corpora.audio import MIN_DURATION_S
from sermodels.model_files import INPUT
from sermodels.networks.network import Network
from sermodels.store.frontend import LogMel, columns

if TYPE_CHECKING:
    import onnx

OUTPUTS = ("probabilities", "logits", "embedding")


def export_onnx(network: Network, frontend: FrontEnd, emotions: Sequence[str]) -> "onnx.ModelProto":
    """Front-end and network as one graph.

    Args:
        network: on the CPU; of float64 a copy in float32 is exported.
        frontend: of the store that it was trained on.
        emotions: names of the classes, in their order.

    Returns:
        A model with the input `waveform`, (B, samples) float32 at the front-end's sample rate, of any B ≥ 1 and at
        least 0.1 s: cut at `clip_s`, as if zeros followed. Its outputs are `probabilities` and `logits`, (B, K), and
        `embedding`, (B, D), what enters the classifier. Its metadata says `emotions` (a JSON list),
        `sample_rate_hz` and `clip_s`, and `trim_db` if waveforms must be trimmed before, which is not in the graph.
    """
    graph = WaveformToEmotion(network, frontend).eval()
    shortest = round(MIN_DURATION_S * frontend.sample_rate_hz)
    # Of more than one row: a size of 1 would be taken for a constant.
    example = torch.zeros(2, max(frontend.clip_samples, shortest))
    free = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("samples", min=shortest)}
    model = to_onnx(graph, example, free, INPUT, OUTPUTS)
    about = {"emotions": json.dumps(list(emotions)), "sample_rate_hz": frontend.sample_rate_hz}
    about |= {"clip_s": frontend.clip_s} | ({} if frontend.trim_db is None else {"trim_db": frontend.trim_db})
    for key, value in about.items():
        model.metadata_props.add(key=key, value=str(value))
    return model


def to_onnx(
    module: nn.Module, example: Tensor, free: Mapping[int, torch.export.Dim], taken: str, given: Sequence[str]
) -> "onnx.ModelProto":
    """The graph of a module of one input.

    Args:
        module: in evaluation mode, on the CPU.
        example: of its input.
        free: the dimensions of the input that are not fixed to those of the example.
        taken: name of the input.
        given: names of the outputs.
    """
    with _quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=(free,),
            verbose=False,
            input_names=[taken],
            output_names=list(given),
        )
    assert program is not None, "only the exporter before dynamo returns nothing"
    return program.model_proto


class WaveformToEmotion(nn.Module):
    """What is exported: every size but those of batch and waveform is fixed when it is built."""

    def __init__(self, network: Network, frontend: FrontEnd) -> None:
        super().__init__()
        self.images = ExportableLogMel(frontend)
        self.network = copy.deepcopy(network).float()

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, samples) float32 → probabilities (B, K), logits (B, K), embedding (B, D)."""
        logits, features = self.network(self.images(waveform).unsqueeze(1))
        return logits.softmax(-1), logits, features


class ExportableLogMel(nn.Module):
    """`frontend.LogMel` in operations that ONNX has; pixels differ at most by a rounding of float16."""

    window: Tensor
    filters_FM: Tensor
    columns_TW: Tensor
    shown: Tensor
    cosines: Tensor
    sines: Tensor

    def __init__(self, settings: FrontEnd) -> None:
        super().__init__()
        self.settings, of_training = settings, LogMel(settings)
        missing = settings.win_length % 2  # so that frames have two halves
        self.register_buffer("window", F.pad(of_training.spectrum.window, (0, missing)))
        self.register_buffer("filters_FM", of_training.filters_MF.mT.contiguous())
        self.register_buffer("columns_TW", columns(torch.eye(of_training.frames()), settings.width))
        shown = self.columns_TW.any(dim=1)
        shown[0] = True  # so that there is one even if a clip ends before the first column's middle
        self.register_buffer("shown", shown.nonzero().squeeze(1))  # frames that columns are made from
        self.before = settings.n_fft // 2 - (settings.n_fft - settings.win_length) // 2
        # The power of a spectrum does not depend on where time begins: around the middle of a frame, cosines are even
        # and sines odd, and half of each product is enough.
        size = len(self.window)
        time = torch.arange(size // 2, dtype=torch.float64) - (size - 1) / 2
        phase = 2 * math.pi / settings.n_fft * torch.outer(time, torch.arange(settings.n_fft // 2 + 1))
        self.register_buffer("cosines", phase.cos())
        self.register_buffer("sines", phase.sin())

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, samples) float32 → images (B, M, W), float32 values that float16 holds exactly."""
        hop, samples = self.settings.hop_length, waveform.shape[1]
        heard = self.shown[(self.shown * hop < samples + self.before).nonzero().squeeze(1)]
        padded = self._padded(waveform)
        power = self._mel_power(padded, heard, torch.float64)
        others = self._mel_power(padded, self._louder(padded, power), torch.float32)
        peak = torch.maximum(power.amax((1, 2), keepdim=True), others.amax((1, 2), keepdim=True))
        level_db = 10 * torch.log10(power / peak.clamp(min=torch.finfo(torch.float32).tiny))
        image_BfM = 1 - level_db.clamp(min=self.settings.floor_db) / self.settings.floor_db
        return (self.columns_TW[heard].mT @ image_BfM).mT.half().float()

    def _padded(self, waveform: Tensor) -> Tensor:
        """Zeros before, the waveform cut at the clip's end, and zeros behind for the last frame."""
        batch, clip = waveform.shape[0], self.settings.clip_samples
        cut = torch.cat([waveform, waveform.new_zeros(batch, clip)], dim=1)[:, :clip]
        return F.pad(cut, (self.before, self.settings.n_fft))

    def _mel_power(self, padded: Tensor, frames: Tensor, precision: torch.dtype) -> Tensor:
        """Of the frames of some numbers: (B, f, M) float32."""
        size, hop = len(self.window), self.settings.hop_length
        block = math.gcd(size, hop)  # samples that are gathered at once: one by one they take as long as the spectra
        places = (frames.unsqueeze(1) * (hop // block) + torch.arange(size // block)).flatten()
        blocks: Tensor = padded[:, : padded.shape[1] // block * block].unflatten(1, (-1, block)).index_select(1, places)
        frames_BfS: Tensor = blocks.flatten(1).unflatten(1, (-1, size))
        framed = frames_BfS.to(precision) * self.window.to(precision)
        first, second = framed[..., : size // 2], framed[..., size // 2 :].flip(-1)
        even, odd = (first + second) @ self.cosines.to(precision), (first - second) @ self.sines.to(precision)
        return (even * even + odd * odd).float() @ self.filters_FM

    def _louder(self, padded: Tensor, power: Tensor) -> Tensor:
        """Numbers of frames that no column shows and that may hold the maximum; always at least one frame.

        By Parseval's theorem no mel band holds more than half the energy of the frame's spectrum.
        """
        energy = F.conv1d(
            padded.square().unsqueeze(1), self.window.square().float()[None, None], stride=self.settings.hop_length
        )[:, 0, : len(self.columns_TW)]
        bound = 1.001 * self.settings.n_fft / 2 * energy  # more, for rounding
        exceeding = (bound > power.amax((1, 2)).unsqueeze(1)).any(dim=0)
        exceeding = exceeding.index_fill(0, self.shown, False)
        return torch.cat([exceeding.nonzero().squeeze(1), self.shown[:1]])


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages that are not needed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
