"""A recording of any rate and channel count becomes a mono float32 waveform, or one line that says why not.

Resampling and trimming are librosa's. Decoding is soundfile's, as in librosa.load: that cannot read what cannot seek,
and importing librosa takes 2 s of a core and 200 MB, ten times what a start of jobs/predict.py takes without it.
"""

import io
from pathlib import Path
from types import ModuleType

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


def load(
    path: Path, sample_rate_hz: int, longest_s: float = MAX_DURATION_S, trim_db: float | None = None
) -> np.ndarray:
    """Decode a file, mix its channels to their mean, resample it (soxr, high quality) and cut the silence at its ends.

    Args:
        path: any file that libsndfile reads.
        sample_rate_hz: of the waveform returned.
        longest_s: seconds; what is longer is refused.
        trim_db: see `trimmed`.

    Returns:
        Shape (samples,), float32, full scale at ±1; all values finite, not silent, at least 0.1 s unless trimmed.

    Raises:
        UserError: missing, a folder, undecodable, empty, shorter than 0.1 s or longer than `longest_s`, below 1000 Hz,
            silent, or with NaN, infinite or absurdly large samples.
    """
    try:
        # Not opened by libsndfile, which calls every error of the operating system "System error".
        encoded = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return decode(encoded, str(path), sample_rate_hz, longest_s, trim_db)


def decode(
    encoded: bytes, name: str, sample_rate_hz: int, longest_s: float = MAX_DURATION_S, trim_db: float | None = None
) -> np.ndarray:
    """As `load`, of a file's content; `name` stands in errors."""
    if not encoded:
        raise UserError(f"{name}: empty file: 0 bytes")
    try:
        with soundfile.SoundFile(io.BytesIO(encoded)) as sound:
            _check_length(name, sound.frames, sound.samplerate, longest_s)
            if sound.channels > MAX_CHANNELS:
                raise UserError(f"{name}: {sound.channels} channels; expected at most {MAX_CHANNELS}")
            frames = sound.read(sound.frames, dtype="float32", always_2d=True)  # GSM 06.10 cannot seek to find its end
    except UserError:
        raise
    except Exception as error:  # whatever a decoder raises
        reason = " ".join(getattr(error, "error_string", str(error)).split()).rstrip(".")
        raise UserError(f"{name}: damaged, or not WAV, FLAC, OGG or MP3 (libsndfile: {reason})") from None
    _check_length(name, len(frames), sound.samplerate, longest_s)  # again: a file cut off promises more
    waveform = frames.mean(axis=1)
    _check_values(name, waveform)
    return trimmed(_resampled(waveform, sound.samplerate, sample_rate_hz), trim_db)


def from_samples(
    waveform: np.ndarray, name: str, rate_hz: int, sample_rate_hz: int, trim_db: float | None = None
) -> np.ndarray:
    """As `load`, of samples that are decoded already.

    Args:
        waveform: (samples,) float32.
        name: stands in errors.
        rate_hz: of the samples.
        sample_rate_hz: of the waveform returned.
        trim_db: see `trimmed`.
    """
    _check_length(name, len(waveform), rate_hz, MAX_DURATION_S)
    _check_values(name, waveform)
    return trimmed(_resampled(waveform, rate_hz, sample_rate_hz), trim_db)


def trimmed(waveform: np.ndarray, trim_db: float | None) -> np.ndarray:
    """Cut leading and trailing silence, by librosa; what is silent throughout stays as it is.

    Args:
        waveform: (samples,) float32.
        trim_db: what is silent: 2048 samples whose root mean square is so many dB below that of the loudest 2048. None:
            nothing is.

    Returns:
        (fewer samples,), a part of the same memory, of at least 512 samples if there were as many.
    """
    return waveform if trim_db is None else _librosa("cut silence").effects.trim(waveform, top_db=trim_db)[0]


def _resampled(waveform: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    if rate_hz == wanted_hz:
        return waveform
    librosa = _librosa(f"make {wanted_hz} Hz of {rate_hz} Hz")
    resampled: np.ndarray = librosa.resample(waveform, orig_sr=rate_hz, target_sr=wanted_hz, res_type="soxr_hq")
    return resampled


def _librosa(purpose: str) -> ModuleType:
    """Imported where it is needed, so that recordings of the right rate can be read without it."""
    try:
        import librosa
    except ImportError:
        raise UserError(f"to {purpose} takes librosa: pip install librosa") from None
    return librosa


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
