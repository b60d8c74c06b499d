"""A model trained without the silence at both ends gets recordings without it from every caller."""

import dataclasses
import io
import re
import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import onnx
import pandas as pd
import pytest
import soundfile
import torch

from search.publish import serving
from sermodels.corpora import audio
from sermodels.deploy.complete import complete
from sermodels.deploy.listening import STDIN, listen
from sermodels.deploy.manifest import verify
from sermodels.deploy.recogniser import Recogniser
from sermodels.errors import UserError
from sermodels.model_files import CARD, EXAMPLE, MODEL
from sermodels.networks.factory import build_student
from sermodels.training.bundle import FINGERPRINT, load_bundle, write_bundle

TRIM_DB = 35.0


@pytest.fixture(scope="module")
def folder(store, tiny_config, tmp_path_factory):
    """An exported student, not trained, whose front-end trims."""
    network = build_student(tiny_config(dim=32), store.pixels.shape[1:], len(store.emotions), seed=0)
    with torch.no_grad():
        network.classify.weight *= 20
    frontend = dataclasses.replace(store.frontend, trim_db=TRIM_DB)
    parts = {"emotions": store.emotions, "frontend": frontend, "network": network, "config": tiny_config(dim=32)}
    out = tmp_path_factory.mktemp("trimming") / "best"
    write_bundle(out, metrics={FINGERPRINT: store.fingerprint}, finish=complete, **parts)
    return out


@pytest.fixture
def padded(wav, tmp_path):
    """A recording behind silence longer than what is heard, and before some."""
    samples, rate_hz = soundfile.read(wav)
    soundfile.write(tmp_path / "padded.wav", np.pad(samples, (3 * rate_hz, rate_hz)), rate_hz)
    return tmp_path / "padded.wav"


def expected(folder: Path, path: Path) -> np.ndarray:
    """What PyTorch says of what is left of a recording."""
    waveform = audio.trimmed(audio.load(path, 16_000), TRIM_DB)
    return load_bundle(folder).classify([torch.from_numpy(waveform)])[0].numpy()


def test_files_say_it_and_hold(folder):
    assert load_bundle(folder).frontend.trim_db == TRIM_DB
    assert Recogniser(folder).trim_db == TRIM_DB
    assert "8 files as exported" in verify(folder)


def test_models_without_it_do_not_name_it(model):
    assert Recogniser(model).trim_db is None
    assert "trim" not in (model / CARD).read_text()
    assert "trim_db" not in (model / "frontend.yaml").read_text()
    assert b"trim_db" not in (model / MODEL).read_bytes()


def test_silence_around_a_recording_changes_no_answer(folder, padded, wav):
    opened = Recogniser(folder)
    answer = list(opened.answer(padded).values())
    assert answer == pytest.approx(expected(folder, padded).tolist(), abs=1e-5)
    unheard = load_bundle(folder).classify([torch.from_numpy(audio.load(padded, 16_000))])[0].numpy()
    assert np.abs(unheard - answer).max() > 0.01, "the silence fills the window, and is another image"


def test_a_file_and_standard_input_are_heard_alike(folder, padded, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(padded.read_bytes())))
    opened = Recogniser(folder)
    from_file, from_pipe = listen(opened, [padded, STDIN])
    for heard in (from_file, from_pipe):
        assert heard.probabilities == pytest.approx(expected(folder, padded), abs=1e-5)
        assert heard.duration_s < audio.load(padded, 16_000).size / 16_000 - 3


def test_each_window_is_trimmed_at_its_place_in_the_file(folder, padded):
    opened, waveform = Recogniser(folder), audio.load(padded, 16_000)
    (heard,) = listen(opened, [padded], every_s=1.0)
    assert heard.duration_s == len(waveform) / 16_000
    for start_s, answer in zip(heard.starts_s, heard.curve, strict=True):
        window = waveform[round(start_s * 16_000) :][:32_000]
        if np.abs(window).max() < audio.SILENT_PEAK:
            assert np.isnan(answer).all()
        else:
            assert answer == pytest.approx(opened.run([audio.trimmed(window, TRIM_DB)]).probabilities[0], abs=1e-6)
    assert np.isnan(heard.curve[0]).all()


def test_a_click_is_answered_too(folder):
    waveform = np.zeros(32_000, np.float32)
    waveform[100] = 1
    waveform = audio.trimmed(waveform, 1.0)
    assert len(waveform) < 1600, "less than the graph takes"
    (answer,) = Recogniser(folder).run([waveform]).probabilities
    assert answer == pytest.approx(load_bundle(folder).classify([torch.from_numpy(waveform)])[0].numpy(), abs=1e-5)


def test_a_server_trims_files_and_samples(folder, padded):
    served = serving.EmotionModel()
    served.load_context(mlflow.pyfunc.PythonModelContext(artifacts={serving.BUNDLE: str(folder)}, model_config={}))
    samples, rate_hz = soundfile.read(padded, dtype="float32")
    records = [{"audio": padded.read_bytes()}], [{"samples": samples.tolist(), "sample_rate_hz": float(rate_hz)}]
    for record in records:
        (answer,) = served.predict(pd.DataFrame(record))
        assert list(answer["probabilities"].values()) == pytest.approx(expected(folder, padded).tolist(), abs=1e-5)


def test_the_lines_of_the_card_trim(folder, monkeypatch, capsys):
    text = (folder / CARD).read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "librosa.effects.trim(waveform, top_db=35.0)" in code
    assert "Needs onnxruntime, numpy and librosa" in text
    monkeypatch.chdir(folder)
    exec(code)
    found = [float(number) for number in re.findall(r"\d\.\d+(?:e-\d+)?", capsys.readouterr().out)]
    assert found == pytest.approx(list(Recogniser(folder).answer(folder / EXAMPLE).values()), abs=1e-6)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "much"])
def test_a_graph_that_says_nonsense_is_damaged(folder, tmp_path, value):
    graph = onnx.load(folder / MODEL)
    (about,) = [prop for prop in graph.metadata_props if prop.key == "trim_db"]
    about.value = value
    onnx.save(graph, tmp_path / MODEL)
    with pytest.raises(UserError, match=r"model\.onnx: damaged"):
        Recogniser(tmp_path)
