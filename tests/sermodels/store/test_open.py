"""An open store: what it holds, and that nothing altered passes for one."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from chirps import AUGMENTATION, SMALL, make, make_corpus

from sermodels.config.settings import FrontEnd
from sermodels.corpora import audio
from sermodels.errors import UserError
from sermodels.store.frontend import VIEWS, log_mel, view
from sermodels.store.open import fingerprint, open_store


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "corpus")


@pytest.fixture
def built(corpus, tmp_path):
    return make(corpus, tmp_path / "stores" / "chirps.arrow")


def rewrite(path: Path, change) -> Path:
    """Write the store again with `change(columns, manifest)` applied to plain values; the path of the copy."""
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    manifest = json.loads(table.schema.metadata[b"manifest"])
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    change(columns, manifest)
    schema = table.schema.remove_metadata().with_metadata({"manifest": json.dumps(manifest)})
    altered = path.with_name("altered.arrow")
    batch = pa.record_batch([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    with pa.OSFile(str(altered), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)
    return altered


# What it holds


def test_rows_are_the_views_of_each_utterance_in_order(built, corpus):
    rows = len(corpus.utterances) * len(VIEWS)
    assert built.pixels.shape == (rows, 16, 16)
    assert built.pixels.dtype == np.float16
    assert built.clip_id == tuple(u.id for u in corpus.utterances)
    assert built.clip.tolist() == [i for i in range(len(corpus.utterances)) for _ in VIEWS]
    assert built.view.tolist() == list(VIEWS) * len(corpus.utterances)
    of_row = [corpus.utterances[clip] for clip in built.clip]
    assert built.speaker.tolist() == [u.speaker for u in of_row]
    assert built.sentence.tolist() == [u.sentence for u in of_row]
    assert [built.emotions[i] for i in built.emotion] == [u.emotion for u in of_row]
    assert built.emotion.dtype == built.clip.dtype == np.int64
    assert built.skipped == ()


def test_pixels_are_those_that_the_front_end_computes(built, corpus):
    for row in range(0, len(built.pixels), 5):
        utterance, kind = corpus.utterances[built.clip[row]], str(built.view[row])
        waveform = torch.from_numpy(audio.load(utterance.path, 16_000))
        altered, _ = view(waveform, kind, SMALL, AUGMENTATION, 0, utterance.id)
        assert np.array_equal(log_mel(altered, SMALL).numpy(), built.pixels[row])


def test_drawn_parameters_stand_in_the_rows_of_their_view(built, corpus):
    with pa.memory_map(str(built.path)) as file:
        table = pa.ipc.open_file(file).read_all().to_pydict()
    assert set(table["corpus"]) == {"chirps"}
    assert table["duration_s"][0] == 0.3
    for name, kind in [("snr_db", "noise"), ("shift_s", "shift"), ("speed", "speed")]:
        for row, value in enumerate(table[name]):
            assert (value is not None) == (table["view"][row] == kind)
        waveform = torch.from_numpy(audio.load(corpus.utterances[0].path, 16_000))
        drawn = view(waveform, kind, SMALL, AUGMENTATION, 0, corpus.utterances[0].id)[1]
        assert table[name][VIEWS.index(kind)] == drawn[name]


def test_pixels_are_the_read_only_pages_of_the_file(built):
    address = built.pixels.ctypes.data
    ranges = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if str(built.path) in line]
    mapped = [[int(end, 16) for end in span.split("-")] for span in ranges]
    assert any(start <= address and address + built.pixels.nbytes <= end for start, end in mapped)
    assert not built.pixels.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        built.pixels[0, 0, 0] = 1


def test_reopened_store_is_the_same(built):
    again = open_store(built.path)
    assert (again.fingerprint, again.frontend, again.augmentation) == (built.fingerprint, SMALL, AUGMENTATION)
    assert np.array_equal(again.pixels, built.pixels)
    again.verify()


# Nothing altered passes


def test_missing_store_says_how_to_build_it(tmp_path):
    with pytest.raises(UserError, match=r"no\.arrow: no such store; build it with jobs/build_store\.py"):
        open_store(tmp_path / "no.arrow")


@pytest.mark.parametrize("content", [b"", b"RIFF and then some", b"ARROW"])
def test_foreign_file_is_not_a_store(tmp_path, content):
    path = tmp_path / "s.arrow"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a store: expected an Arrow file"):
        open_store(path)


def test_foreign_arrow_file_is_not_a_store(tmp_path):
    path = tmp_path / "s.arrow"
    table = pa.table({"clip_id": ["a"]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match="an Arrow file, but not a store"):
        open_store(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_truncated_store_says_so(built, share):
    content = built.path.read_bytes()
    built.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="truncated"):
        open_store(built.path)


def test_another_format_version_says_so(built):
    def older(columns, manifest):
        manifest["format_version"] = 0

    with pytest.raises(UserError, match="store of format 0, but this program reads format 1"):
        open_store(rewrite(built.path, older))


def other_seed(columns, manifest):
    manifest["seed"] = 1


def other_floor(columns, manifest):
    manifest["frontend"]["floor_db"] = -60.0


def other_width(columns, manifest):
    manifest["frontend"]["width"] = 8


def unknown_setting(columns, manifest):
    manifest["frontend"]["colour"] = "red"


def other_order_of_emotions(columns, manifest):
    manifest["emotions"].reverse()


def lost_entry(columns, manifest):
    del manifest["skipped"]


def other_speaker(columns, manifest):
    columns["speaker"][7] = "s9"


def other_emotion(columns, manifest):
    columns["emotion"][7] = "anger"


def other_source(columns, manifest):
    columns["source_sha256"][0] = "0" * 64


def swapped_views(columns, manifest):
    columns["view"][:2] = reversed(columns["view"][:2])


def lost_clip(columns, manifest):
    for values in columns.values():
        del values[:4]


@pytest.mark.parametrize(
    "change",
    [
        other_seed,
        other_floor,
        other_width,
        unknown_setting,
        other_order_of_emotions,
        lost_entry,
        other_speaker,
        other_emotion,
        other_source,
        swapped_views,
        lost_clip,
    ],
)
def test_altered_manifest_or_columns_do_not_open(built, change):
    with pytest.raises(UserError, match=r"altered\.arrow: altered since it was built") as error:
        open_store(rewrite(built.path, change))
    assert "\n" not in str(error.value)


def test_unaltered_copy_opens(built):
    open_store(rewrite(built.path, lambda *_: None)).verify()


def test_altered_pixel_is_named_by_verify(built):
    content = bytearray(built.path.read_bytes())
    row = 4 * 3 + VIEWS.index("shift")
    at = content.index(built.pixels[row].tobytes())
    content[at + 100] ^= 1
    built.path.write_bytes(content)
    altered = open_store(built.path)
    with pytest.raises(UserError, match=r"pixels altered in view shift of clip 03\.wav"):
        altered.verify()


@pytest.mark.parametrize(
    ("column", "value"),
    [("sentence", "b9"), ("duration_s", 1.25), ("snr_db", 3.5), ("shift_s", 0.1), ("speed", 1.1), ("corpus", "emodb")],
)
def test_an_altered_column_is_named_by_verify(built, column, value):
    def change(columns, manifest):
        columns[column][5] = value

    altered = open_store(rewrite(built.path, change))
    with pytest.raises(UserError, match="what it says of its clips"):
        altered.verify()


def test_a_store_without_that_hash_is_an_older_one(built):
    def change(columns, manifest):
        del manifest["rows_sha256"]

    open_store(rewrite(built.path, change)).verify()


def test_any_flipped_byte_opens_or_is_a_user_error(built):
    """Metadata of a binary format invites crashes: flip bytes everywhere but in the pixels."""
    content = built.path.read_bytes()
    first_pixel = content.index(built.pixels[0].tobytes())
    places = [*range(0, first_pixel), *range(first_pixel + built.pixels.nbytes, len(content))]
    altered = built.path.with_name("altered.arrow")
    refused = 0
    for at in np.random.default_rng(0).choice(places, 300, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 0x55
        altered.write_bytes(flipped)
        try:
            open_store(altered).verify()
        except UserError:
            refused += 1
    assert refused > 150  # the rest is padding


# Trimming


OF_BEFORE = "ada4175646ff2cc440fb12a2ca46d67e450c4740dd499f499e269044f10b5dd3"  # made when there was no trimming


def test_a_setting_that_is_off_is_not_in_fingerprint_or_manifest(built):
    clips = [("a.wav", "00", "s", "anger")]

    def named(trim_db):
        return fingerprint(("anger", "calm"), FrontEnd(trim_db=trim_db), AUGMENTATION, 3, clips)

    assert named(None) == OF_BEFORE
    assert len({OF_BEFORE, named(30.0), named(40.0)}) == 3
    with pa.memory_map(str(built.path)) as file:
        assert b"trim_db" not in pa.ipc.open_file(file).schema.metadata[b"manifest"]


def test_views_are_drawn_of_what_trimming_leaves(corpus, tmp_path):
    for utterance in corpus.utterances:
        samples, rate_hz = soundfile.read(utterance.path)
        soundfile.write(utterance.path, np.pad(samples, (9000, 7000)), rate_hz)
    frontend = dataclasses.replace(SMALL, trim_db=30.0)
    plain, cut = make(corpus, tmp_path / "a.arrow"), make(corpus, tmp_path / "b.arrow", frontend=frontend)
    assert cut.frontend.trim_db == 30
    assert open_store(cut.path).frontend == frontend
    assert cut.fingerprint != plain.fingerprint
    assert (plain.duration_s - cut.duration_s > 0.75).all()
    for row, kind in enumerate(cut.view):
        utterance = corpus.utterances[cut.clip[row]]
        waveform = audio.trimmed(audio.load(utterance.path, 16_000), 30)
        altered, _ = view(torch.from_numpy(waveform), str(kind), frontend, AUGMENTATION, 0, utterance.id)
        assert np.array_equal(log_mel(altered, frontend).numpy(), cut.pixels[row])
        assert cut.duration_s[row] == len(waveform) / 16_000
    original = plain.view == "original"
    assert not plain.pixels[original].any(), "the silence fills the window"
    assert cut.pixels[original].any(axis=(1, 2)).all()
