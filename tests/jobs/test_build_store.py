"""The job that builds, recognises and verifies stores: what it prints, its exit codes, what it leaves behind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sermodels.store.open import open_store

JOBS = Path(__file__).parents[2] / "jobs"
SMALL = ["--clip-s", "0.5", "--n-mels", "16", "--width", "16", "--workers", "1"]
Job = Callable[..., tuple[int, str, str]]


@pytest.fixture
def job(tmp_path, monkeypatch, capsys) -> Job:
    """Run the job's main in this process and in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    from jobs.build_store import Args, main
    from jobs.shared.cli import run

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["build_store.py", *map(str, words)])
        try:
            run(main, Args)
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two classes, two speakers, one damaged recording among five."""
    root = tmp_path / "corpus"
    for i, name in enumerate(["calm/kim_1", "calm/lee_1", "calm/lee_2", "angry/kim_1", "angry/lee_1"]):
        path = root / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.3 * np.sin(np.arange(6000) * 0.02 * (i + 1)), 16_000)
    (root / "calm" / "lee_2.wav").write_bytes(b"RIFF")
    return root


def building(corpus: Path, *words: object) -> list[object]:
    return ["--corpus", "folder", "--root", corpus, "--out", "stores/small", r"speaker_regex=[a-z]+/(\w+?)_", *words]


def test_build_recognise_refuse_verify(job, corpus, tmp_path):
    store_file = tmp_path / "stores" / "small.arrow"  # the suffix is added
    code, out, err = job(*building(corpus, *SMALL))
    assert code == 0
    store = open_store(store_file)
    assert store.frontend.width == 16
    assert set(store.speaker) == {"kim", "lee"}
    for part in ["stores/small.arrow", "16 rows", "4 clips", "2 speakers", "angry, calm", store.fingerprint[:12]]:
        assert part in out
    assert "warning: left out calm/lee_2.wav" in err

    before = store_file.read_bytes()
    code, out, _ = job(*building(corpus, *SMALL))
    assert (code, "nothing to do" in out) == (0, True)

    code, out, err = job(*building(corpus, *SMALL, "--width", 8, "--seed", 2))
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: stores/small.arrow: built otherwise: seed is 0 there, 2 here; width")
    assert store_file.read_bytes() == before

    assert job("--out", "stores/small", "--verify")[0] == 0
    altered = bytearray(before)
    altered[before.index(store.pixels[5].tobytes())] ^= 1
    store_file.write_bytes(altered)
    code, out, err = job("--out", "stores/small", "--verify")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pixels altered in view noise of clip angry/lee_1.wav" in err


def test_strict_refuses_a_damaged_recording(job, corpus, tmp_path):
    code, out, err = job(*building(corpus, *SMALL, "--strict"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "calm/lee_2.wav" in err
    assert list(tmp_path.glob("stores/*")) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--corpus"),
        (["--verify"], "--out"),
        (["--verify", "--out", "s", "--corpus", "emodb"], "--verify"),
        (["--verify", "--out", "none"], "none.arrow: no such store"),
        (["--corpus", "emodb"], "--root is missing"),
        (["--corpus", "emodb", "--root", "nowhere"], "nowhere: no such folder"),
        (["--corpus", "emodbb", "--root", "."], "'emodb'"),
        (["--corpus", "folder", "--root", ".", "speaker_regex"], "'speaker_regex' is not of the form key=value"),
        (["--corpus", "folder", "--root", "corpus", "speaker_regex=/(.)", "--workers", "0"], "workers = 0"),
        (["--corpus", "emodb", "--widht", "64"], "--widht"),
        (["--corpus", "emodb", "--width", "wide"], "--width"),
        (["--corpus", "emodb", "--clip-s", "-1"], "clip_s: Input should be greater than 0 (found -1.0)"),
        (["--corpus", "emodb", "--out"], "--out"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(job, corpus, tmp_path, words, named):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = job(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err
    assert sorted(tmp_path.rglob("*")) == before


UTF8_BOX = """
╭─ Value error ──────────────╮
│ Error parsing --seed:      │
│ not a number.              │
│ ────────────────────────── │
│ For help, run x --help     │
╰────────────────────────────╯
"""
ASCII_BOX = """
 Value error
 ----------------------------
  Error parsing --seed:
  not a number.
  --------------------------
  For help, run x --help
"""
COLOURED_BOX = UTF8_BOX.replace("│", "\x1b[31m│\x1b[0m").replace("--seed", "\x1b[1m--seed\x1b[0m")


@pytest.mark.parametrize("box", [UTF8_BOX, ASCII_BOX, COLOURED_BOX])
def test_boxes_of_the_parser_become_one_line(job, box):
    from jobs.shared.parsing import _one_line

    assert _one_line(box) == "Error parsing --seed: not a number"


def test_help_shows_the_commands(job):
    code, out, _ = job("--help")
    assert code == 0
    assert "python jobs/build_store.py --corpus synthetic" in out
    assert "--clip-s" in out


def test_interrupt_ends_with_130(job, monkeypatch, capsys):
    from jobs.build_store import Args
    from jobs.shared.cli import run

    def interrupted(args: Args) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["build_store.py"])
    with pytest.raises(SystemExit, match="130"):
        run(interrupted, Args)
    assert capsys.readouterr().err == "interrupted\n"


def test_progress_is_plain_lines_outside_a_terminal(job, monkeypatch, capsys):
    from jobs.shared import progress

    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with progress.counted("clips") as clips:
        clips(3, 7)
    assert capsys.readouterr().err == "clips: 3 of 7 after 0 s\n"


def test_the_script_itself(corpus, tmp_path):
    """As a person runs it: another process, two workers, the default place."""
    command = [sys.executable, JOBS / "build_store.py", "--corpus", "folder", "--root", corpus, "--workers", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runs/stores/folder.arrow: built in ")
    assert [path.name for path in (tmp_path / "runs" / "stores").iterdir()] == ["folder.arrow"]
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())


def test_silence_at_both_ends_is_cut_if_asked_for(job, corpus, tmp_path):
    for path in corpus.rglob("*_1.wav"):
        samples, rate_hz = soundfile.read(path)
        soundfile.write(path, np.pad(samples, 16_000), rate_hz)
    assert job(*building(corpus, *SMALL, "--trim-db", 30))[0] == 0
    store = open_store(tmp_path / "stores" / "small.arrow")
    assert store.frontend.trim_db == 30
    assert (store.duration_s < 0.6).all()
    code, _, err = job(*building(corpus, *SMALL))
    assert code == 2
    assert "trim_db is 30.0 there, None here" in err
    code, _, err = job(*building(corpus, *SMALL, "--trim-db", 0))
    assert code == 2
    assert "trim_db: Input should be greater than 0 (found 0.0)" in err
