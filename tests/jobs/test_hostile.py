"""Bad input at every door: exit code 2, one line that names the culprit, no new file, nothing executed.

Each row of the tables makes its input in an empty folder and gives the words of the command and what the line names.
"""

import os
import pickle
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest
import soundfile
import yaml
from conftest import TINY
from here import job_here
from processes import error_line

from sermodels.config.parsing import merged

RATE = 16_000
TONE = 0.1 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)


class Bomb:
    """What a pickle runs when it is loaded."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def written(path, data=b""):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def sound(path, samples=TONE, rate_hz=RATE, **more):
    soundfile.write(path, samples, rate_hz, **more)
    return path


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def header_promises_more(path):
    data = bytearray(sound(path).read_bytes())
    data[40:44] = (2**31 - 1).to_bytes(4, "little")
    data[24:28] = (1).to_bytes(4, "little")  # one sample a second
    return written(path, bytes(data))


def link_to_nowhere(path):
    path.symlink_to(path.with_name("nowhere.wav"))
    return path


RECORDINGS = {
    "empty": lambda f: written(f / "a.wav"),
    "text": lambda f: written(f / "a.wav", "not sound"),
    "zeros": lambda f: written(f / "a.wav", bytes(5000)),
    "only a header": lambda f: cut(sound(f / "a.wav"), 0.001),
    "header without samples": lambda f: written(f / "a.wav", sound(f / "b.wav").read_bytes()[:44]),
    "wrong header": lambda f: header_promises_more(f / "a.wav"),
    "pickle": lambda f: written(f / "a.wav", pickle.dumps(Bomb(f / "executed"))),
    "yaml": lambda f: written(f / "a.wav", f"!!python/object/apply:os.mkdir ['{f}/executed']"),
    "a folder": lambda f: (f / "a.wav").mkdir() or f / "a.wav",
    "missing": lambda f: f / "a.wav",
    "broken link": lambda f: link_to_nowhere(f / "a.wav"),
    "10 ms": lambda f: sound(f / "a.wav", TONE[:160]),
    "an hour and more": lambda f: sound(f / "a.wav", np.tile(TONE[:8000], 3700), 8000, subtype="PCM_U8"),
    "silence": lambda f: sound(f / "a.wav", np.zeros(RATE)),
    "nearly silence": lambda f: sound(f / "a.wav", TONE * 1e-5, subtype="FLOAT"),
    "nan": lambda f: sound(f / "a.wav", np.where(np.arange(RATE) == 7, np.nan, TONE), subtype="FLOAT"),
    "infinite": lambda f: sound(f / "a.wav", np.where(np.arange(RATE) == 7, np.inf, TONE), subtype="FLOAT"),
    "absurdly loud": lambda f: sound(f / "a.wav", TONE * 1e30, subtype="FLOAT"),
    "500 Hz": lambda f: sound(f / "a.wav", TONE, 500),
    "flac cut off": lambda f: cut(sound(f / "a.flac"), 0.02),
    "a name in another script": lambda f: written(f / "голос\u202e😀 ' \"$(x).wav", "not sound"),
    "a name that looks like a flag": lambda f: written(f / "--help.wav", "not sound"),
}


def csv(folder, *rows, head="file,speaker,emotion"):
    sound(folder / "a.wav")
    (folder / "index.csv").write_text("\n".join([head, *rows]) + "\n")
    return ["--corpus", "csv", "--root", folder / "index.csv"]


def corpus(folder, *names):
    for name in names:
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        sound(folder / "root" / name)
    return folder / "root"


CORPORA = {
    "no such corpus": (lambda f: ["--corpus", "emo", "--root", f], "'emo'"),
    "no such folder": (lambda f: ["--corpus", "emodb", "--root", f / "none"], "none"),
    "an empty folder": (lambda f: ["--corpus", "emodb", "--root", f], "/input"),
    "names of another corpus": (lambda f: ["--corpus", "emodb", "--root", corpus(f, "hello.wav")], "hello.wav"),
    "an unknown option": (lambda f: ["--corpus", "emodb", "--root", f, "speed=3"], "speed"),
    "a regular expression that is none": (
        lambda f: ["--corpus", "folder", "--root", corpus(f, "joy/a.wav"), "speaker_regex=("],
        "speaker_regex",
    ),
    "csv: a name that no file can have": (lambda f: csv(f, f"{'x' * 300},s,joy"), "there is no file"),
    "csv: path leaves the folder": (lambda f: csv(f, f"../{f.name}/a.wav,s,joy"), "leaves the folder"),
    "csv: absolute path": (lambda f: csv(f, "/etc/passwd,s,joy"), "/etc/passwd"),
    "csv: missing column": (lambda f: csv(f, "a.wav,joy", head="file,emotion"), "speaker"),
    "csv: missing file": (lambda f: csv(f, "b.wav,s,joy"), "b.wav"),
    "csv: empty": (lambda f: csv(f), "index.csv"),
    "csv: twice": (lambda f: csv(f, "a.wav,s,joy", "a.wav,s,joy"), "a.wav"),
    "csv: not text": (lambda f: ["--corpus", "csv", "--root", written(f / "x.csv", bytes(range(256)))], "x.csv"),
}


def arrow(path, **columns):
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path


def changed_store(folder, store, at, value=b"\xff"):
    path = folder / "s.arrow"
    shutil.copy(store.path, path)
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        file.write(value)
    return path


STORES = {
    "missing": lambda f, s: f / "s.arrow",
    "empty": lambda f, s: written(f / "s.arrow"),
    "text": lambda f, s: written(f / "s.arrow", "hello"),
    "a folder": lambda f, s: f,
    "pickle": lambda f, s: written(f / "s.arrow", pickle.dumps(Bomb(f / "executed"))),
    "another table": lambda f, s: arrow(f / "s.arrow", x=[1, 2, 3]),
    "cut in half": lambda f, s: cut(Path(shutil.copy(s.path, f / "s.arrow")), 0.5),
    "without its last byte": lambda f, s: written(f / "s.arrow", s.path.read_bytes()[:-1]),
    "wrong beginning": lambda f, s: changed_store(f, s, 0),
    "wrong end": lambda f, s: changed_store(f, s, -1),
    "wrong footer": lambda f, s: changed_store(f, s, -40, bytes(20)),
}

LAUGHS = "a: &a [x,x]\n" + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in pairwise("abcdefghij"))
PRESETS = {
    "no such preset": (lambda f: ["--preset", "dmeo"], "'demo'"),
    "no such file": (lambda f: ["--preset", f / "x.yaml"], "x.yaml"),
    "not yaml": (lambda f: ["--preset", written(f / "x.yaml", "a: [")], "x.yaml"),
    "not text": (lambda f: ["--preset", written(f / "x.yaml", bytes(range(256)))], "x.yaml"),
    "a key twice": (lambda f: ["--preset", written(f / "x.yaml", "trials: 1\ntrials: 2")], "'trials' is there twice"),
    "a key twice, written otherwise": (lambda f: ["--preset", written(f / "x.yaml", "1: 1\n0x1: 2")], "there twice"),
    "a list": (lambda f: ["--preset", written(f / "x.yaml", "- 1")], "x.yaml"),
    "empty": (lambda f: ["--preset", written(f / "x.yaml")], "x.yaml"),
    "an object of python": (
        lambda f: ["--preset", written(f / "x.yaml", f"!!python/object/apply:os.mkdir ['{f}/executed']")],
        "x.yaml",
    ),
    "a billion laughs": (lambda f: ["--preset", written(f / "x.yaml", LAUGHS)], "x.yaml"),
    "an unknown key": (lambda f: ["trails=3"], "'trials'"),
    "no number": (lambda f: ["trials=many"], "trials"),
    "a negative number": (lambda f: ["trials=-1"], "trials"),
    "nan": (lambda f: ["chain.teacher.lr=.nan"], "lr"),
    "no key": (lambda f: ["=3"], "=3"),
    "a patch that does not fit": (lambda f: ["space.patch=null", "chain.patch=7x7"], "7x7"),
    "fixed and searched": (lambda f: ["chain.alpha=3", "space.alpha=[1, 2]"], "alpha"),
    "no values": (lambda f: ["space.alpha=[]"], "alpha"),
    "half a GPU too many": (lambda f: ["gpus=1.5"], "gpus"),
    "a name that leaves the folder": (lambda f: ["--name", "../x"], "--name '../x'"),
    "an unknown scheme": (lambda f: ["--tracking-uri", "ftp://127.0.0.1/x"], "ftp://"),
    "nobody there": (lambda f: ["--tracking-uri", "http://127.0.0.1:9"], "http://127.0.0.1:9"),
    "a database in no folder": (lambda f: ["--tracking-uri", "sqlite:////proc/none/x.db"], "/proc/none"),
}  # fmt: skip


def bundle(folder, model, name, content=None):
    copy = folder / "best"
    shutil.copytree(model, copy)
    (copy / name).unlink() if content is None else written(copy / name, content)
    return copy


BUNDLES = {
    "no folder": lambda f, m: f / "best",
    "a file": lambda f, m: written(f / "best", "x"),
    "no weights": lambda f, m: bundle(f, m, "model.safetensors"),
    "no configuration": lambda f, m: bundle(f, m, "config.yaml"),
    "pickled weights": lambda f, m: bundle(f, m, "model.safetensors", pickle.dumps(Bomb(f / "executed"))),
    "empty weights": lambda f, m: bundle(f, m, "model.safetensors", b""),
    "weights of a giant": lambda f, m: bundle(f, m, "model.safetensors", b"\xff" * 8 + b"{}"),
    "configuration that runs": lambda f, m: bundle(
        f, m, "config.yaml", f"!!python/object/apply:os.mkdir ['{f}/executed']"
    ),
    "labels that run": lambda f, m: bundle(f, m, "labels.yaml", f"!!python/object/apply:os.mkdir ['{f}/executed']"),
    "an unknown setting": lambda f, m: bundle(f, m, "config.yaml", "colour: red\n"),
}


def graph(folder, model, change):
    """A model's folder whose graph was changed."""
    loaded = onnx.load(model / "model.onnx")
    change(loaded)
    return bundle(folder, model, "model.onnx", loaded.SerializeToString())


