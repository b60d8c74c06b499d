"""The front-end against librosa, and each view against what it promises, measured on signals."""

import librosa
import numpy as np
import pytest
import torch

from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.corpora import audio
from sermodels.store.frontend import VIEWS, LogMel, log_mel, view

RATE = 16_000
PAPER = FrontEnd()


def speechlike(seconds: float, seed: int = 0, pitch_hz: float = 220.0) -> torch.Tensor:
    """Harmonics under a slow envelope, with some noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 20))
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return torch.tensor((1 + np.sin(2 * np.pi * 3 * time)) * 0.1 * tone + 0.001 * noise, dtype=torch.float32)


def draw(waveform: torch.Tensor, kind: str, *, seed: int = 0, name: str = "a/1.wav", **ranges):
    return view(waveform, kind, PAPER, Augmentation(**ranges), seed, name)


def librosa_power(waveform: np.ndarray, settings: FrontEnd) -> np.ndarray:
    return librosa.feature.melspectrogram(
        y=waveform,
        sr=settings.sample_rate_hz,
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        win_length=settings.win_length,
        window="hamming",
        n_mels=settings.n_mels,
        pad_mode="constant",
        htk=True,
        norm=None,
    )


@pytest.mark.parametrize("settings", [PAPER, FrontEnd(sample_rate_hz=8000, n_fft=512, win_length=400, n_mels=40)])
def test_mel_power_is_librosas(settings):
    waveform = speechlike(settings.clip_samples / RATE)
    power = LogMel(settings).power(waveform).numpy()
    assert power.shape == (settings.n_mels, 1 + settings.clip_samples // settings.hop_length)
    np.testing.assert_allclose(power, librosa_power(waveform.numpy(), settings), rtol=1e-5)


def test_mel_power_of_real_speech_is_librosas(emodb):
    """Quiet bins beside loud ones, where a spectrum in float32 would be off by 1e-3."""
    recording = sorted(emodb.rglob("*.wav"))[0]
    waveform = librosa.util.fix_length(audio.load(recording, RATE), size=PAPER.clip_samples)
    power = LogMel(PAPER).power(torch.from_numpy(waveform)).numpy()
    np.testing.assert_allclose(power, librosa_power(waveform, PAPER), rtol=1e-5)


def test_image_is_the_interpolated_decibels_of_librosa():
    waveform = speechlike(4)
    power = LogMel(PAPER).power(waveform).numpy()
    level_db = librosa.power_to_db(power, ref=np.max, amin=1e-30, top_db=80.0)
    at = (np.arange(128) + 0.5) * 1001 / 128 - 0.5  # frame under the middle of each column
    expected = np.stack([np.interp(at, np.arange(1001), row) for row in 1 + level_db / 80])
    np.testing.assert_allclose(log_mel(waveform, PAPER).numpy(), expected, atol=1e-3)


def test_frames_and_shape_of_the_paper():
    assert LogMel(PAPER).power(speechlike(4)).shape == (128, 1001)
    assert log_mel(speechlike(4), PAPER).shape == (128, 128)
    assert log_mel(speechlike(3), FrontEnd(width=64, n_mels=80)).shape == (80, 64)


def test_pixels_are_between_0_and_1_and_exact_in_float16():
    image = log_mel(speechlike(4), PAPER)
    assert image.dtype == torch.float32
    assert torch.equal(image, image.half().float())
    assert image.min() >= 0
    assert 0.98 < image.max() <= 1  # interpolation may miss the loudest frame


def test_image_does_not_depend_on_loudness():
    waveform = speechlike(2)
    assert torch.allclose(log_mel(waveform, PAPER), log_mel(waveform / 1024, PAPER), atol=1e-3)


def test_padding_is_exactly_0_and_sound_is_not():
    image = log_mel(speechlike(2), PAPER)
    reach = (PAPER.win_length / 2 + PAPER.hop_length) / RATE  # a window's half and one frame of interpolation
    silent_from = int(np.ceil((2 + reach) / 4 * 128)) + 1
    assert (image[:, silent_from:] == 0).all()
    assert (image[:, :63] > 0).any(dim=0).all()


def test_long_recordings_are_cut_at_the_clip_length():
    waveform = speechlike(6)
    assert torch.equal(log_mel(waveform, PAPER), log_mel(waveform[: 4 * RATE], PAPER))


@pytest.mark.parametrize("sample", range(20_000, 20_512, 64))
def test_the_loudest_frame_counts_even_between_columns(sample):
    waveform = 0.01 * speechlike(3)
    waveform[sample - 50 : sample + 50] += torch.sin(torch.arange(100.0))
    power = LogMel(PAPER).power(waveform)
    level_db = (10 * torch.log10(power / power.max())).clamp(min=-80)
    image = torch.nn.functional.pad(1 + level_db / 80, (0, 1001 - power.shape[1]))
    expected = torch.nn.functional.interpolate(image[None], size=128, mode="linear")[0].half().float()
    assert torch.equal(log_mel(waveform, PAPER), expected)


@pytest.mark.parametrize("seconds", [0.01, 1, 3.99])
def test_a_short_recording_equals_itself_with_zeros_behind(seconds):
    waveform = speechlike(seconds)
    padded = torch.nn.functional.pad(waveform, (0, 4 * RATE - len(waveform)))
    assert torch.equal(log_mel(waveform, PAPER), log_mel(padded, PAPER))


@pytest.mark.parametrize("samples", [1, RATE, 5 * RATE])
def test_silence_gives_zeros(samples):
    assert torch.equal(log_mel(torch.zeros(samples), PAPER), torch.zeros(128, 128))


def test_a_batch_equals_its_clips_one_by_one():
    waveforms = torch.stack([speechlike(1.5, seed, pitch) for seed, pitch in [(1, 110), (2, 220), (3, 330)]])
    one_by_one = torch.stack([log_mel(waveform, PAPER) for waveform in waveforms])
    step = 2**-11  # between float16 numbers just below 1
    assert torch.allclose(log_mel(waveforms, PAPER), one_by_one, atol=step, rtol=0)
    assert log_mel(waveforms.reshape(3, 1, -1), PAPER).shape == (3, 1, 128, 128)


def test_front_end_leaves_no_gradient_graph():
    assert not log_mel(speechlike(1).requires_grad_(), PAPER).requires_grad


def test_original_view_is_the_recording():
    waveform = speechlike(1)
    same, drawn = draw(waveform, "original")
    assert torch.equal(same, waveform)
    assert drawn == {}


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_has_the_drawn_power(snr_db):
    waveform = speechlike(3)
    noisy, drawn = draw(waveform, "noise", snr_db=(snr_db, snr_db))
    noise = noisy - waveform
    measured = 10 * torch.log10(waveform.square().mean() / noise.square().mean())
    assert drawn == {"snr_db": snr_db}
    assert measured == pytest.approx(snr_db, abs=0.2)


def test_noise_is_white():
    waveform = speechlike(4)
    noise = draw(waveform, "noise")[0] - waveform
    power = torch.fft.rfft(noise).abs().square()
    quarters = torch.stack([part.mean() for part in power[:-1].chunk(4)])
    assert quarters.max() / quarters.min() < 1.1


def test_shift_moves_and_fills_with_zeros():
    waveform = speechlike(2)
    later, drawn = draw(waveform, "shift", shift_s=(0.25, 0.25))
    assert drawn == {"shift_s": 0.25}
    assert (later[:4000] == 0).all()
    assert torch.equal(later[4000:], waveform)
    earlier, drawn = draw(waveform, "shift", shift_s=(-0.25, -0.25))
    assert drawn == {"shift_s": -0.25}
    assert torch.equal(earlier, waveform[4000:])


@pytest.mark.parametrize("shift_s", [-0.5, 0.5])
def test_shift_leaves_half_of_a_very_short_recording(shift_s):
    waveform = speechlike(0.2)
    shifted, drawn = draw(waveform, "shift", shift_s=(shift_s, shift_s))
    assert abs(drawn["shift_s"]) == 0.1
    assert log_mel(shifted, PAPER).any()


def test_shift_keeps_sound_in_a_short_image():
    settings = FrontEnd(clip_s=0.4)
    shifted, drawn = view(speechlike(2), "shift", settings, Augmentation(shift_s=(3.0, 3.0)), 0, "a")
    assert drawn["shift_s"] == 0.2
    assert log_mel(shifted, settings)[:, 70:].any()


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_pitch_and_duration_together(speed):
    time = torch.arange(2 * RATE) / RATE
    faster, drawn = draw(torch.sin(2 * torch.pi * 500 * time), "speed", speed=(speed, speed))
    assert drawn == {"speed": speed}
    assert len(faster) == pytest.approx(2 * RATE / speed, abs=1)
    loudest_hz = torch.fft.rfft(faster).abs().argmax() * RATE / len(faster)
    assert loudest_hz == pytest.approx(500 * speed, abs=1)


def test_speed_is_drawn_in_hundredths():
    speeds = {draw(speechlike(0.2), "speed", name=str(i))[1]["speed"] for i in range(40)}
    assert len(speeds) > 5
    assert all(speed == round(speed, 2) and 0.9 <= speed <= 1.1 for speed in speeds)


@pytest.mark.parametrize("kind", VIEWS[1:])
def test_views_are_functions_of_seed_name_and_kind(kind):
    waveform = speechlike(0.5)
    again, first = draw(waveform, kind)[0], draw(waveform, kind)[0]
    assert torch.equal(again, first)
    for other in (draw(waveform, kind, seed=1), draw(waveform, kind, name="a/2.wav")):
        assert other[1] != draw(waveform, kind)[1]


def test_views_are_drawn_apart():
    """With equal ranges the three kinds still draw different numbers."""
    same = {"snr_db": (0.5, 1.5), "shift_s": (0.5, 1.5), "speed": (0.5, 1.5)}
    drawn = [next(iter(draw(speechlike(4), kind, **same)[1].values())) for kind in VIEWS[1:]]
    assert len({round(value, 2) for value in drawn}) == 3


def test_views_leave_the_recording_alone():
    waveform = speechlike(0.5)
    before = waveform.clone()
    for kind in VIEWS:
        draw(waveform, kind)
    assert torch.equal(waveform, before)


def test_an_unknown_view_is_named():
    with pytest.raises(ValueError, match="'echo' does not exist: must be one of original, noise"):
        draw(speechlike(0.2), "echo")
