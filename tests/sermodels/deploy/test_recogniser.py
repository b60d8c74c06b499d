"""An exported model opened without PyTorch: what it says does not depend on what else is asked at the same time."""

import shutil

import numpy as np
import pytest

from sermodels.corpora import audio
from sermodels.deploy.recogniser import AT_ONCE, Recogniser
from sermodels.errors import UserError
from sermodels.model_files import MODEL


@pytest.fixture(scope="module")
def opened(model):
    return Recogniser(model)


@pytest.fixture(scope="module")
def waveforms(store):
    corpus = store.path.parent / "corpus"
    return [audio.load(corpus / clip, 16_000) for clip in store.clip_id[: AT_ONCE + 3]]


def test_it_knows_what_it_takes_and_says(opened, store):
    assert (opened.emotions, opened.sample_rate_hz, opened.clip_s) == (store.emotions, 16_000, 2.0)


def test_neighbours_in_a_batch_change_nothing(opened, waveforms):
    together = opened.run(waveforms)
    assert together.probabilities.shape == (len(waveforms), 7)
    assert together.embedding.shape == (len(waveforms), 32)
    for number in (0, AT_ONCE - 1, AT_ONCE, len(waveforms) - 1):
        alone = opened.run([waveforms[number]])
        assert together.probabilities[number] == pytest.approx(alone.probabilities[0], abs=1e-6)
        assert together.embedding[number] == pytest.approx(alone.embedding[0], abs=1e-5)
    assert together.probabilities.sum(axis=1) == pytest.approx(1)


def test_a_file_is_answered_by_emotion(opened, wav, waveforms):
    answer = opened.answer(str(wav))
    assert list(answer) == list(opened.emotions)
    assert list(answer.values()) == pytest.approx(opened.run(waveforms[:1]).probabilities[0].tolist())


@pytest.mark.parametrize(
    ("seconds", "every_s", "starts"),
    [
        (0.1, 1.0, [0]),
        (2.0, 0.5, [0]),
        (2.01, 0.5, [0, 0.5]),
        (3.0, 0.5, [0, 0.5, 1.0]),
        (5.0, 2.0, [0, 2.0, 4.0]),
        (4.05, 2.0, [0, 2.0]),  # what is left over is too short to be heard
    ],
)
def test_windows_reach_the_end(opened, waveforms, seconds, every_s, starts):
    waveform = np.resize(waveforms[0], round(seconds * 16_000))
    found, answers = opened.windows(waveform, every_s)
    assert found.tolist() == starts
    first = round(starts[-1] * 16_000)
    expected = opened.run([waveform[first : first + 32_000]]).probabilities[0]
    assert answers.probabilities[-1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("every_s", [0, -1, 2.01, np.nan])
def test_windows_leave_no_gap(opened, waveforms, every_s):
    with pytest.raises(UserError, match="must be above 0 and at most 2"):
        opened.windows(waveforms[0], every_s)


def test_silent_windows_are_not_named(opened, waveforms):
    waveform = np.concatenate([np.resize(waveforms[0], 32_000), np.zeros(64_000, np.float32)])
    _, answers = opened.windows(waveform, 2.0)
    assert np.isnan(answers.probabilities).all(axis=1).tolist() == [False, True, True]
    assert opened.described(answers.probabilities[1]) == {"emotion": None, "probability": None, "probabilities": None}


def test_what_cannot_be_opened_is_named(model, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        Recogniser(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"model\.onnx: missing; export"):
        Recogniser(tmp_path)
    for content in (b"", b"not a graph", (model / MODEL).read_bytes()[:-1000]):
        (tmp_path / MODEL).write_bytes(content)
        with pytest.raises(UserError, match=r"model\.onnx: damaged") as raised:
            Recogniser(tmp_path)
        assert "\n" not in str(raised.value)
    shutil.copy(model / MODEL, tmp_path / MODEL)
    assert Recogniser(tmp_path).clip_s == 2.0
