"""What a trial says to Tune, and how its process ends when it hangs."""

import subprocess
import sys
import textwrap

from search.run.trial import Reporter
from sermodels.training.epoch_report import EpochReport


def epoch(stage, number, reused=0.0, uar=0.5):
    metrics = {"loss": 1.0} | ({"val_uar": uar} if stage != "match" else {})
    return EpochReport(stage=stage, epoch=number, metrics=metrics, reused=reused)


def sent_by(config, *reports, judged=True):
    """What a Reporter sends for the epochs of a chain, and what it still holds."""
    sent = []
    reporter = Reporter(config, sent.append, judged=judged)
    for report in reports:
        reporter(report)
    return sent, reporter.held


def numbers(reports):
    return [report.epoch for report in reports]


def test_a_trained_epoch_is_sent_at_once_and_only_students_are_judged(tiny_config):
    sent, _ = sent_by(tiny_config(), epoch("teacher", 1), epoch("match", 1), epoch("student", 1, uar=0.7))
    assert [result.stage for result in sent] == ["teacher", "match", "student"]
    assert [result.score for result in sent] == [None, None, 0.7]
    assert [result.student_epoch for result in sent] == [None, None, 1]
    assert all(result.epochs[0].metrics["memory_mb"] > 1 for result in sent)


def test_a_stage_from_the_cache_is_one_result_with_its_history(tiny_config):
    config = tiny_config(**{"teacher.epochs": 3})
    sent, held = sent_by(config, *[epoch("teacher", n, reused=1.0) for n in (1, 2, 3)])
    assert [numbers(result.epochs) for result in sent] == [[1, 2, 3]]
    assert held == []


def test_a_stage_that_goes_on_sends_its_past_with_the_first_new_epoch(tiny_config):
    config = tiny_config(**{"student.epochs": 5})
    reports = [epoch("student", n, reused=1.0 if n < 3 else 0.5, uar=n / 10) for n in (1, 2, 3, 4)]
    sent, _ = sent_by(config, *reports)
    assert [numbers(result.epochs) for result in sent] == [[1, 2, 3], [4]]
    assert [(result.student_epoch, result.score) for result in sent] == [(3, 0.3), (4, 0.4)]


def test_a_confirmation_is_not_judged(tiny_config):
    sent, _ = sent_by(tiny_config(), epoch("student", 1), judged=False)
    assert numbers(sent[0].epochs) == [1]
    assert (sent[0].student_epoch, sent[0].score) == (None, None)
    assert not {"student_epoch", "score"} & sent[0].to_tune().keys(), "where schedulers look for them"


def test_the_last_student_epoch_is_held_for_the_final_result(tiny_config):
    sent, held = sent_by(tiny_config(), epoch("student", 1), epoch("student", 2))
    assert len(sent) == 1
    assert numbers(held) == [2]


def test_a_process_without_a_finished_step_ends_itself_and_says_where_it_hung():
    script = """
        import time
        from search.run.trial import _Watchdog

        def hangs():
            time.sleep(60)

        watch = _Watchdog(hang_s=1)
        watch()
        hangs()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 1
    assert "in hangs" in done.stderr
