"""What came of a sweep, read back from its spool."""

import shutil

import pytest
from generated import EPOCHS, LANES_OF, SPACE, generate

from search.home import Home
from search.report.outcome import read_outcome
from sermodels.errors import UserError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("home"), "gen", 12)


@pytest.fixture
def copied(home, tmp_path):
    """A copy whose spool may be changed."""
    return Home(root=shutil.copytree(home.root, tmp_path / "home"))


def test_trials_come_back_as_they_were_told(home):
    sweep = read_outcome(home, "gen")
    assert (sweep.name, sweep.outcome, len(sweep.trials), len(sweep.confirmations)) == ("gen", "finished", 12, 1)
    assert [trial.outcome for trial in sweep.trials] == ["failed", "pruned"] + ["finished"] * 10
    last = sweep.trials[-1]
    assert set(last.params) == set(SPACE)
    assert {stage: len(rows) for stage, rows in last.curves.items()} == EPOCHS
    assert list(last.lanes) == LANES_OF
    assert last.score == pytest.approx(sum(last.lanes.values()) / 4)
    assert sweep.trials[0].reason.startswith("NonFiniteLossError")
    assert sweep.trials[0].score is sweep.trials[1].score is None


def test_the_winner_is_the_one_that_was_chosen(home):
    sweep = read_outcome(home, "gen")
    assert sweep.leader() is sweep.winner
    assert sweep.confirmation_of(sweep.winner).kind == "confirmation"
    scores = [trial.score for trial in sweep.ranked()]
    assert scores == sorted(scores, reverse=True)
    assert sweep.metrics["test"]["uar"] == 0.73


def test_a_sweep_under_way_has_a_leader_and_no_winner(tmp_path):
    sweep = read_outcome(generate(tmp_path, "gen", 5, winner=False), "gen")
    assert (sweep.outcome, sweep.winner, sweep.metrics) == ("under way", None, {})
    assert sweep.leader() is sweep.ranked()[0]


def test_a_line_that_is_being_written_is_left_out(copied):
    whole = read_outcome(copied, "gen")
    with (copied.spools / "gen" / "records.jsonl").open("a") as file:
        file.write('{"do": "begin", "run": "x"')
    assert read_outcome(copied, "gen") == whole


def test_a_sweep_that_told_nothing_yet_is_refused(tmp_path):
    (tmp_path / "spool" / "new").mkdir(parents=True)
    (tmp_path / "spool" / "new" / "records.jsonl").touch()
    with pytest.raises(UserError, match="has only just begun"):
        read_outcome(Home(root=tmp_path), "new")


def test_an_unknown_sweep_is_refused_with_those_there_are(home):
    with pytest.raises(UserError, match=r"--sweep other: no such sweep in .*; there are: gen"):
        read_outcome(home, "other")
