"""A recording of any rate and channel count becomes a mono float32 waveform, or one line that says why not."""

import io
from pathlib import Path

import numpy as np
import soundfile

from sermodels.errors import UserError

SUFFIXES = (".flac", ".mp3", ".ogg", ".wav")  # what counts as audio in a corpus folder, in lower case

MIN_DURATION_S = 0.1
MAX_DURATION_S = 600.0  # far beyond any utterance; headers of damaged files claim terabytes
MIN_RATE_HZ = 1000  # slower than any speech; resampling from it would fill the memory
SILENT_PEAK = 1e-4  # of full scale: -80 dB
DAMAGED_PEAK = 1e10  # of full scale; float files may exceed 1, but beyond this the power of a spectrum overflows


def load(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Decode a file, mix its channels to their mean and resample it (soxr, high quality).

    Args:
        path: any file that libsndfile reads.
        sample_rate_hz: of the waveform returned.

    Returns:
        Shape (samples,), float32, full scale at ±1; all values finite, not silent, at least 0.1 s.

    Raises:
        UserError: missing, a folder, undecodable, empty, outside 0.1 s to 600 s, below 1000 Hz, silent, or with NaN,
            infinite or absurdly large samples.
    """
    frames, rate_hz = _decode(path)
    waveform = frames.mean(axis=1)
    _check_values(path, waveform)
    if rate_hz == sample_rate_hz:
        return waveform
    import librosa  # takes as long to import as torch, and most corpora have the rate already

    return librosa.resample(waveform, orig_sr=rate_hz, target_sr=sample_rate_hz, res_type="soxr_hq")


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Samples of shape (frames, channels), float32, and their rate in Hz."""
    try:
        # Not opened by libsndfile, which calls every error of the operating system "System error".
        encoded = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if not encoded:
        raise UserError(f"{path}: empty file: 0 bytes")
    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as sound:
            _check_length(path, sound.frames, sound.samplerate)
            frames = sound.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise UserError(f"{path}: damaged, or not WAV, FLAC, OGG or MP3 (libsndfile: {reason})") from None
    _check_length(path, len(frames), sound.samplerate)  # again: a file cut off in the middle promises more
    return frames, sound.samplerate


def _check_length(path: Path, frames: int, rate_hz: int) -> None:
    if frames == 0:
        raise UserError(f"{path}: empty recording: no samples")
    if rate_hz < MIN_RATE_HZ:
        raise UserError(f"{path}: sample rate {rate_hz} Hz; expected at least {MIN_RATE_HZ} Hz")
    duration_s = frames / rate_hz
    if duration_s < MIN_DURATION_S:
        raise UserError(f"{path}: too short: {duration_s:.3f} s; expected at least {MIN_DURATION_S} s")
    if duration_s > MAX_DURATION_S:
        raise UserError(f"{path}: {duration_s:.0f} s long; expected one utterance of at most {MAX_DURATION_S:.0f} s")


def _check_values(path: Path, waveform: np.ndarray) -> None:
    peak = np.abs(waveform).max()
    if not peak < DAMAGED_PEAK:  # true of NaN, too
        raise UserError(f"{path}: damaged recording: NaN, infinite or absurdly large samples")
    if peak < SILENT_PEAK:
        raise UserError(f"{path}: silent recording: peak {peak:.1e} of full scale; expected {SILENT_PEAK:.0e} or more")
