"""From waveform to log-mel image, and the four fixed views of a recording.

F frequency bins, M mel bands (image height), T frames, W image columns. Leading dimensions (...) are batch dimensions.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn
from torchaudio.functional import amplitude_to_DB, melscale_fbanks

from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.randomness import generator

VIEWS = ("original", "noise", "shift", "speed")


class LogMel(nn.Module):
    """Waveform to log-mel image (paper, section on preprocessing); holds the window and the filters.

    A module rather than a function over cached tensors, so that it can move to another device. All frames are
    transformed: leaving out those that no column shows, and looking for the loudest among them, would save a quarter of
    the time of an image and double the code.
    """

    filters_MF: Tensor

    def __init__(self, settings: FrontEnd) -> None:
        super().__init__()
        self.settings = settings
        self.spectrum = torchaudio.transforms.Spectrogram(
            n_fft=settings.n_fft,
            win_length=settings.win_length,
            hop_length=settings.hop_length,
            window_fn=torch.hamming_window,
            wkwargs={"dtype": torch.float64},  # in float32, quiet bins beside a loud one would be off by 1e-3
            pad_mode="constant",  # a reflected edge would put sound into the padding of a short clip
            power=None,  # its own power goes by the magnitude: the image would take 1.3 times as long
        )
        self.register_buffer("filters_MF", _mel_filters(settings))

    def power(self, waveform: Tensor) -> Tensor:
        """Mel power of the first `clip_s` seconds: (..., samples) → (..., M, frames) float32.

        Frames are centred; those wholly behind the end of a short clip are left out: they are 0.
        """
        heard = F.pad(waveform, (0, self.settings.win_length // 2))[..., : self.settings.clip_samples]
        spectrum: Tensor = self.spectrum(heard.double())
        return self.filters_MF @ (spectrum.real.square() + spectrum.imag.square()).float()

    def forward(self, waveform: Tensor) -> Tensor:
        """Image in 0…1 of float32 values that float16 holds exactly: (..., samples) → (..., M, W)."""
        power = self.power(waveform)
        peak = power.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(power.dtype).tiny)
        level_db: Tensor = amplitude_to_DB(power / peak, multiplier=10, amin=0, db_multiplier=0)
        image = 1 - level_db.clamp(min=self.settings.floor_db) / self.settings.floor_db
        image_MT = F.pad(image, (0, self.frames() - image.shape[-1]))
        return columns(image_MT, self.settings.width).half().float()

    def frames(self) -> int:
        """T, of a clip of full length."""
        size = self.settings.n_fft
        return 1 + (self.settings.clip_samples + 2 * (size // 2) - size) // self.settings.hop_length


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
    image: Tensor = _log_mel(settings, waveform.device)(waveform)
    return image


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
    """Triangles of height 1, evenly spaced on the HTK scale: (M, F) float32."""
    standard, bins = torch.get_default_dtype(), settings.n_fft // 2
    torch.set_default_dtype(torch.float64)  # made in float32, they are off by 2e-3 relative at the foot of a triangle
    try:
        # Up to the sample rate instead of half of it, which would be rounded down to a whole number.
        filters_FM: Tensor = melscale_fbanks(
            n_freqs=2 * bins + 1,
            f_min=0,
            f_max=settings.sample_rate_hz / 2,
            n_mels=settings.n_mels,
            sample_rate=2 * settings.sample_rate_hz,
        )
    finally:
        torch.set_default_dtype(standard)
    return filters_FM[: bins + 1].mT.float().contiguous()


def columns(image: Tensor, width: int) -> Tensor:
    """Interpolate the time axis alone, linearly: (..., M, T) → (..., M, width)."""
    stacked = image.reshape(-1, *image.shape[-2:])
    return F.interpolate(stacked, size=width, mode="linear").reshape(*image.shape[:-1], width)


@lru_cache(maxsize=100)
def _resampler(percent: int) -> nn.Module:
    # Kept, since its kernel takes as long as its use.
    resampler: nn.Module = torchaudio.transforms.Resample(percent, 100, dtype=torch.float32)
    return resampler


@lru_cache(maxsize=4)
def _log_mel(settings: FrontEnd, device: torch.device) -> LogMel:
    return LogMel(settings).to(device)
