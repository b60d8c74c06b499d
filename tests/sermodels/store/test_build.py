"""Building a store: the same bytes, whole or absent, and what happens when it is asked for again."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from chirps import EMOTIONS, SMALL, damage, make, make_corpus

from sermodels.corpora.utterance import Corpus
from sermodels.errors import UserError


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "corpus")


@pytest.fixture
def built(corpus, tmp_path):
    return make(corpus, tmp_path / "stores" / "chirps.arrow")


# The same input gives the same bytes


def test_bytes_do_not_depend_on_workers_or_place(tmp_path):
    corpora = [make_corpus(tmp_path / name, clips=21) for name in ("here", "there")]
    for corpus in corpora:
        damage(corpus, 9)  # its reason must not hold a path either
    one = make(corpora[0], tmp_path / "one.arrow", workers=1)
    two = make(corpora[1], tmp_path / "two.arrow", workers=2)
    assert one.path.read_bytes() == two.path.read_bytes()
    assert len(one.clip_id) == 20


def test_whole_numbers_and_floats_are_the_same_setting(corpus, tmp_path):
    whole, real = (make(corpus, tmp_path / f"{s}.arrow", frontend=replace(SMALL, clip_s=s)) for s in (1, 1.0))
    assert whole.fingerprint == real.fingerprint


def relabelled(corpus: Corpus, **changes: str) -> Corpus:
    first, *others = corpus.utterances
    return replace(corpus, utterances=(replace(first, **changes), *others))


def test_fingerprint_names_all_that_determines_the_content(built, corpus, tmp_path):
    louder = tmp_path / "louder.wav"
    soundfile.write(louder, np.sin(np.arange(4800)), 16_000)
    others = [
        make(corpus, tmp_path / "0.arrow", seed=1),
        make(corpus, tmp_path / "1.arrow", frontend=replace(SMALL, floor_db=-60.0)),
        make(relabelled(corpus, speaker="s9"), tmp_path / "2.arrow"),
        make(relabelled(corpus, emotion="calm"), tmp_path / "3.arrow"),
        make(relabelled(corpus, path=louder), tmp_path / "4.arrow"),
        make(relabelled(corpus, id="other.wav"), tmp_path / "5.arrow"),
        make(replace(corpus, emotions=EMOTIONS[::-1]), tmp_path / "6.arrow"),
        make(replace(corpus, utterances=corpus.utterances[:-1]), tmp_path / "7.arrow"),
    ]
    assert len({store.fingerprint for store in [built, *others]}) == 1 + len(others)
    assert make(relabelled(corpus, sentence="b"), tmp_path / "8.arrow").fingerprint == built.fingerprint


# Whole or absent


def test_progress_counts_every_utterance(corpus, tmp_path):
    seen = []
    make(corpus, tmp_path / "s.arrow", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_damaged_recording_is_left_out_and_listed(corpus, tmp_path):
    name = damage(corpus, 2)
    store = make(corpus, tmp_path / "s.arrow")
    assert [clip["id"] for clip in store.skipped] == [name]
    assert "damaged" in store.skipped[0]["reason"]
    assert str(tmp_path) not in store.skipped[0]["reason"]
    assert store.clip_id == tuple(u.id for u in corpus.utterances if u.id != name)
    assert len(store.pixels) == 20


def test_strict_refuses_a_damaged_recording(corpus, tmp_path):
    name = damage(corpus, 2)
    with pytest.raises(UserError, match=name):
        make(corpus, tmp_path / "stores" / "s.arrow", strict=True)
    assert list((tmp_path / "stores").iterdir()) == []


def test_an_emotion_without_recordings_is_an_error(corpus, tmp_path):
    for number in (1, 3, 5):
        damage(corpus, number)
    with pytest.raises(UserError, match="no usable recording of calm"):
        make(corpus, tmp_path / "stores" / "s.arrow")
    assert list((tmp_path / "stores").iterdir()) == []


def test_full_disk_is_an_error_and_leaves_nothing(corpus, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = tmp_path / "stores" / "s.arrow"
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match="cannot be written: File too large"):
            make(corpus, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(out.parent.iterdir()) == []


def test_dead_worker_is_an_error_and_leaves_nothing(tmp_path):
    def kill_a_worker(done: int, total: int) -> None:
        if done == 1:
            multiprocessing.active_children()[0].kill()

    corpus = make_corpus(tmp_path / "corpus", clips=160)
    with pytest.raises(UserError, match="a worker process died"):
        make(corpus, tmp_path / "stores" / "s.arrow", workers=2, progress=kill_a_worker)
    assert list((tmp_path / "stores").iterdir()) == []


KILLED_BUILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from chirps import make, make_corpus

def stall(done, total):
    print("half-way", flush=True)
    time.sleep(60)

if __name__ == "__main__":
    make(make_corpus(Path("corpus"), clips=40), Path("stores/s.arrow"), workers=2, progress=stall)
"""


