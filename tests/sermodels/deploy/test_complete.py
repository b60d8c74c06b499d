"""What is added to a bundle is measured, and what does not hold is not exported."""

import json
import re
import shutil

import numpy as np
import onnx
import pytest

from sermodels.corpora import audio
from sermodels.deploy import card
from sermodels.deploy import complete as module
from sermodels.deploy.complete import complete
from sermodels.errors import UserError
from sermodels.evaluation import evaluate
from sermodels.model_files import ADDED, CARD, MODEL
from sermodels.networks.factory import build_student
from sermodels.training.bundle import FILES, FINGERPRINT, METRICS, load_bundle, write_bundle


@pytest.fixture
def bundle(store, tiny_config, tmp_path):
    """Writes the bundle of an untrained student of two lanes, with its test figures and further metrics."""

    def write(**changes):
        config = tiny_config(dim=32, folds=[0, 1], **changes)
        networks = [build_student(config, store.pixels.shape[1:], 7, seed).eval() for seed in (0, 1)]
        for network in networks:
            network.requires_grad_(False).classify.weight.mul_(20)
        metrics = {FINGERPRINT: store.fingerprint, "corpus": "synthetic", "sides": evaluate.sides(store, config)}
        metrics["test"] = evaluate.test_report(networks, store, config)
        parts = {"emotions": store.emotions, "frontend": store.frontend, "network": networks[0]}
        write_bundle(tmp_path / "best", config=config, metrics=metrics, **parts)
        return tmp_path / "best"

    return write


@pytest.fixture(autouse=True)
def graph(model, monkeypatch):
    """What is exported: all bundles here hold the network of `model`, and another export of it would take seconds."""
    exported, graph = load_bundle(model), onnx.load(model / MODEL)

    def export(network, frontend, emotions):
        weights, known = network.state_dict(), exported.network.state_dict()
        assert weights.keys() == known.keys()
        assert all(weights[name].equal(known[name]) for name in weights)
        assert (frontend, tuple(emotions)) == (exported.frontend, exported.emotions)
        return graph

    monkeypatch.setattr(module, "export_onnx", export)
    return graph


def change(folder, figure, value):
    metrics = json.loads((folder / METRICS).read_text())
    metrics["test"][figure] = value
    (folder / METRICS).write_text(json.dumps(metrics))


@pytest.mark.parametrize("protocol", ["speaker", "utterance", "paper"])
def test_figures_and_recordings_are_checked(bundle, store, protocol):
    folder, told = bundle(protocol=protocol), []
    complete(folder, store, store.path.parent / "corpus", told.append)
    assert {path.name for path in folder.iterdir()} == {*FILES, *ADDED}
    uar = load_bundle(folder).metrics["test"]["lanes"][0]["uar"]
    assert f"UAR {uar:.3f}" in told[0]
    assert len(told) == (2 if protocol == "paper" else 3), "altered views are not among the recordings"
    text = (folder / CARD).read_text()
    assert ("leaking" in text.lower()) == (protocol == "paper")
    assert re.search(r"\d+\.\d ms a clip", text)


def test_a_model_that_does_not_reproduce_its_figures_is_refused(bundle, store):
    folder = bundle()
    change(folder, "confusion", np.eye(7, dtype=int).tolist())
    with pytest.raises(UserError, match=r"computed again from these files, UAR .* are not the sweep's"):
        complete(folder, store)


def test_another_store_is_refused(bundle, store):
    folder = bundle()
    metrics = json.loads((folder / METRICS).read_text())
    (folder / METRICS).write_text(json.dumps(metrics | {FINGERPRINT: "other"}))
    with pytest.raises(UserError, match="not the store that the model was trained on"):
        complete(folder, store)


def test_recordings_that_sound_otherwise_are_refused(bundle, store, monkeypatch):
    """Not by their hashes: as if another version of a library decoded them otherwise."""
    honest = audio.load
    monkeypatch.setattr(audio, "load", lambda *given, **named: honest(*given, **named)[::-1].copy())
    with pytest.raises(UserError, match=r"answers differ by \S+ from those to the store's images"):
        complete(bundle(), store, store.path.parent / "corpus")


def test_a_damaged_recording_is_left_out_where_no_store_says_which_are_tested(bundle, store, tmp_path):
    corpus, told = shutil.copytree(store.path.parent / "corpus", tmp_path / "corpus"), []
    (corpus / "aaa.wav").write_text("junk")
    complete(bundle(), recordings=corpus, tell=told.append)
    assert "On 35 recordings (1 damaged left out), probabilities" in told[0]


def test_intervals_are_those_of_enough_new_speakers_alone():
    def shown(protocol, speakers):
        confusions = {f"s{n}": [[10, n], [0, 10]] for n in range(speakers)}
        return card._test({"lanes": [{"uar": 0.5, "wa": 0.5}], "confusion_by_speaker": confusions}, protocol)

    assert "95 % intervals for other speakers, by bootstrap over the 6" in shown("speaker", 6)["brackets"]
    few = shown("speaker", 3)
    assert "lowest and the highest of its 3 test speakers, too few for an interval" in few["brackets"]
    assert few["uar"] == "0.955 [0.917, 1.000]"
    assert "whom it had heard in training" in shown("utterance", 6)["brackets"]
    assert (shown("speaker", 1)["uar"], shown("speaker", 1)["brackets"]) == ("0.500", "")
    assert "on which the configuration was chosen" in shown("paper", 6)["chosen"]


def test_names_of_a_users_corpus_cannot_break_a_table():
    assert card._cells(["a|b", "c\nd"], ", ") == r"a\|b, c d"


def test_a_graph_that_answers_otherwise_is_refused(bundle, graph):
    (bias,) = [tensor for tensor in graph.graph.initializer if tensor.name.endswith("classify.bias")]
    bias.CopyFrom(
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.arange(7, dtype=np.float32), bias.name)
    )
    with pytest.raises(UserError, match=r"probabilities differ by \S+ from PyTorch's: it is not exported"):
        complete(bundle())


def test_sweeps_of_before_there_were_intervals_have_a_card_without(bundle, store):
    folder = bundle()
    metrics = json.loads((folder / METRICS).read_text())
    del metrics["test"]["confusion_by_speaker"]
    (folder / METRICS).write_text(json.dumps(metrics))
    complete(folder)
    uar = metrics["test"]["lanes"][0]["uar"]
    assert f"| **test, this network** | **{uar:.3f}** |" in (folder / CARD).read_text()
