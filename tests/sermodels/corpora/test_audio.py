"""Any rate, format and channel count becomes the same mono waveform; what is no speech is refused in one line."""

import contextlib
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sermodels.corpora import audio
from sermodels.errors import UserError

RATE_HZ = 16_000


def tone(rate_hz: int = RATE_HZ, seconds: float = 0.5, hz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def written(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ, **kwargs: str) -> Path:
    soundfile.write(path, samples, rate_hz, **kwargs)
    return path


@pytest.mark.parametrize("suffix", audio.SUFFIXES)
def test_every_listed_format_is_decoded_to_the_same_tone(tmp_path: Path, suffix: str) -> None:
    loaded = audio.load(written(tmp_path / f"a{suffix}", tone()), RATE_HZ)
    assert loaded.dtype == np.float32
    assert loaded.ndim == 1
    spectrum = np.abs(np.fft.rfft(loaded[:8000]))
    assert spectrum.argmax() * RATE_HZ / 8000 == pytest.approx(440, abs=3)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_any_rate_is_resampled_to_the_same_waveform(tmp_path: Path, rate_hz: int) -> None:
    loaded = audio.load(written(tmp_path / "a.wav", tone(rate_hz), rate_hz, subtype="FLOAT"), RATE_HZ)
    assert len(loaded) == RATE_HZ // 2
    middle = slice(800, -800)  # the filter rings at the ends
    assert np.abs(loaded[middle] - tone()[middle]).max() < 1e-3


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("samples", [9000, 9001, 9002, 22_050, 33_333])
def test_resampling_is_that_of_librosa_to_the_last_sample(rate_hz: int, samples: int) -> None:
    waveform = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    expected = librosa.resample(waveform, orig_sr=rate_hz, target_sr=RATE_HZ, res_type="soxr_hq")
    np.testing.assert_array_equal(audio.from_samples(waveform, "x", rate_hz, RATE_HZ), expected)


def test_a_file_of_too_many_channels_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.full((4000, 33), 0.1))
    with pytest.raises(UserError, match="33 channels; expected at most 32"):
        audio.load(path, RATE_HZ)


def test_samples_that_are_decoded_already_are_checked_alike(tmp_path: Path) -> None:
    samples = tone(22_050).astype(np.float32)
    path = written(tmp_path / "a.wav", samples, 22_050, subtype="FLOAT")
    np.testing.assert_array_equal(audio.from_samples(samples, "x", 22_050, RATE_HZ), audio.load(path, RATE_HZ))
    for bad, reason in ((samples[:100], "too short"), (0 * samples, "silent"), (samples * np.nan, "damaged")):
        with pytest.raises(UserError, match=f"^x: .*{reason}"):
            audio.from_samples(bad, "x", 22_050, RATE_HZ)


def test_what_lies_above_the_new_half_rate_is_filtered_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", tone(48_000, hz=12_000), 48_000)
    assert np.abs(audio.load(path, RATE_HZ)[800:-800]).max() < 1e-3


def test_samples_are_untouched_without_resampling(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1.5, 1.5, 5000).astype(np.float32)
    path = written(tmp_path / "a.wav", samples, subtype="FLOAT")
    np.testing.assert_array_equal(audio.load(path, RATE_HZ), samples)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_mixed_to_their_mean(tmp_path: Path, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (4000, channels)).astype(np.float32)
    loaded = audio.load(written(tmp_path / "a.wav", samples, subtype="FLOAT"), RATE_HZ)
    np.testing.assert_allclose(loaded, samples.mean(axis=1), atol=1e-6)


def with_sample(value: float) -> np.ndarray:
    samples = tone()
    samples[100] = value
    return samples


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "empty recording"),
        (tone(seconds=0.099), "too short: 0.099 s"),
        (np.zeros(8000), "silent"),
        (tone(peak=0.9e-4), "silent"),
        (np.stack([tone(), -tone()], axis=1), "silent"),
        (with_sample(np.nan), "NaN"),
        (with_sample(np.inf), "infinite"),
        (with_sample(1e30), "absurdly large"),
    ],
)
def test_what_is_no_speech_is_refused(tmp_path: Path, samples: np.ndarray, reason: str) -> None:
    assert reason in refusal(written(tmp_path / "bad.wav", samples, subtype="FLOAT"))


def test_the_limits_themselves_are_accepted(tmp_path: Path) -> None:
    assert len(audio.load(written(tmp_path / "short.wav", tone(seconds=0.1)), RATE_HZ)) == 1600
    faint = written(tmp_path / "faint.wav", tone(peak=1.1e-4), subtype="FLOAT")
    assert np.abs(audio.load(faint, RATE_HZ)).max() > 1e-4


def test_rate_and_length_that_only_damage_explains_are_refused(tmp_path: Path) -> None:
    assert "sample rate 10 Hz" in refusal(written(tmp_path / "slow.wav", tone(), 10))
    assert "601 s long" in refusal(written(tmp_path / "long.flac", np.full(601_000, 0.1), 1000))


