"""What parses bytes or words takes anything: it is read, or refused with one line that names it."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sermodels.config.parsing import load_yaml, parse_overrides
from sermodels.corpora import audio, table
from sermodels.errors import UserError
from sermodels.store.open import open_store

RATE = 16_000
TONE = 0.1 * np.sin(2 * np.pi * 220 * np.arange(RATE // 4) / RATE)
BOUNDED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, TONE, RATE, format=kind)
    return file.getvalue()


SOUNDS = {kind: encoded(kind) for kind in ("WAV", "FLAC", "OGG", "MP3")}


@st.composite
def damaged_sounds(draw):
    """A real recording with some bytes changed, and sometimes its end missing."""
    data = bytearray(SOUNDS[draw(st.sampled_from(sorted(SOUNDS)))])
    places = st.integers(0, 100) | st.integers(0, len(data) - 1)  # headers more often than not
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        data[place] = value
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


WORDS = st.sampled_from(["file", "speaker", "emotion", "sentence", "a.wav", "../a.wav", "/a.wav", "", "joy", "\0", "ü"])
FIELDS = WORDS | st.text(max_size=5) | st.just("x" * 300)
TABLES = st.lists(st.lists(FIELDS, min_size=2, max_size=4).map(",".join), max_size=4).map("\n".join)


@BOUNDED
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_as_settings_are_read_or_refused(tmp_path, data):
    path = tmp_path / "x.yaml"
    path.write_bytes(data)
    try:
        load_yaml(path)
    except UserError as error:
        assert "x.yaml" in str(error)  # noqa: PT017


@BOUNDED
@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_words_are_read_or_refused(words):
    try:
        parse_overrides(words)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017


@BOUNDED
@given(st.binary(max_size=400))
def test_any_bytes_as_a_store_are_refused(tmp_path, data):
    path = tmp_path / "x.arrow"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"x\.arrow"):
        open_store(path)


@BOUNDED
@given(damaged_sounds() | st.binary(max_size=300))
def test_any_bytes_as_a_recording_are_heard_or_refused(tmp_path, data):
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    try:
        waveform = audio.load(path, RATE)
    except UserError as error:
        assert "x.wav" in str(error)  # noqa: PT017
    else:
        assert waveform.dtype == np.float32
        assert np.isfinite(waveform).all()


@BOUNDED
@given((TABLES | TABLES.map("file,speaker,emotion\n{}".format)).map(str.encode) | st.binary(max_size=200))
def test_any_bytes_as_a_table_are_read_or_refused(tmp_path, data):
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    (tmp_path / "a.wav").touch()
    try:
        corpus = table.read(path)
    except UserError as error:
        assert "x.csv" in str(error)  # noqa: PT017
    else:
        assert {utterance.path.parent for utterance in corpus.utterances} == {tmp_path}
