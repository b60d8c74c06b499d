"""The exported graph answers as PyTorch does, whatever the batch, the length and the settings."""

import copy
import json
import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sermodels.config.settings import FrontEnd
from sermodels.corpora import audio
from sermodels.deploy.graph import ExportableLogMel, export_onnx
from sermodels.networks.factory import build_student
from sermodels.store.frontend import log_mel

EMOTIONS = ("anger", "joy", "ярость")
WITHIN = 1e-6  # in probability


@pytest.fixture(scope="module")
def network(store, tiny_config):
    network = build_student(tiny_config(), store.pixels.shape[1:], len(EMOTIONS), seed=3).eval().requires_grad_(False)
    with torch.no_grad():
        network.classify.weight.mul_(20)  # so that answers differ
    return network


@pytest.fixture(scope="module")
def double(network):
    """The network in float64; `conftest.model` is exported from one of float32."""
    return copy.deepcopy(network).double()


@pytest.fixture(scope="module")
def model(double, store):
    return export_onnx(double, store.frontend, EMOTIONS)


@pytest.fixture(scope="module")
def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_what_it_takes_and_gives_is_named(model, session):
    onnx.checker.check_model(model, full_check=True)
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("waveform", "tensor(float)", ["batch", "samples"])
    assert {given.name: given.shape[0] for given in session.get_outputs()} == dict.fromkeys(
        ("probabilities", "logits", "embedding"), "batch"
    )
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["emotions"]) == list(EMOTIONS)
    assert (float(about["sample_rate_hz"]), float(about["clip_s"])) == (16_000, 2.0)


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("samples", [1600, 1601, 20_000, 32_000, 50_000])
def test_any_batch_of_any_length(batch, samples, session, network, store):
    waveforms = 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))
    probabilities, logits, embedding = session.run(None, {"waveform": waveforms.numpy()})
    expected = network(log_mel(waveforms, store.frontend).unsqueeze(1))
    assert np.abs(probabilities - expected.logits.softmax(-1).numpy()).max() < WITHIN
    assert logits == pytest.approx(expected.logits.numpy(), abs=1e-4)
    assert embedding == pytest.approx(expected.features.numpy(), abs=1e-4)
    assert np.ptp(probabilities) > 0.01


def test_real_recordings(session, network, store):
    corpus = store.path.parent / "corpus"
    for clip in store.clip_id[:10]:
        waveform = torch.from_numpy(audio.load(corpus / clip, 16_000))[None]
        (probabilities,) = session.run(["probabilities"], {"waveform": waveform.numpy()})
        expected = network(log_mel(waveform, store.frontend).unsqueeze(1)).logits.softmax(-1)
        assert np.abs(probabilities - expected.numpy()).max() < WITHIN


def test_a_network_of_float64_leaves_in_float32(double, session, store):
    assert next(double.parameters()).dtype == torch.float64
    waveform = 0.1 * torch.randn(1, 9000, generator=torch.Generator().manual_seed(0))
    (probabilities,) = session.run(["probabilities"], {"waveform": waveform.numpy()})
    expected = double(log_mel(waveform, store.frontend).double().unsqueeze(1)).logits.softmax(-1)
    assert np.abs(probabilities - expected.numpy()).max() < WITHIN


@pytest.mark.parametrize(
    "settings",
    [
        FrontEnd(),
        FrontEnd(clip_s=1.0, n_fft=512, win_length=401, hop_length=160, n_mels=40, width=64),
        FrontEnd(clip_s=1.0, n_fft=511, win_length=511, hop_length=500, n_mels=16, width=48, floor_db=-60.0),
        FrontEnd(sample_rate_hz=8000, clip_s=0.5, n_fft=256, win_length=1, hop_length=7, n_mels=20, width=500),
    ],
    ids=lambda settings: f"{settings.n_fft}-{settings.win_length}-{settings.hop_length}",
)
@pytest.mark.parametrize("sound", ["noise", "tone", "click", "fading", "short", "loud", "silent"])
def test_pixels_are_those_of_the_store_but_for_a_rounding(settings, sound):
    time = torch.arange(int(1.3 * settings.clip_samples)) / settings.sample_rate_hz
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    waveform = {
        "noise": noise,
        "tone": torch.sin(2 * math.pi * 440 * time),
        "click": torch.nn.functional.one_hot(torch.tensor(settings.clip_samples // 3), len(time)).float(),
        "fading": noise * torch.exp(-20 * time),
        "short": noise[: settings.clip_samples // 5],
        "loud": 1e4 * noise,
        "silent": 0 * time,
    }[sound]
    expected = log_mel(waveform, settings)
    image = ExportableLogMel(settings)(waveform[None])[0]
    assert image.shape == expected.shape
    assert (image - expected).abs().max() <= 2**-11  # the next float16 below 1
    assert (image != expected).float().mean() < 0.01
    assert torch.equal(image, image.half().float())
