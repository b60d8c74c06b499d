"""jobs/export_best.py, from a real sweep to an answer over HTTP."""

import base64
import copy
import io
import shutil
from functools import partial

import numpy as np
import pytest
import requests
import soundfile
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient
from processes import environment, error_line, free_port, serving

from sermodels.config.parsing import merged
from sermodels.corpora import audio
from sermodels.deploy import complete
from sermodels.deploy.manifest import verify
from sermodels.deploy.recogniser import Recogniser
from sermodels.model_files import ADDED, CARD
from sermodels.training.bundle import FILES, load_bundle

PRESET = {
    "description": "two trials, the best confirmed",
    "chain": merged(TINY, {"folds": [0, 1]}),
    "space": {"alpha": [0, 1]},
    "trials": 2,
    "sampler": "grid",
    "confirm": 1,
}


@pytest.fixture(scope="module")
def export(tmp_path_factory, store, new_home, ray_address):
    """Exports the best of a sweep, with further words on the command line."""
    folder = tmp_path_factory.mktemp("sweep")
    new_home(folder / "home")
    (folder / "preset.yaml").write_text(yaml.safe_dump(PRESET))
    words = ["--store", store.path, "--preset", folder / "preset.yaml", "--name", "two", "--home", folder / "home"]
    assert job_here("sweep.py", *words, "--address", ray_address).returncode == 0
    return partial(job_here, "export_best.py", "--sweep", "two", "--home", folder / "home", "--out")


@pytest.fixture(autouse=True, scope="module")
def exported_once():
    """The one model is exported again and again here, which takes seconds each time."""
    export, graphs = complete.export_onnx, {}

    def remembered(network, *about):
        key = (*(tensor.numpy().tobytes() for tensor in network.state_dict().values()), str(about))
        if key not in graphs:
            graphs[key] = export(network, *about)
        return copy.deepcopy(graphs[key])

    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(complete, "export_onnx", remembered)
        yield


@pytest.fixture(scope="module")
def corpus(store):
    return store.path.parent / "corpus"


@pytest.fixture(scope="module")
def registered(export, tmp_path_factory, store, corpus):
    """An exported and registered model, and what was printed."""
    out = tmp_path_factory.mktemp("exported") / "best"
    words = ["--store", store.path, "--recordings", corpus, "--register", "ser"]
    done = export(out, *words)
    assert done.returncode == 0, done.stderr
    return out, done


def test_the_model_reproduces_the_figures_of_the_sweep_and_says_so(registered):
    out, done = registered
    assert {path.name for path in out.iterdir()} == {*FILES, *ADDED}
    metrics = load_bundle(out).metrics
    assert [lane[:2] for lane in metrics["selection"]["confirmed_lanes"]] == [[0, 1], [1, 1]]
    began, *checks = done.stderr.splitlines()
    assert began.startswith(f"exporting to {out}")
    assert len(checks) == 3
    assert "Computed again from these files, UAR" in checks[0]
    assert "7 recordings, probabilities of ONNX and PyTorch differ by" in checks[1]
    assert "gives the confusion matrix of the sweep" in checks[2]
    for check in checks:
        assert check in (out / CARD).read_text()
    assert "ser, version 1, is the champion: there was no champion" in done.stdout
    assert "8 files as exported" in verify(out)


def test_the_card_holds_what_was_measured(registered, store):
    out, _ = registered
    text, test = (out / CARD).read_text(), load_bundle(out).metrics["test"]
    assert f"| **test, this network** | **{test['lanes'][0]['uar']:.3f}** |" in text
    assert f"{test['uar']:.3f} ± {test['uar_std']:.3f}" in text
    assert f"| test | 7 | {test['speakers'][0]} |" in text
    for emotion, counts in zip(store.emotions, test["confusion"], strict=True):
        assert f"| {emotion} | {' | '.join(map(str, counts))} |" in text
    assert "{{" not in text
    assert "fresh seeds" in text


def test_a_second_export_of_the_sweep_is_the_same_version(registered, export, tmp_path):
    done = export(tmp_path / "again", "--register", "ser")
    assert "ser, version 1, is the champion: it is the champion already" in done.stdout
    assert "On the example, probabilities of ONNX and PyTorch differ" in done.stderr


