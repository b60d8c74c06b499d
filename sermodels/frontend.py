"""From waveform to log-mel image, and the four fixed views of a recording.

M mel bands (image height), T frames, W image columns. Leading dimensions (...) are batch dimensions.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from sermodels.config import Augmentation, FrontEnd
from sermodels.randomness import generator

VIEWS = ("original", "noise", "shift", "speed")


class LogMel(nn.Module):
    """Waveform to log-mel image (paper, section on preprocessing); holds the window and the filterbank.

    A module rather than a function over cached tensors, so that it can stand before a network in an
    exported graph and move with it to another device.
    """

    def __init__(self, settings: FrontEnd) -> None:
        super().__init__()
        self.settings = settings
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=settings.sample_rate_hz,
            n_fft=settings.n_fft,
            win_length=settings.win_length,
            hop_length=settings.hop_length,
            n_mels=settings.n_mels,
            window_fn=torch.hamming_window,
            power=2.0,
            pad_mode="constant",  # a reflected edge would put sound into the padding of a short clip
            norm=None,
            mel_scale="htk",
        )

    def power(self, waveform: Tensor) -> Tensor:
        """Mel power of the first `clip_s` seconds, zeros added to shorter ones: (..., samples) → (..., M, T)."""
        missing = self.settings.clip_samples - waveform.shape[-1]
        return self.mel(F.pad(waveform, (0, missing)))  # a negative pad cuts

    def forward(self, waveform: Tensor) -> Tensor:
        """Image in 0…1 of float32 values that float16 holds exactly: (..., samples) → (..., M, W)."""
        power_MT = self.power(waveform)
        peak = power_MT.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(power_MT.dtype).tiny)
        level_db = (10 * torch.log10(power_MT / peak)).clamp(min=self.settings.floor_db)
        image_MT = 1 - level_db / self.settings.floor_db
        return _columns(image_MT, self.settings.width).half().float()


@torch.no_grad()
def log_mel(waveform: Tensor, settings: FrontEnd) -> Tensor:
    """Log-mel image of a waveform of any length.

    Args:
        waveform: (..., samples) float32 at `settings.sample_rate_hz`.
        settings: of the front-end.

    Returns:
        (..., M, W) float32 in 0…1: 1 is the clip's maximum, 0 is `floor_db` below it, or silence. Every
        value is exactly representable in float16, so that a stored image equals a computed one.
    """
    return _log_mel(settings, waveform.device)(waveform)


def view(
    waveform: Tensor, kind: str, settings: FrontEnd, augmentation: Augmentation, seed: int, utterance_id: str
) -> tuple[Tensor, dict[str, float]]:
    """One of the VIEWS of a whole recording, before it is cut to `clip_s`.

    What is drawn is a function of (seed, utterance_id, kind) alone.

    Args:
        waveform: (samples,) float32 at `settings.sample_rate_hz`.
        kind: one of VIEWS.
        settings: of the front-end.
        augmentation: the ranges to draw from.
        seed: of the corpus.
        utterance_id: the same on every machine.

    Returns:
        The altered waveform and the parameters drawn for it: `snr_db`, `shift_s` or `speed`.

    Raises:
        ValueError: a kind that does not exist.
    """
    draw = generator(seed, "view", kind, utterance_id)
    if kind == "original":
        return waveform, {}
    if kind == "noise":
        snr_db = draw.uniform(*augmentation.snr_db)
        return _with_noise(waveform, snr_db, draw), {"snr_db": snr_db}
    if kind == "shift":
        samples = _shift_samples(len(waveform), draw.uniform(*augmentation.shift_s), settings)
        return F.pad(waveform, (samples, 0)), {"shift_s": samples / settings.sample_rate_hz}
    if kind == "speed":
        percent = round(100 * draw.uniform(*augmentation.speed))  # whole, so that the ratio's terms stay small
        return torchaudio.functional.resample(waveform, percent, 100), {"speed": percent / 100}
    raise ValueError(f"view {kind!r} does not exist: must be one of {', '.join(VIEWS)}")


def _with_noise(waveform: Tensor, snr_db: float, draw: np.random.Generator) -> Tensor:
    white = torch.from_numpy(draw.standard_normal(len(waveform), dtype=np.float32))
    return waveform + white * waveform.square().mean().sqrt() * 10 ** (-snr_db / 20)


def _shift_samples(length: int, shift_s: float, settings: FrontEnd) -> int:
    """Seconds to samples, limited so that half of the recording, or of the image, stays in sight."""
    limit = min(length, settings.clip_samples) // 2
    return min(max(round(shift_s * settings.sample_rate_hz), -limit), limit)


def _columns(image: Tensor, width: int) -> Tensor:
    """Interpolate the time axis alone, linearly: (..., M, T) → (..., M, width)."""
    stacked = image.reshape(-1, *image.shape[-2:])
    return F.interpolate(stacked, size=width, mode="linear").reshape(*image.shape[:-1], width)


@lru_cache(maxsize=4)
def _log_mel(settings: FrontEnd, device: torch.device) -> LogMel:
    return LogMel(settings).to(device)