def told(key, value):
    """What a graph says of itself, changed."""

    def change(loaded):
        for entry in loaded.metadata_props:
            entry.value = value if entry.key == key else entry.value

    return change


def elsewhere(loaded):
    """Weights that lie in a file outside the folder, as ONNX allows."""
    weights = max(loaded.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../../../../../../../etc/passwd")


GRAPHS = {
    "no folder": lambda f, m: f / "best",
    "a file": lambda f, m: written(f / "best", "x"),
    "none": lambda f, m: bundle(f, m, "model.onnx"),
    "empty": lambda f, m: bundle(f, m, "model.onnx", b""),
    "text": lambda f, m: bundle(f, m, "model.onnx", "not a graph"),
    "cut off": lambda f, m: bundle(f, m, "model.onnx", (m / "model.onnx").read_bytes()[:-5000]),
    "pickled": lambda f, m: bundle(f, m, "model.onnx", pickle.dumps(Bomb(f / "executed"))),
    "weights elsewhere": lambda f, m: graph(f, m, elsewhere),
    "says nothing": lambda f, m: graph(f, m, lambda loaded: loaded.ClearField("metadata_props")),
    "emotions that are none": lambda f, m: graph(f, m, told("emotions", "7")),
    "too few emotions": lambda f, m: graph(f, m, told("emotions", '["joy"]')),
    "hears for ever": lambda f, m: graph(f, m, told("clip_s", "inf")),
    "hears nothing": lambda f, m: graph(f, m, told("clip_s", "nan")),
    "a rate of nothing": lambda f, m: graph(f, m, told("sample_rate_hz", "0")),
    "another input": lambda f, m: graph(f, m, lambda loaded: renamed(loaded, "waveform", "sound")),
}


def renamed(loaded, old, new):
    for value in loaded.graph.input:
        value.name = new if value.name == old else value.name
    for node in loaded.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Runs a job and gives its one line; nothing may be new in the folder of its input, nor in that where it runs."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(folder, name, *words):
        before = sorted(folder.rglob("*"))
        line = error_line(job_here(name, *words))
        assert sorted(folder.rglob("*")) == before
        assert not list((tmp_path / "here").iterdir())
        return line

    return run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


@pytest.mark.parametrize("row", RECORDINGS)
def test_recordings_to_be_classified(refused, folder, model, row):
    path = RECORDINGS[row](folder)
    assert str(path) in refused(folder, "predict.py", model, path)


@pytest.mark.parametrize("row", CORPORA)
def test_corpora(refused, folder, row):
    make, named = CORPORA[row]
    words = make(folder)
    assert named in refused(folder, "build_store.py", *words, "--strict", "--out", folder / "s.arrow")


@pytest.mark.parametrize("job", ["sweep.py", "train.py"])
@pytest.mark.parametrize("row", STORES)
def test_stores(refused, folder, store, row, job):
    path = STORES[row](folder, store)
    assert path.name in refused(folder, job, "--store", path)


@pytest.mark.parametrize("row", PRESETS)
def test_presets_and_addresses(refused, folder, store, row):
    make, named = PRESETS[row]
    assert named in refused(folder, "sweep.py", "--store", store.path, "--home", folder / "home", *make(folder))


@pytest.mark.parametrize("row", BUNDLES)
def test_bundles(refused, folder, model, store, row):
    assert "best" in refused(folder, "evaluate.py", BUNDLES[row](folder, model), "--store", store.path)


@pytest.mark.parametrize("row", GRAPHS)
def test_graphs(refused, folder, model, wav, row):
    assert "best" in refused(folder, "predict.py", GRAPHS[row](folder, model), wav)


def test_a_pickle_in_the_place_of_a_stage_is_passed_over(folder, store):
    config = written(folder / "c.yaml", yaml.safe_dump(merged(TINY, {"seeds": [0]})))
    words = ["--store", store.path, "--config", config, "--home", folder / "home"]
    first = job_here("train.py", *words)
    files = list((folder / "home" / "stages").rglob("*.safetensors"))
    for file in files:
        file.write_bytes(pickle.dumps(Bomb(folder / "executed")))
    second = job_here("train.py", *words)
    assert (first.returncode, first.stdout) == (second.returncode, second.stdout)
    assert len(files) == 4
    assert not (folder / "executed").exists()


SOUND_RECORDINGS = {
    **{f"{kind}": lambda f, kind=kind: sound(f / "a.wav", subtype=kind) for kind in ("PCM_U8", "PCM_24", "PCM_32")},
    "float": lambda f: sound(f / "a.wav", subtype="FLOAT"),
    "clipped": lambda f: sound(f / "a.wav", np.clip(TONE * 100, -1, 1)),
    "stereo": lambda f: sound(f / "a.wav", np.stack([TONE, TONE / 2], axis=1)),
    "4 kHz": lambda f: sound(f / "a.wav", TONE, 4000),
    "192 kHz": lambda f: sound(f / "a.wav", np.tile(TONE, 12), 192_000),
    "an odd name": lambda f: sound(f / "ü \u00a0'\"$(touch executed);😀.wav"),
    "10 minutes": lambda f: sound(f / "a.wav", np.tile(TONE[:8000], 600), 8000),
}


@pytest.mark.parametrize("row", SOUND_RECORDINGS)
def test_recordings_that_are_only_unusual_are_classified(folder, model, row):
    done = job_here("predict.py", model, SOUND_RECORDINGS[row](folder), "--json")
    assert done.returncode == 0, done.stderr
