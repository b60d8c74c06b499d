"""The benchmarks `overhead` and `scale`, at tiny sizes: that what they add up is right. No times."""

import json
import os
import runpy
import sys
from subprocess import CalledProcessError

import pytest

from search.scheduling.ledger import open_study


def spans(*pairs):
    from jobs.benchmarks.overhead import Span

    return [Span(start=start, end=end, trained_s=1.0, duration_s=1.5) for start, end in pairs]


@pytest.fixture
def run_here(ray_address, monkeypatch):
    """Does what run_python does, but in this process and on the tests' Ray, which has one core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})

    def run(_title, flag, module, *words):
        assert flag == "-m"
        with pytest.MonkeyPatch.context() as changed:
            changed.setenv("RAY_ADDRESS", ray_address)
            changed.setattr(sys, "argv", [module, *map(str, words)])
            runpy.run_module(module, run_name="__main__")

    return run


def test_overhead_of_a_short_sweep_is_made_up_of_its_parts(tmp_path, new_home, run_here, monkeypatch):
    from jobs.benchmarks import overhead

    new_home(tmp_path / "home")
    monkeypatch.setattr(overhead, "run_python", run_here)
    result = overhead.measure(tmp_path, trials=4, emodb_rows=280)
    parts, (share,) = result.parts, result.further
    assert result.value * parts["trials_counted"] == pytest.approx(
        parts["slots"] * parts["wall_counted_s"] - parts["trained_counted_s"]
    )
    assert 0 < parts["trials_counted"] <= 4
    assert 0 < parts["trained_counted_s"] <= parts["trained_s"]
    assert parts["mlflow_log_batch_s_a_trial"] > 0
    assert share.value == pytest.approx(100 * result.value * 8 / share.parts["training_estimated_s"])
    assert (share.parts["trials"], share.parts["distinct_teacher"]) == (8, 4)


def test_all_slots_work_from_the_first_moment_when_as_many_trials_are_under_way():
    from jobs.benchmarks.overhead import all_work_from

    assert all_work_from(spans((0, 4), (5, 9), (7, 8), (8, 9)), slots=2) == 7
    assert all_work_from(spans((0, 4), (5, 9)), slots=1) == 0
    with pytest.raises(RuntimeError, match="never were 2 trials under way at once"):
        all_work_from(spans((0, 4), (4, 9)), slots=2)


def test_of_a_trial_that_was_under_way_only_the_rest_counts():
    (span,) = spans((2, 6))
    assert [span.within(since) for since in (0, 3, 7)] == [1, 0.75, 0]


def test_scale_measures_every_size_and_names_the_largest_exponent(tmp_path, monkeypatch):
    from jobs.benchmarks import scale

    monkeypatch.setattr(
        scale, "_sweep_apart", lambda folder, sampler, n: {"trials_s": 0.1 * n**3, "driver_gains_mb": 0.5 * n}
    )
    result = scale.measure(tmp_path, rows=(100, 280), trials={"random": (2, 4)})
    parts = result.parts
    assert result.value == parts["random_exponent"] == pytest.approx(3)
    assert parts["random_driver_gains_kb_a_trial"] == pytest.approx(500)
    assert parts["rows"] == [100, 280]
    assert len(parts["open_s"]) == len(parts["batch_s"]) == len(parts["open_private_mb"]) == 2


def test_a_sweep_of_instant_trials_goes_through_tune_journal_and_tracking(tmp_path, new_home, run_here):
    run_here("3 instant trials", "-m", "jobs.benchmarks.scale", new_home(tmp_path), "tpe", 3)
    study = open_study(tmp_path / "studies" / "scale.journal", "scale")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    found = json.loads((tmp_path / "figures.json").read_text())  # written only if MLflow has all three
    assert found["trials_s"] > 0


def test_a_process_of_its_own_knows_nothing_of_the_users_servers_and_its_failure_is_one(tmp_path, monkeypatch):
    from jobs.benchmarks.child import run_python

    for name in ("RAY_ADDRESS", "SER_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "elsewhere")
    program = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str('elsewhere' in os.environ.values()))"
    run_python("a title", "-c", program, tmp_path / "found")
    assert (tmp_path / "found").read_text() == "False"
    with pytest.raises(CalledProcessError):
        run_python("a title", "-c", "import nothing_of_this_name")


def test_exponent_of_linear_and_quadratic_growth():
    from jobs.benchmarks.scale import exponent

    assert exponent([10, 100, 1000], [3, 30, 300]) == pytest.approx(1)
    assert exponent([10, 100, 1000], [1, 100, 10_000]) == pytest.approx(2)
