"""From waveform to log-mel image, and the four fixed views of a recording.

F frequency bins, M mel bands (image height), T frames, W image columns. Leading dimensions (...) are batch dimensions.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from sermodels.config import Augmentation, FrontEnd
from sermodels.randomness import generator

VIEWS = ("original", "noise", "shift", "speed")
FRAMES_AT_ONCE = 64  # their spectra stay in the processor's cache; whole clips take twice as long
BANDS_AT_ONCE = 32  # neighbouring triangles span few bins: most of the filters is zeros
FEWEST_FRAMES = 16  # a product of fewer columns is summed in another order, to other last bits


class LogMel(nn.Module):
    """Waveform to log-mel image (paper, section on preprocessing); holds the window and the filters.

    A module rather than a function over cached tensors, so that it can stand before a network in an
    exported graph and move with it to another device.
    """

    def __init__(self, settings: FrontEnd) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("window", torch.hamming_window(settings.win_length, dtype=torch.float64))
        self.register_buffer("filters_MF", _mel_filters(settings))
        self.bins = [_heard(filters) for filters in self.filters_MF.split(BANDS_AT_ONCE)]
        weights_TW = columns(torch.eye(self.frames()), settings.width)
        weights_TW[0] = 1  # so that there is one even if a clip ends before the first column's middle
        self.register_buffer("shown", weights_TW.any(dim=1).nonzero().squeeze(1))  # frames that columns are made from

    def power(self, waveform: Tensor) -> Tensor:
        """Mel power of the first `clip_s` seconds: (..., samples) → (..., M, frames).

        Frames are centred; those wholly behind the end of a short clip are left out: they are 0.
        """
        framed = self._framed(waveform)
        return self._power_of(framed, torch.arange(framed.shape[-2], device=framed.device))

    def forward(self, waveform: Tensor) -> Tensor:
        """Image in 0…1 of float32 values that float16 holds exactly: (..., samples) → (..., M, W).

        Of all frames only those are transformed that a column is made from, or that may hold the maximum.
        """
        framed = self._framed(waveform)
        shown = self.shown[self.shown < framed.shape[-2]]
        power = self._power_of(framed, shown)
        peak = self._peak(framed, shown, power).clamp(min=torch.finfo(power.dtype).tiny)
        level_db = (10 * torch.log10(power / peak)).clamp(min=self.settings.floor_db)
        image_MT = power.new_zeros(*power.shape[:-1], self.frames())
        image_MT[..., shown] = 1 - level_db / self.settings.floor_db
        return columns(image_MT, self.settings.width).half().float()

    def frames(self) -> int:
        """T, of a clip of full length."""
        size = self.settings.n_fft
        return 1 + (self.settings.clip_samples + 2 * (size // 2) - size) // self.settings.hop_length

    def _framed(self, waveform: Tensor) -> Tensor:
        """What each frame sees, as far as frames hold a sample: (..., samples) → (..., frames, win_length) float64.

        The waveform is cut to the clip's length and has zeros before and behind it: a reflected edge would put sound
        into the padding of a short clip. In float32, quiet bins beside a loud one would be off by 1e-3.
        """
        waveform = waveform[..., : self.settings.clip_samples].double()
        samples, hop, size = waveform.shape[-1], self.settings.hop_length, self.settings.win_length
        before = self.settings.n_fft // 2 - (self.settings.n_fft - size) // 2
        frames = min(self.frames(), -(-(samples + before) // hop))
        return F.pad(waveform, (before, (frames - 1) * hop + size - before - samples)).unfold(-1, size, hop)

    def _power_of(self, framed: Tensor, frames: Tensor) -> Tensor:
        """Mel power of the frames of some numbers: (..., frames, win_length) → (..., M, numbers) float32."""
        missing = self.settings.n_fft - self.settings.win_length
        parts = []
        for numbers in frames.split(FRAMES_AT_ONCE):
            # In place: fresh memory costs more than the arithmetic on it.
            windowed = framed.index_select(-2, numbers).mul_(self.window)
            spectrum = torch.fft.rfft(F.pad(windowed, (missing // 2, missing - missing // 2)))
            parts.append((spectrum.real * spectrum.real).addcmul_(spectrum.imag, spectrum.imag).float())
        padding = max(0, FEWEST_FRAMES - len(frames))
        power = F.pad(torch.cat(parts, dim=-2), (0, 0, 0, padding)).mT
        filters = self.filters_MF.split(BANDS_AT_ONCE)
        bands = [rows[:, bins] @ power[..., bins, :] for rows, bins in zip(filters, self.bins, strict=True)]
        return torch.cat(bands, dim=-2)[..., : len(frames)]

    def _peak(self, framed: Tensor, shown: Tensor, shown_power: Tensor) -> Tensor:
        """The largest mel power of all frames, those included that no column shows: (..., 1, 1).

        By Parseval's theorem no mel band holds more than half the energy of the frame's spectrum.
        """
        peak = shown_power.amax(dim=(-2, -1), keepdim=True)
        bound = self.settings.n_fft / 2 * (framed.square() @ self.window.square())
        exceeding = (1.001 * bound > peak.squeeze(-1)).reshape(-1, framed.shape[-2]).any(dim=0)  # more, for rounding
        exceeding[shown] = False
        if not exceeding.any():
            return peak
        others = self._power_of(framed, exceeding.nonzero().squeeze(1))
        return torch.maximum(peak, others.amax(dim=(-2, -1), keepdim=True))


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
    if kind == "original":
        return waveform, {}
    draw = generator(seed, "view", kind, utterance_id)
    if kind == "noise":
        snr_db = draw.uniform(*augmentation.snr_db)
        return _with_noise(waveform, snr_db, draw), {"snr_db": snr_db}
    if kind == "shift":
        samples = _shift_samples(len(waveform), draw.uniform(*augmentation.shift_s), settings)
        return F.pad(waveform, (samples, 0)), {"shift_s": samples / settings.sample_rate_hz}
    if kind == "speed":
        percent = round(100 * draw.uniform(*augmentation.speed))  # whole, so that the ratio's terms stay small
        return _resampler(percent)(waveform), {"speed": percent / 100}
    raise ValueError(f"view {kind!r} does not exist: must be one of {', '.join(VIEWS)}")


def _with_noise(waveform: Tensor, snr_db: float, draw: np.random.Generator) -> Tensor:
    white = torch.from_numpy(draw.standard_normal(len(waveform), dtype=np.float32))
    return waveform + white * waveform.square().mean().sqrt() * 10 ** (-snr_db / 20)


def _shift_samples(length: int, shift_s: float, settings: FrontEnd) -> int:
    """Seconds to samples, limited so that half of the recording, or of the image, stays in sight."""
    limit = min(length, settings.clip_samples) // 2
    return min(max(round(shift_s * settings.sample_rate_hz), -limit), limit)


def _mel_filters(settings: FrontEnd) -> Tensor:
    """Triangles of height 1, evenly spaced on the HTK scale: (M, F) float32.

    Those of torchaudio are made in float32 and off by 2e-3 relative at the foot of a triangle.
    """
    nyquist_hz = settings.sample_rate_hz / 2
    top_mel = 2595 * math.log10(1 + nyquist_hz / 700)
    edges_mel = torch.linspace(0, top_mel, settings.n_mels + 2, dtype=torch.float64)
    edges_hz = (700 * (10 ** (edges_mel / 2595) - 1)).unsqueeze(1)
    bins_hz = torch.linspace(0, nyquist_hz, settings.n_fft // 2 + 1, dtype=torch.float64)
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


def _heard(filters_MF: Tensor) -> slice:
    """The bins in which any of some filters is not zero."""
    bins = filters_MF.any(dim=0).nonzero()
    return slice(int(bins.min()), int(bins.max()) + 1)


def columns(image: Tensor, width: int) -> Tensor:
    """Interpolate the time axis alone, linearly: (..., M, T) → (..., M, width)."""
    stacked = image.reshape(-1, *image.shape[-2:])
    return F.interpolate(stacked, size=width, mode="linear").reshape(*image.shape[:-1], width)


@lru_cache(maxsize=100)
def _resampler(percent: int) -> nn.Module:
    return torchaudio.transforms.Resample(percent, 100, dtype=torch.float32)  # its kernel takes as long as its use


@lru_cache(maxsize=4)
def _log_mel(settings: FrontEnd, device: torch.device) -> LogMel:
    return LogMel(settings).to(device)