def test_a_header_that_claims_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "claims.flac", tone())
    encoded = bytearray(path.read_bytes())
    encoded[21] |= 0x0F  # upper bits of the number of samples, 36 bits in all
    encoded[22:26] = b"\xff" * 4
    path.write_bytes(encoded)
    assert "s long" in refusal(path)


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound at all" * 100)
    flac = written(tmp_path / "cut.flac", np.random.default_rng(0).uniform(-1, 1, 8000)).read_bytes()
    (tmp_path / "cut.flac").write_bytes(flac[: len(flac) // 2])
    assert "empty file" in refusal(tmp_path / "empty.wav")
    assert "not WAV" in refusal(tmp_path / "text.wav")
    assert "damaged" in refusal(tmp_path / "cut.flac")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.wav")
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", audio.SUFFIXES)
def test_damage_anywhere_ends_in_a_waveform_or_a_refusal(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", tone())
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(50):
        encoded = bytearray(whole)
        for place in random.integers(0, min(len(encoded), 100), 3):
            encoded[place] = random.integers(256)
        path.write_bytes(encoded)
        with contextlib.suppress(UserError):
            assert np.isfinite(audio.load(path, RATE_HZ)).all()


def refusal(path: Path) -> str:
    """The one line with which loading ends; it names the file."""
    with pytest.raises(UserError) as caught:
        audio.load(path, RATE_HZ)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# What a decoder cannot do


@pytest.mark.parametrize("subtype", sorted(soundfile.available_subtypes("WAV")))
def test_every_coding_of_wav_is_read_whether_it_can_seek_or_not(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    try:
        soundfile.write(path, tone(8000), 8000, subtype=subtype)
    except soundfile.LibsndfileError:
        pytest.skip(f"libsndfile does not write {subtype} of this rate")
    loaded = audio.load(path, 8000)
    spectrum = np.abs(np.fft.rfft(loaded))
    assert len(loaded) == pytest.approx(4000, abs=500)  # of some codings, blocks are filled up
    assert spectrum.argmax() * 8000 / len(loaded) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("error", [ValueError("no\nsense"), RuntimeError("broken."), MemoryError(), TypeError("x")])
def test_whatever_a_decoder_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def read(*_: object, **__: object) -> None:
        raise error

    path = written(tmp_path / "a.wav", tone())
    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    assert "damaged, or not WAV, FLAC, OGG or MP3" in refusal(path)


# Silence at both ends

FRAME, HOP = 2048, 512  # of librosa.effects.trim


@given(
    before=st.integers(0, 30_000),
    after=st.integers(0, 30_000),
    trim_db=st.floats(5, 55),
    peak=st.sampled_from([0.5, 0.05]),
)
@settings(deadline=None, max_examples=40)
def test_silence_at_both_ends_is_cut_to_a_frame(before: int, after: int, trim_db: float, peak: float) -> None:
    sound = np.float32(tone(peak=peak))
    padded = np.pad(sound, (before, after))
    cut = audio.trimmed(padded, trim_db)
    assert np.shares_memory(cut, padded)
    start = (cut.__array_interface__["data"][0] - padded.__array_interface__["data"][0]) // 4
    # A frame that lies half in the silence is 3 dB below the loudest, so at least half of one is kept around the sound.
    assert max(0, before - FRAME // 2 - HOP) <= start <= before + HOP
    assert before + len(sound) - HOP <= start + len(cut) <= before + len(sound) + FRAME // 2 + HOP


@given(st.integers(1, 5000), st.floats(0.01, 100))
@settings(deadline=None, max_examples=20)
def test_what_is_silent_throughout_is_not_cut(samples: int, trim_db: float) -> None:
    assert len(audio.trimmed(np.zeros(samples, np.float32), trim_db)) == samples


def test_without_the_setting_nothing_is_cut() -> None:
    waveform = np.pad(np.float32(tone()), 9000)
    assert audio.trimmed(waveform, None) is waveform


def test_files_and_samples_are_trimmed_alike_behind_resampling(tmp_path: Path) -> None:
    padded = np.pad(np.float32(tone(44_100)), 44_100)
    path = written(tmp_path / "a.wav", padded, 44_100, subtype="FLOAT")
    loaded = audio.load(path, RATE_HZ, trim_db=30)
    np.testing.assert_array_equal(loaded, audio.trimmed(audio.load(path, RATE_HZ), 30))
    np.testing.assert_array_equal(loaded, audio.from_samples(padded, "x", 44_100, RATE_HZ, 30))
    np.testing.assert_array_equal(loaded, audio.decode(path.read_bytes(), "x", RATE_HZ, trim_db=30))
    assert len(loaded) == pytest.approx(RATE_HZ // 2, abs=2 * FRAME)


def test_a_silent_recording_is_refused_trimmed_or_not(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", np.zeros(8000))
    for trim_db in (None, 30):
        with pytest.raises(UserError, match="silent recording"):
            audio.load(path, RATE_HZ, trim_db=trim_db)


def test_real_speech_loses_what_was_put_around_it(emodb: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * RATE_HZ).astype(np.float32)
    for path in sorted(emodb.rglob("*.wav"))[::40]:
        speech = audio.load(path, RATE_HZ, trim_db=30)
        hiss = noise * np.abs(speech).max() * 1e-4
        padded = np.concatenate([hiss[:RATE_HZ], speech, hiss[RATE_HZ:]])
        cut = audio.trimmed(padded, 30)
        assert 0.1 * RATE_HZ < len(speech) <= len(audio.load(path, RATE_HZ))
        assert len(cut) == pytest.approx(len(speech), abs=2 * FRAME)