def test_killed_build_leaves_no_file_and_no_process(tmp_path):
    script = tmp_path / "build.py"
    script.write_text(KILLED_BUILD.format(tests=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"half-way\n"
    process.send_signal(signal.SIGKILL)
    # All of its processes hold the pipe open: it ends when the last one does.
    assert process.stdout.read() == b""
    assert process.wait() == -signal.SIGKILL
    assert list((tmp_path / "stores").iterdir()) == []


def test_leftovers_of_dead_processes_are_removed(corpus, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    leftover, somebody_elses = tmp_path / f".s.arrow.{dead.pid}", tmp_path / f".s.arrow.{os.getppid()}"
    leftover.touch()
    somebody_elses.touch()
    make(corpus, tmp_path / "s.arrow")
    assert not leftover.exists()
    assert somebody_elses.exists()


# Asked for again


def never(done: int, total: int) -> None:
    raise AssertionError("rendered again")


def test_same_store_is_opened_not_written(corpus, tmp_path):
    damage(corpus, 2)
    first = make(corpus, tmp_path / "s.arrow")
    before = first.path.stat()
    again = make(corpus, first.path, progress=never)
    assert again.fingerprint == first.fingerprint
    assert first.path.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(UserError, match="1 damaged recordings are left out there"):
        make(corpus, first.path, strict=True, progress=never)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 3, "frontend": replace(SMALL, width=8)}, "seed is 0 there, 3 here; width is 16 there, 8 here"),
        ({"frontend": replace(SMALL, floor_db=-60)}, "floor_db is -80.0 there, -60.0 here"),
        ({"frontend": replace(SMALL, trim_db=30)}, "trim_db is None there, 30.0 here"),
    ],
)
def test_other_settings_are_refused_key_by_key(built, corpus, changes, difference):
    before = built.path.read_bytes()
    with pytest.raises(UserError, match=difference) as error:
        make(corpus, built.path, progress=never, **changes)
    assert "\n" not in str(error.value)
    assert built.path.read_bytes() == before


def test_other_recordings_are_refused_by_kind(built, corpus):
    cut, changed, *rest = corpus.utterances
    soundfile.write(changed.path, np.sin(np.arange(4800)), 16_000)
    moved = replace(rest[0], speaker="s9")
    added = replace(cut, id="zz.wav")
    other = replace(corpus, utterances=(changed, moved, *rest[1:], added))
    expected = (
        r"1 recordings only here \(the first: zz.wav\); 1 recordings only there \(the first: 00.wav\); "
        r"2 recordings of other content, speaker or emotion \(the first: 01.wav\)"
    )
    with pytest.raises(UserError, match=expected):
        make(other, built.path, progress=never)


def test_repaired_recording_is_a_difference(corpus, tmp_path):
    name = damage(corpus, 2)
    store = make(corpus, tmp_path / "s.arrow")
    soundfile.write(corpus.utterances[2].path, np.sin(np.arange(4800)), 16_000)
    with pytest.raises(UserError, match=f"1 recordings only here .the first: {name}"):
        make(corpus, store.path, progress=never)