def test_what_is_not_the_sweeps_is_refused_and_leaves_what_was_there(registered, export, store, corpus, tmp_path):
    out = shutil.copytree(registered[0], tmp_path / "best")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    wrong = shutil.copytree(corpus, tmp_path / "wrong")
    name = next(clip for clip in store.clip_id if clip.startswith(load_bundle(out).metrics["test"]["speakers"][0]))
    samples, rate_hz = soundfile.read(wrong / name)
    soundfile.write(wrong / name, samples[::-1], rate_hz)
    refused = export(out, "--store", store.path, "--recordings", wrong)
    assert f"{name}: missing, or not the recording" in error_line_at_end(refused)
    refused = export(out, "--store", store.path, "--recordings", tmp_path / "best")
    assert "expected the recordings that the store was built from" in error_line_at_end(refused)
    assert "must not be empty or hold" in error_line(export(out, "--register", "a/b"))
    assert "give --register NAME" in error_line(export(out, "--force"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def error_line_at_end(done):
    """The refusal of a job that had told of checks before."""
    assert done.returncode == 2
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def server(registered, export):
    """The address of `mlflow models serve` with the champion."""
    home = export.args[export.args.index("--home") + 1]
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/ser@champion", "--env-manager", "local", "-p", port]
    env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db")
    with serving([*command, "-h", "127.0.0.1"], env, f"http://127.0.0.1:{port}/ping"):
        yield f"http://127.0.0.1:{port}/invocations"


def test_a_server_answers_files_and_samples(server, registered, store, corpus):
    clips = [corpus / clip for clip in store.clip_id[:2]]
    waveform = audio.load(clips[1], 16_000)
    records = [
        {"audio": base64.b64encode(clips[0].read_bytes()).decode()},
        {"samples": waveform.tolist(), "sample_rate_hz": 16_000},
    ]
    model = Recogniser(registered[0])
    for asked in ([0], [1], [0, 0]):  # records of one kind in a request
        answer = requests.post(server, json={"dataframe_records": [records[number] for number in asked]}, timeout=60)
        assert answer.status_code == 200, answer.text
        for number, one in zip(asked, answer.json()["predictions"], strict=True):
            expected = model.answer(clips[number])
            assert one["probabilities"] == pytest.approx(expected, abs=1e-6)
            assert one["emotion"] == max(expected, key=expected.get)
            assert one["probability"] == max(expected.values())


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"audio": base64.b64encode(b"not sound").decode()}, "record 0: damaged, or not WAV"),
        ({"audio": ""}, "record 0: empty file"),
        ({"samples": [0.1] * 100, "sample_rate_hz": 16_000}, "record 0: too short"),
        ({"samples": [0.0] * 9000, "sample_rate_hz": 16_000}, "record 0: silent"),
        ({"samples": [0.1] * 9000}, "record 0: samples without sample_rate_hz"),
        ({"samples": [0.1, 0.2] * 9000, "sample_rate_hz": 1e12}, "record 0: too short"),
        ({"samples": ["loud"] * 9000, "sample_rate_hz": 16_000}, "samples"),
        (
            {"samples": [0.1, 0.2] * 9000, "sample_rate_hz": 16_000.5},
            "record 0: sample_rate_hz = 16000.5; expected a whole",
        ),
        ({"sample_rate_hz": 16_000}, "record 0: expected either audio"),
        ({"sound": "of silence"}, "sound"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_request_gets_400_and_a_reason(record, reason, server):
    answer = requests.post(server, json={"dataframe_records": [record]}, timeout=60)
    assert answer.status_code == 400
    assert reason in answer.json()["message"]


def test_other_requests_that_make_no_sense(server):
    assert requests.post(server, data="{", headers={"Content-Type": "application/json"}, timeout=60).status_code == 400
    assert requests.post(server, data=b"RIFF", headers={"Content-Type": "audio/wav"}, timeout=60).status_code == 415
    many = {"dataframe_records": [{"samples": [0.1] * 10, "sample_rate_hz": 16_000}] * 65}
    assert "expected 1 to 64" in requests.post(server, json=many, timeout=60).json()["message"]
    assert requests.post(server, json={"dataframe_records": []}, timeout=60).status_code == 400


def test_a_small_request_cannot_fill_the_memory(server):
    """Ten minutes of almost silence in a hundred kilobytes."""
    sound = io.BytesIO()
    soundfile.write(sound, np.resize([0.001, 0], 600 * 8000), 8000, format="FLAC")
    record = {"audio": base64.b64encode(sound.getvalue()).decode()}
    answer = requests.post(server, json={"dataframe_records": [record]}, timeout=60)
    assert answer.status_code == 400
    assert "600 s long; expected at most 60 s" in answer.json()["message"]
    infinite = b'{"dataframe_records": [{"samples": [0.1, 0.2], "sample_rate_hz": 1e400}]}'
    answer = requests.post(server, data=infinite, headers={"Content-Type": "application/json"}, timeout=60)
    assert "sample_rate_hz = inf; expected a whole number" in answer.json()["message"]


def test_the_registry_says_whose_model_it_is(registered, export):
    home = export.args[export.args.index("--home") + 1]
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    version = client.get_model_version_by_alias("ser", "champion")
    assert client.get_run(version.run_id).data.tags["ser.sweep"] == "two"
    assert client.get_run(version.run_id).info.status == "FINISHED"
