"""What is shown of a sweep under way, fed with Tune's own trials."""

import io

import pytest
from ray.tune.experiment import Trial
from rich.console import Console

from search.run.progress import Progress
from search.space.outcome import Outcome
from search.space.trial_config import resolve
from search.space.trial_result import TrialResult
from sermodels.training.epoch_report import EpochReport

CHAIN = {"teacher": {"epochs": 20}, "match": {"epochs": 10}, "student": {"epochs": 10}}


def trial(name, kind="trial"):
    # `stub` is Ray's word for a trial whose trainable is not looked up.
    config = resolve(kind, {"patch": name}, CHAIN, fresh_seeds=(1,))
    return Trial("trainable", stub=True, trial_id=name, config=config.to_tune())


def epoch(stage, number, **metrics):
    report = EpochReport(stage=stage, epoch=number, metrics={"loss": 1.0, **metrics}, reused=0.0)
    return TrialResult(epochs=(report,)).to_tune()


def ended(outcome, **more):
    return TrialResult(outcome=Outcome(outcome), **more).to_tune()


@pytest.fixture
def progress():
    return Progress(4, "first", confirm=1)


def drawn(progress):
    text = io.StringIO()
    Console(file=text, width=120).print(progress._panel())
    return {line.split()[0]: line for line in text.getvalue().splitlines()[2:]}


def test_each_running_trial_is_a_row_with_a_bar_over_all_stages(progress):
    for name in ("8x8", "32x4", "128x1"):
        progress.on_trial_start(0, [], trial(name))
    progress.on_trial_result(0, [], trial("32x4"), epoch("teacher", 10))
    progress.on_trial_result(0, [], trial("128x1"), epoch("student", 5, val_uar=0.4))
    rows = drawn(progress)
    assert "starting" in rows["8x8"]
    assert "teacher" in rows["32x4"]
    assert "10/20" in rows["32x4"]
    assert rows["128x1"].rstrip().endswith("0.400")
    filled = [rows[name].count("━") for name in ("8x8", "32x4", "128x1")]
    assert filled == [0, 24 * 10 // 40, 24 * 35 // 40]


def test_the_bar_grows_with_the_epochs_of_all_stages(progress):
    progress.on_trial_start(0, [], trial("8x8"))
    for stage, number, share in (("teacher", 10, 0.25), ("match", 10, 0.75), ("student", 10, 1.0)):
        progress.on_trial_result(0, [], trial("8x8"), epoch(stage, number))
        bar = progress._panel().columns[1]._cells[0]
        assert bar.completed / bar.total == share


def test_the_line_counts_what_ended_what_is_best_and_what_was_saved(progress):
    done = ended("finished", score=0.5, figures={"reused_seconds": 90.0})
    for name, result in (("8x8", done), ("32x4", ended("failed", reason="diverged")), ("128x1", {})):
        progress.on_trial_start(0, [], trial(name))
        progress.on_trial_result(0, [], trial(name), result)
        progress.on_trial_complete(0, [], trial(name))
    line = progress.line()
    assert line.startswith("first: 3/4 trials done, 1 pruned, 1 failed, 0 running; best val UAR 0.500 (8x8)")
    assert "90 s of training saved by shared stages" in line
    assert "left" in line


def test_confirmations_are_counted_apart(progress):
    for name in ("8x8", "32x4", "128x1", "16x16"):
        progress.on_trial_start(0, [], trial(name))
        progress.on_trial_result(0, [], trial(name), ended("finished", score=0.5))
        progress.on_trial_complete(0, [], trial(name))
    again = trial("64x64", kind="confirmation")
    progress.on_trial_start(0, [], again)
    assert "0/1 confirmed on fresh seeds" in progress.line()
    progress.on_trial_result(0, [], again, ended("finished", score=0.9))
    progress.on_trial_complete(0, [], again)
    assert "4/4 trials done" in progress.line()
    assert "1/1 confirmed" in progress.line()
    assert "best val UAR 0.500" in progress.line()
