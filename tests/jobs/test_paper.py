"""The paper's tables as a user makes them: real Ray, images of the paper's size, few clips; begun and continued."""

import json

import pytest
from here import job_here
from processes import job

SYSTEMS = ["student", "student-alone", "septr-16"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A store of 5 speakers × 7 emotions × 1 clip at full size, and the flags that all runs share."""
    root = tmp_path_factory.mktemp("paper")
    built = job("build_store.py", "--corpus", "synthetic", "--root", root / "corpus", "--out", root / "s.arrow",
                "speakers=5", "clips_per_emotion=1")  # fmt: skip
    assert built.returncode == 0, built.stderr
    home = ["--home", root / "home", "--out", root / "out", "--store", root / "s.arrow", "--size", "reduced"]
    return root, [*home, "--systems", *SYSTEMS, "--folds", "0", "1"]


def test_tables_are_written_and_the_same_command_goes_on(words):
    root, flags = words
    planned = job_here("paper.py", *flags, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "6 lanes of 3 systems, 6 to train" in planned.stderr
    assert not (root / "out").exists()

    done = job("paper.py", *flags, "--table", "2", timeout_s=280)
    assert done.returncode == 0, done.stderr
    assert "4/4 lanes" in done.stderr
    measured = json.loads((root / "out" / "measured.json").read_text())
    assert len(measured) == 4
    assert {lane["protocol"] for lane in measured.values()} == {"speaker_folds"}
    table = (root / "out" / "table-2.speaker.md").read_text()
    assert table in done.stdout
    rows = json.loads((root / "out" / "table-2.speaker.json").read_text())["rows"]
    by_name = {row.get("name"): row for row in rows}
    assert by_name["student"]["lanes"] == by_name["septr-16"]["lanes"] == 2
    assert by_name["student"]["items"] == 14
    assert by_name["ast"]["note"] == "not trained here"

    # One lane's line is lost: it is tested again, not trained.
    kept = dict(list(measured.items())[1:])
    (root / "out" / "measured.json").write_text(json.dumps(kept))
    logs = {path: path.read_bytes() for path in (root / "home" / "stages").rglob("training.jsonl")}
    again = job("paper.py", *flags, "--table", "2", timeout_s=280)
    assert again.returncode == 0, again.stderr
    assert "1 to train" in again.stderr
    assert json.loads((root / "out" / "measured.json").read_text()) == measured
    assert {path: path.read_bytes() for path in (root / "home" / "stages").rglob("training.jsonl")} == logs
    assert (root / "out" / "table-2.speaker.md").read_text() == table


def test_under_paper_the_table_says_that_it_leaks_and_shows_the_best_epoch(words):
    root, flags = words
    flags = ["student-alone" if word == "student" else word for word in flags if word not in ("septr-16", "1")]
    done = job("paper.py", *flags, "--protocol", "paper", "--table", "ablation", timeout_s=280)
    assert done.returncode == 0, done.stderr
    table = (root / "out" / "table-ablation.paper.md").read_text()
    assert "**Leaks**" in table
    assert "best epoch on test" in table
    (lane,) = [
        lane
        for lane in json.loads((root / "out" / "measured.json").read_text()).values()
        if lane["protocol"] == "paper"
    ]
    assert lane["items"] == 140 / 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--systems", "studnet"], "unknown system 'studnet'; the nearest valid name is 'student'"),
        (["--folds", "7", "--systems", "student"], "fold 7 does not exist"),
        (["--protocol", "nobody"], "--protocol"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_trained(words, changes, message):
    root, flags = words
    flags = flags[: flags.index("--systems")]
    done = job_here("paper.py", *flags, "--out", root / "mistake", *changes)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (root / "mistake").exists()
