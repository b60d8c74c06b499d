"""jobs/predict.py: any recording is answered, whatever is wrong with its neighbour."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
import threading

import librosa
import numpy as np
import pytest
import soundfile
import torch
from here import job_here
from processes import ROOT, environment, error_line, job

from sermodels.corpora import audio
from sermodels.training.bundle import load_bundle

CLIP_S = 2.0  # that the model hears


@pytest.fixture
def studio(wav, tmp_path):
    """The same recording at 44.1 kHz in stereo, no longer than what is heard."""
    waveform, rate_hz = soundfile.read(wav)
    resampled = librosa.resample(waveform[: int(CLIP_S * rate_hz)], orig_sr=rate_hz, target_sr=44_100)
    soundfile.write(tmp_path / "studio.wav", np.stack([resampled, 0.5 * resampled], axis=1), 44_100)
    return tmp_path / "studio.wav"


@pytest.fixture
def long(wav, tmp_path):
    """Five seconds: the recording, over and over."""
    waveform, rate_hz = soundfile.read(wav)
    soundfile.write(tmp_path / "long.flac", np.resize(waveform, 5 * rate_hz), rate_hz)
    return tmp_path / "long.flac"


def test_good_files_are_answered_and_a_bad_one_is_named(model, studio, tmp_path):
    (tmp_path / "notes.wav").write_text("not sound")
    shutil.copy(studio, tmp_path / "other.wav")
    done = job("predict.py", model, tmp_path / "other.wav", tmp_path / "notes.wav", studio)
    said = done.stderr.splitlines(keepends=True)
    done.stderr = "".join(
        line for line in said if not line.startswith("recordings: ")
    )  # how far it was, if it was slow
    assert "notes.wav" in error_line(done)
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head[:3] == ["file", "emotion", "probability"]
    assert [row[0] for row in rows] == [str(tmp_path / "other.wav"), str(studio)]
    for row in rows:
        assert sum(map(float, row[3:])) == pytest.approx(1, abs=0.01)
        assert row[1] == head[3 + row[3:].index(row[2])]


def test_lines_of_json_hold_what_pytorch_says(model, wav, studio):
    done = job_here("predict.py", model, wav, studio, "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    bundle = load_bundle(model)
    expected = bundle.classify([torch.from_numpy(audio.load(wav, bundle.frontend.sample_rate_hz))])[0]
    assert list(first["probabilities"]) == list(bundle.emotions)
    assert list(first["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert first["emotion"] == bundle.emotions[expected.argmax()]
    assert first["probability"] == max(first["probabilities"].values())
    assert second["file"] == str(studio)
    assert done.returncode == 0


@pytest.mark.parametrize("suffix", audio.SUFFIXES)
def test_a_folder_is_searched_for_every_format(suffix, model, wav, tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    waveform, rate_hz = soundfile.read(wav)
    soundfile.write(tmp_path / "deep" / "er" / f"a{suffix}", waveform, rate_hz)
    (tmp_path / "deep" / "notes.txt").write_text("not sound")
    (answer,) = map(json.loads, job_here("predict.py", model, tmp_path / "deep", "--json").stdout.splitlines())
    assert answer["file"] == str(tmp_path / "deep" / "er" / f"a{suffix}")


def test_a_long_recording_is_heard_to_its_end_if_asked(model, long):
    beginning = job_here("predict.py", model, long, "--json")
    assert "longer than the 2 s that were heard; --every" in beginning.stderr
    assert beginning.returncode == 0
    (whole,) = map(json.loads, job_here("predict.py", model, long, "--json", "--every", "0.8").stdout.splitlines())
    spans = [(part["from_s"], part["to_s"]) for part in whole["curve"]]
    assert spans == [(0, 2), (0.8, 2.8), (1.6, 3.6), (2.4, 4.4), (3.2, 5)]
    assert whole["curve"][0]["probabilities"] == pytest.approx(json.loads(beginning.stdout)["probabilities"], abs=1e-5)
    for emotion, probability in whole["probabilities"].items():
        assert probability == pytest.approx(np.mean([part["probabilities"][emotion] for part in whole["curve"]]))
    table = job_here("predict.py", model, long, "--every", "0.8").stdout.splitlines()
    assert [line.split()[1:3] for line in table] == [
        ["from", "to"],
        *([f"{start:.2f}", f"{end:.2f}"] for start, end in spans),
        ["all", "mean"],
    ]


def test_standard_input(model, studio):
    command = [sys.executable, ROOT / "jobs" / "predict.py", model, "-", "--json"]
    done = subprocess.run(command, input=studio.read_bytes(), capture_output=True, env=environment(), check=True)
    from_file = json.loads(job_here("predict.py", model, studio, "--json").stdout)
    assert json.loads(done.stdout) == {**from_file, "file": "-"}


def test_no_file_no_model_and_no_time(model, wav, tmp_path):
    assert "no recordings" in error_line(job_here("predict.py", model))
    assert str(tmp_path / "nowhere") in error_line(job_here("predict.py", tmp_path / "nowhere", wav))
    assert "no audio file" in error_line(job_here("predict.py", model, tmp_path))
    for every in ("0", "2.5", "nan"):
        assert f"--every {every}: must be 0.01 to 2 seconds" in error_line(
            job_here("predict.py", model, wav, "--every", every)
        )
    assert "--threads 0" in error_line(job_here("predict.py", model, wav, "--threads", "0"))


def test_odd_places_among_good_files(model, studio, tmp_path):
    (tmp_path / "empty").mkdir()
    done = job_here("predict.py", model, tmp_path / "empty", studio, tmp_path / ("x" * 300), "--json")
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(studio)]
    errors = done.stderr.splitlines()
    assert "holds no audio file" in errors[0]
    assert "cannot be read: File name too long" in errors[1]
    assert done.returncode == 2


def test_silence_in_a_long_recording_is_told_and_not_averaged(model, wav, tmp_path):
    speech, rate_hz = soundfile.read(wav)
    sound = np.concatenate([np.resize(speech, 2 * rate_hz), np.zeros(4 * rate_hz)])
    soundfile.write(tmp_path / "pause.wav", sound, rate_hz)
    (answer,) = map(
        json.loads, job_here("predict.py", model, tmp_path / "pause.wav", "--json", "--every", "2").stdout.splitlines()
    )
    assert [part["emotion"] is None for part in answer["curve"]] == [False, True, True]
    assert answer["probabilities"] == pytest.approx(answer["curve"][0]["probabilities"])
    table = job_here("predict.py", model, tmp_path / "pause.wav", "--every", "2").stdout.splitlines()
    assert [line.split()[3] for line in table[2:4]] == ["silence", "silence"]


def test_answers_go_to_their_file_while_a_terminal_shows_progress(model, studio, tmp_path):
    """A bar on the terminal must not swallow what is printed."""
    controller, terminal = pty.openpty()
    shown = threading.Thread(target=_read, args=(controller,))  # or the bar fills the terminal, and waits for ever
    shown.start()
    with (tmp_path / "answers.jsonl").open("w") as answers:
        command = [sys.executable, ROOT / "jobs" / "predict.py", model, studio, "--json"]
        subprocess.run(command, stdout=answers, stderr=terminal, env=environment(), check=True)
    os.close(terminal)
    shown.join()
    os.close(controller)
    assert json.loads((tmp_path / "answers.jsonl").read_text())["file"] == str(studio)


def _read(controller):
    with contextlib.suppress(OSError):  # the terminal is closed
        while os.read(controller, 4096):
            pass


def test_a_reader_that_has_seen_enough_is_no_error(model, studio):
    command = f"{sys.executable} {ROOT}/jobs/predict.py {model} {' '.join([str(studio)] * 40)} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment(), check=True)
    assert "Traceback" not in done.stderr


def test_pytorch_is_not_imported(model, wav):
    code = "import runpy, sys; sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__'); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "jobs/predict.py", model, wav]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.splitlines()[-1] == "False"
