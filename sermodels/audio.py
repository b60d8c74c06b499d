"""A recording of any rate and channel count becomes a mono float32 waveform, or one line that says why not."""

import io
import math
from pathlib import Path

import numpy as np
import soundfile

from sermodels.errors import UserError

SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")  # what counts as audio in a corpus folder, in lower case

MIN_DURATION_S = 0.1
MAX_DURATION_S = 600.0  # far beyond any utterance; headers of damaged files claim terabytes
MAX_CHANNELS = 32  # a small file may claim a thousand, and fill the memory
MIN_RATE_HZ = 1000  # slower than any speech; resampling from it would fill the memory
SILENT_PEAK = 1e-4  # of full scale: -80 dB
DAMAGED_PEAK = 1e10  # of full scale; float files may exceed 1, but beyond this the power of a spectrum overflows


def load(path: Path, sample_rate_hz: int, longest_s: float = MAX_DURATION_S) -> np.ndarray:
    """Decode a file, mix its channels to their mean and resample it (soxr, high quality).

    Args:
        path: any file that libsndfile reads.
        sample_rate_hz: of the waveform returned.
        longest_s: seconds; what is longer is refused.

    Returns:
        Shape (samples,), float32, full scale at ±1; all values finite, not silent, at least 0.1 s.

    Raises:
        UserError: missing, a folder, undecodable, empty, shorter than 0.1 s or longer than `longest_s`, below 1000 Hz,
            silent, or with NaN, infinite or absurdly large samples.
    """
    try:
        # Not opened by libsndfile, which calls every error of the operating system "System error".
        encoded = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return decode(encoded, str(path), sample_rate_hz, longest_s)


def decode(encoded: bytes, name: str, sample_rate_hz: int, longest_s: float = MAX_DURATION_S) -> np.ndarray:
    """As `load`, of a file's content; `name` stands in errors."""
    if not encoded:
        raise UserError(f"{name}: empty file: 0 bytes")
    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as sound:
            _check_length(name, sound.frames, sound.samplerate, longest_s)
            if sound.channels > MAX_CHANNELS:
                raise UserError(f"{name}: {sound.channels} channels; expected at most {MAX_CHANNELS}")
            frames = sound.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise UserError(f"{name}: damaged, or not WAV, FLAC, OGG or MP3 (libsndfile: {reason})") from None
    _check_length(name, len(frames), sound.samplerate, longest_s)  # again: a file cut off promises more
    waveform = frames.mean(axis=1)
    _check_values(name, waveform)
    return _resampled(waveform, sound.samplerate, sample_rate_hz)


def from_samples(waveform: np.ndarray, name: str, rate_hz: int, sample_rate_hz: int) -> np.ndarray:
    """As `load`, of samples that are decoded already.

    Args:
        waveform: (samples,) float32.
        name: stands in errors.
        rate_hz: of the samples.
        sample_rate_hz: of the waveform returned.
    """
    _check_length(name, len(waveform), rate_hz, MAX_DURATION_S)
    _check_values(name, waveform)
    return _resampled(waveform, rate_hz, sample_rate_hz)


def _resampled(waveform: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    if rate_hz == wanted_hz:
        return waveform
    try:
        import soxr  # imported here, so that recordings of the right rate can be read without it
    except ImportError:
        raise UserError(f"to make {wanted_hz} Hz of {rate_hz} Hz takes soxr: pip install soxr") from None
    # As long as librosa makes it, which readers compare with: the last sample may be a zero.
    samples = math.ceil(len(waveform) * (wanted_hz / rate_hz))
    found = soxr.resample(waveform, rate_hz, wanted_hz, quality="HQ")[:samples]
    return np.pad(found, (0, samples - len(found)))


def _check_length(name: str, frames: int, rate_hz: int, longest_s: float) -> None:
    if frames == 0:
        raise UserError(f"{name}: empty recording: no samples")
    if rate_hz < MIN_RATE_HZ:
        raise UserError(f"{name}: sample rate {rate_hz} Hz; expected at least {MIN_RATE_HZ} Hz")
    duration_s = frames / rate_hz
    if duration_s < MIN_DURATION_S:
        raise UserError(f"{name}: too short: {duration_s:.3f} s; expected at least {MIN_DURATION_S} s")
    if duration_s > longest_s:
        raise UserError(f"{name}: {duration_s:.0f} s long; expected at most {longest_s:.0f} s")


def _check_values(name: str, waveform: np.ndarray) -> None:
    peak = np.abs(waveform).max()
    if not peak < DAMAGED_PEAK:  # true of NaN, too
        raise UserError(f"{name}: damaged recording: NaN, infinite or absurdly large samples")
    if peak < SILENT_PEAK:
        raise UserError(f"{name}: silent recording: peak {peak:.1e} of full scale; expected {SILENT_PEAK:.0e} or more")
