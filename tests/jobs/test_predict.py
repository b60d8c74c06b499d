"""jobs/predict.py: any recording is answered, whatever is wrong with its neighbour."""

import json

import librosa
import numpy as np
import pytest
import soundfile
import torch
from here import job_here
from processes import error_line, job

from sermodels import audio
from sermodels.bundle import load_bundle


@pytest.fixture
def studio(wav, tmp_path):
    """The same recording at 44.1 kHz in stereo."""
    waveform, rate_hz = soundfile.read(wav)
    resampled = librosa.resample(waveform, orig_sr=rate_hz, target_sr=44_100)
    soundfile.write(tmp_path / "studio.wav", np.stack([resampled, 0.5 * resampled], axis=1), 44_100)
    return tmp_path / "studio.wav"


def test_good_files_are_answered_and_a_bad_one_is_named(model, wav, studio, tmp_path):
    (tmp_path / "notes.wav").write_text("not sound")
    done = job("predict.py", model, wav, tmp_path / "notes.wav", studio)
    assert "notes.wav" in error_line(done)
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head[:3] == ["file", "emotion", "probability"]
    assert [row[0] for row in rows] == [str(wav), str(studio)]
    for row in rows:
        assert sum(map(float, row[3:])) == pytest.approx(1, abs=0.01)
        assert row[1] == head[3 + row[3:].index(row[2])]


def test_lines_of_json_hold_what_the_bundle_says(model, wav, studio):
    done = job_here("predict.py", model, wav, studio, "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    bundle = load_bundle(model)
    expected = bundle.classify([torch.from_numpy(audio.load(wav, bundle.frontend.sample_rate_hz))])[0]
    assert list(first["probabilities"]) == list(bundle.emotions)
    assert list(first["probabilities"].values()) == expected.tolist()
    assert first["emotion"] == bundle.emotions[expected.argmax()]
    assert first["probability"] == expected.max().item()
    assert second["file"] == str(studio)
    assert list(second["probabilities"].values()) == pytest.approx(expected.tolist(), abs=0.02)
    assert done.returncode == 0


def test_no_file_and_no_model(model, wav, tmp_path):
    assert "no recordings" in error_line(job_here("predict.py", model))
    assert str(tmp_path / "nowhere") in error_line(job_here("predict.py", tmp_path / "nowhere", wav))
