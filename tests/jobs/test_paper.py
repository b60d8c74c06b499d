"""The paper's tables on a real Ray, of narrow images of few clips; begun and continued."""

import json
import shutil

import pytest
from here import job_here

pytestmark = pytest.mark.timeout(900)  # all on one core

SYSTEMS = ["student", "septr-16"]


@pytest.fixture(scope="module")
def words(tmp_path_factory, ray_address):
    """A store of 3 speakers × 7 emotions × 1 clip, and the flags that all runs share."""
    root = tmp_path_factory.mktemp("paper")
    built = job_here("build_store.py", "--corpus", "synthetic", "--root", root / "corpus", "--out", root / "s.arrow",
                "speakers=3", "clips_per_emotion=1", "--width", 32, "--workers", 1)  # fmt: skip
    assert built.returncode == 0, built.stderr
    home = ["--home", root / "home", "--out", root / "out", "--store", root / "s.arrow", "--size", "reduced"]
    home += ["--address", ray_address]
    return root, home


def tables(root):
    (folder,) = (root / "out").glob("synthetic-*-reduced")
    return folder


def rows(root, table):
    found = json.loads((tables(root) / f"{table}.json").read_text())["rows"]
    return {row.get("name", tuple(row.get("systems", ()))): row for row in found}


def trained(root):
    return {path: path.read_bytes() for path in (root / "home" / "stages").rglob("training.jsonl")}


def test_tables_are_written_and_the_same_command_goes_on(words):
    root, flags = words
    flags = [*flags, "--table", "2", "--folds", "0", "1", "--systems", *SYSTEMS]
    planned = job_here("paper.py", *flags, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "2 systems, 4 lanes to train" in planned.stderr
    assert "2 lanes of student: student of that teacher" in planned.stdout
    assert not (root / "out").exists()

    done = job_here("paper.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "4/4 lanes" in done.stderr
    measured = json.loads((root / "out" / "measured.json").read_text())
    assert len(measured) == 4
    assert {lane["protocol"] for lane in measured.values()} == {"speaker_folds"}
    table = (tables(root) / "table-2.speaker.md").read_text()
    assert table in done.stdout
    found = rows(root, "table-2.speaker")
    assert [(found[name]["folds"], found[name]["items"]) for name in SYSTEMS] == [(2, 14), (2, 14)]
    assert found["ast"]["note"] == "not trained here"

    # Without the cache, and one lane's line lost: that lane alone is trained again, to the same result.
    kept = dict(list(measured.items())[1:])
    (root / "out" / "measured.json").write_text(json.dumps(kept))
    shutil.rmtree(root / "home" / "stages")
    again = job_here("paper.py", *flags)
    assert again.returncode == 0, again.stderr
    assert "1 lanes to train" in again.stderr
    assert without_seconds(json.loads((root / "out" / "measured.json").read_text())) == without_seconds(measured)
    lanes = {json.loads(log.splitlines()[0])["fold"] for log in trained(root).values()}
    assert len(lanes) == 1, "of one fold"
    assert (tables(root) / "table-2.speaker.md").read_text() == table


def without_seconds(measured):
    return {key: {what: value for what, value in lane.items() if what != "seconds"} for key, lane in measured.items()}


def test_other_systems_add_to_the_same_table_and_their_question_is_answered(words):
    root, flags = words
    before = trained(root)
    words_ = [*flags, "--folds", "0", "1", "--table", "ablation", "--systems", "student-alone"]
    done = job_here("paper.py", *words_)
    assert done.returncode == 0, done.stderr
    assert before.items() <= trained(root).items(), "nothing of before is trained again"
    found = rows(root, "table-ablation.speaker")
    assert found["student"]["wa"] == rows(root, "table-2.speaker")["student"]["wa"], "though not named this time"
    answers = rows(root, "questions.speaker")
    assert ("student", "student-alone") in answers
    assert answers["student", "student-alone"]["folds"] == 2


def test_under_paper_the_table_says_that_it_leaks_and_shows_the_best_epoch(words):
    root, flags = words
    chosen = ["--protocol", "paper", "--table", "ablation", "--systems", "student-alone", "--folds", "0"]
    done = job_here("paper.py", *flags, *chosen)
    assert done.returncode == 0, done.stderr
    table = (tables(root) / "table-ablation.paper.md").read_text()
    assert "**Leaks**" in table
    found = rows(root, "table-ablation.paper")["student-alone"]
    assert found["items"] == 17, "a fifth of 84 rows"
    assert found["wa_best_epoch"] >= found["wa"]
    assert not (tables(root) / "questions.paper.md").exists(), "what leaks answers nothing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--systems", "studnet"], "unknown system 'studnet'; the nearest valid name is 'student'"),
        (["--folds", "7", "--systems", "student"], "fold 7 does not exist"),
        (["--seeds", "0", "0"], "--seeds 0 0: expected distinct numbers"),
        (["--table", "1", "--systems", "student"], "--systems student: is in none of the tables asked for"),
        (["--gpus", "3", "--systems", "teacher"], "--gpus 3: no node has as many"),
        (["--protocol", "nobody"], "--protocol"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_trained(words, changes, message):
    root, flags = words
    done = job_here("paper.py", *flags, "--out", root / "mistake", *changes)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (root / "mistake" / "measured.json").exists()
