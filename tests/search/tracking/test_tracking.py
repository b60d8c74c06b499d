"""From what a sweep tells of its runs to what a real MLflow database holds: everything, once."""

import logging
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search.space.outcome import Outcome
from search.tracking.runs import OUTCOME, Runs, run_key
from search.tracking.sender import Sender
from search.tracking.spool import Spool
from search.tracking.sync import settle
from search.tracking.tracker import EXPERIMENT, Tracker, UnknownRunError
from sermodels.errors import UserError
from sermodels.training.epoch_report import EpochReport

PARAMS = {"alpha": 1.0, "patch": "32x4"}


def epochs(*numbers, reused=0.0):
    return [EpochReport(stage="student", epoch=n, metrics={"val_uar": n / 10}, reused=reused) for n in numbers]


def a_sweep(runs, sweep="5eed"):
    """What a small sweep tells; returns the key of its trial."""
    child = run_key(sweep, "trial", PARAMS)
    runs.begin(sweep, name="s", kind="sweep", sweep="s", tags={"ser.protocol": "speaker"})
    runs.text(sweep, "preset.yaml", "trials: 1\n")
    runs.begin(child, name="32x4 alpha=1", kind="trial", sweep="s", params=PARAMS, parent=sweep)
    runs.log(child, epochs=epochs(1, 2))
    seconds = {"trained_seconds": 3.0, "reused_seconds": 4.0}
    runs.log(child, epochs=epochs(3), figures={"val_uar": 0.3, **seconds}, tags={OUTCOME: "finished"})
    runs.end(child, Outcome.FINISHED)
    runs.log(sweep, figures={"val_uar": 0.3}, links={"ser.winner_run": child})
    runs.end(sweep, Outcome.FINISHED)
    return child


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A database with its tables: making them takes more than a second."""
    folder = tmp_path_factory.mktemp("empty")
    Tracker(f"sqlite:///{folder}/mlflow.db", folder / "artifacts").connect()
    return folder / "mlflow.db"


@pytest.fixture
def tracker(empty, tmp_path):
    shutil.copy(empty, tmp_path / "mlflow.db")
    return Tracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path / "spool" / "s") as spool:
        yield spool


def found(tracker):
    """All runs, by kind."""
    client = MlflowClient(tracker.uri)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return {run.data.tags["ser.kind"]: run for run in runs} if len(runs) == 2 else runs


def steps(tracker, run, metric="student/val_uar"):
    return [(p.step, p.value) for p in MlflowClient(tracker.uri).get_metric_history(run.info.run_id, metric)]


def test_all_that_is_told_arrives(tracker, spool):
    a_sweep(Runs(spool))
    assert Sender(spool, tracker).finish(20)
    parent, child = (found(tracker)[kind] for kind in ("sweep", "trial"))
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params == {"alpha": "1.0", "patch": "32x4"}
    assert steps(tracker, child) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert (child.info.status, child.data.tags[OUTCOME]) == ("FINISHED", Outcome.FINISHED)
    assert parent.data.tags["ser.winner_run"] == child.info.run_id
    assert parent.data.metrics == {"val_uar": 0.3}
    path = MlflowClient(tracker.uri).download_artifacts(parent.info.run_id, "preset.yaml")
    assert Path(path).read_text() == "trials: 1\n"
    assert child.info.end_time >= child.info.start_time


def test_sending_all_of_it_again_changes_nothing(tracker, spool):
    a_sweep(Runs(spool))
    records = spool.read_all()
    for count in range(1, len(records) + 1):  # as if the process had died after each
        Tracker(tracker.uri, tracker._artifacts).send(records[:count])
    tracker.send(records)
    child = found(tracker)["trial"]
    assert steps(tracker, child) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert steps(tracker, child, "val_uar") == [(0, 0.3)]
    assert child.info.status == "FINISHED"


def test_a_slow_tracker_is_waited_for_while_it_gets_on(tracker, spool):
    for number in range(40):
        a_sweep(Runs(spool), sweep=f"5eed{number}")
    began, patience_s = time.monotonic(), 0.5
    assert Sender(spool, tracker).finish(patience_s)
    assert time.monotonic() - began > patience_s
    assert len(found(tracker)) == 80


def test_a_slow_tracker_is_not_waited_for_by_who_was_stopped(tracker, spool):
    for number in range(30):
        a_sweep(Runs(spool), sweep=f"5eed{number}")
    began = time.monotonic()
    assert not Sender(spool, tracker).finish(20, at_most_s=0.3)
    assert time.monotonic() - began < 2


def test_a_trial_that_tells_its_past_again_repeats_no_step(tracker, spool):
    child = a_sweep(Runs(spool))
    runs = Runs(spool)  # of the next driver
    runs.begin(child, name="32x4 alpha=1", kind="trial", sweep="s", params=PARAMS, parent="5eed")
    again = {"val_uar": 0.3, "trained_seconds": 0.0, "reused_seconds": 7.0}
    runs.log(child, epochs=epochs(1, 2, 3, reused=1.0), figures=again, tags={OUTCOME: "finished"})
    runs.end(child, Outcome.FINISHED)
    assert runs.seconds == {"trained_seconds": 3.0, "reused_seconds": 4.0}
    assert Sender(spool, tracker).finish(20)
    trial = found(tracker)["trial"]
    assert steps(tracker, trial) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert steps(tracker, trial, "trained_seconds") == [(0, 3.0)]
    assert trial.info.status == "FINISHED"


def test_one_run_is_marked_as_the_winner(tracker, spool):
    child = a_sweep(Runs(spool))
    Runs(spool).crown("5eed")
    Runs(spool).crown(child)
    assert Sender(spool, tracker).finish(20)
    assert {kind: run.data.tags["ser.winner"] for kind, run in found(tracker).items()} == {
        "sweep": "false",
        "trial": "true",
    }


def test_what_a_dead_driver_left_open_is_closed(tracker, spool):
    runs = Runs(spool)
    runs.begin("5eed", name="s", kind="sweep", sweep="s")
    runs.begin("c41d", name="t", kind="trial", sweep="s", parent="5eed")
    assert settle(spool, tracker)
    assert {run.info.status for run in found(tracker).values()} == {"KILLED"}
    assert {run.data.tags[OUTCOME] for run in found(tracker).values()} == {"interrupted"}


def test_a_run_that_goes_on_is_running_again(tracker, spool):
    runs = Runs(spool)
    for _ in range(2):
        runs.begin("5eed", name="s", kind="sweep", sweep="s")
        runs.begin("c41d", name="t", kind="trial", sweep="s", parent="5eed")
        runs.end_open()
    runs.begin("5eed", name="s", kind="sweep", sweep="s")
    assert Sender(spool, tracker).finish(20)
    assert {kind: run.info.status for kind, run in found(tracker).items()} == {"sweep": "RUNNING", "trial": "KILLED"}


def test_another_database_gets_everything_from_the_start(tracker, spool, empty, tmp_path):
    a_sweep(Runs(spool))
    assert Sender(spool, tracker).finish(20)
    shutil.copy(empty, tmp_path / "other.db")
    other = Tracker(f"sqlite:///{tmp_path}/other.db", tmp_path / "artifacts")
    Runs(spool).log(run_key("5eed", "trial", PARAMS), tags={"ser.winner": "true"})
    assert Sender(spool, other).finish(20)
    assert steps(other, found(other)["trial"]) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert found(other)["trial"].data.tags["ser.winner"] == "true"


def test_records_of_a_run_that_never_began_are_passed_over_at_last(tracker, spool):
    Runs(spool).log("dead", figures={"x": 1.0})
    with pytest.raises(UnknownRunError):
        tracker.send(spool.read_all())
    a_sweep(Runs(spool))
    assert Sender(spool, tracker).finish(20)
    assert found(tracker)["trial"].info.status == "FINISHED"


def test_what_mlflow_refuses_is_passed_over_with_its_reason(tracker, spool, caplog):
    runs = Runs(spool)
    child = a_sweep(runs)
    runs.begin(child, name="x", kind="trial", sweep="s", params={"alpha": 2.0}, parent="5eed")
    runs.log("5eed", figures={"after": 1.0})
    assert Sender(spool, tracker).finish(20)
    assert "Changing param values is not allowed" in caplog.text
    assert found(tracker)["sweep"].data.metrics["after"] == 1.0


def test_a_locked_database_is_asked_again(tracker, spool, caplog, monkeypatch):
    monkeypatch.setattr("search.tracking.sender.FIRST_PAUSE_S", 0.05)
    caplog.set_level(logging.WARNING)
    tracker.connect()
    lock = sqlite3.connect(tracker.uri.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    sender = Sender(spool, tracker)
    began = time.monotonic()
    a_sweep(Runs(spool))
    assert time.monotonic() - began < 1, "whoever tells something does not wait"
    end = time.monotonic() + 60
    while "training goes on" not in caplog.text and time.monotonic() < end:
        time.sleep(0.1)
    assert "locked" in caplog.text
    assert spool.sent == 0
    lock.execute("ROLLBACK")
    lock.close()
    assert sender.finish(30)
    assert steps(tracker, found(tracker)["trial"]) == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_a_tracker_that_is_away_is_given_up_and_gets_it_later(tracker, spool):
    nobody = Tracker("http://127.0.0.1:9", tracker._artifacts)
    sender = Sender(spool, nobody)
    a_sweep(Runs(spool))
    began = time.monotonic()
    assert not sender.finish(1)
    assert time.monotonic() - began < 5
    assert Sender(spool, tracker).finish(20)
    assert found(tracker)["sweep"].info.status == "FINISHED"


def test_a_deleted_experiment_is_named_with_the_way_to_restore_it(tracker):
    client = MlflowClient(tracker.uri)
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    with pytest.raises(UserError, match="mlflow experiments restore --experiment-id"):
        tracker.connect()


def test_a_password_in_an_address_is_shown_nowhere(spool, tmp_path, caplog):
    tracker = Tracker("http://user:s3cret@127.0.0.1:9/x", tmp_path)
    sender = Sender(spool, tracker)
    Runs(spool).begin("5eed", name="s", kind="sweep", sweep="s")
    sender.finish(1)
    with pytest.raises(UserError) as caught:
        tracker.connect()
    assert "http://127.0.0.1:9/x" in str(caught.value)
    assert "127.0.0.1:9" in caplog.text
    assert "s3cret" not in caplog.text + str(caught.value) + tracker.uri
