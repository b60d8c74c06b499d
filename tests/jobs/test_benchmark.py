"""The job that measures: verdicts, what is printed and written, exit codes, and the inputs it generates."""

import json
import math
import sys
from types import ModuleType

import pytest

from sermodels.config.settings import FrontEnd
from sermodels.store.open import open_store


@pytest.fixture
def result():
    """Build a result from a few of its fields."""
    from jobs.benchmarks.result import Result

    def build(value: float, required: str, further: tuple = ()) -> Result:
        return Result(
            name="reuse",
            compared="with against without",
            value=value,
            unit="× fewer seconds",
            required=required,
            limit="4.6×",
            parts={"with_s": 1.5, "lanes": 2},
            further=further,
        )

    return build


@pytest.fixture
def job(tmp_path, monkeypatch, capsys):
    """Run the job in this process on a result that is already there: (exit code, stdout, stderr)."""
    from jobs.benchmark import Args, main
    from jobs.shared.cli import run

    def call(found, *words: object) -> tuple[int, str, str]:
        module = ModuleType("jobs.benchmarks.reuse")
        module.measure = lambda scratch: found if scratch.is_dir() else None
        monkeypatch.setitem(sys.modules, "jobs.benchmarks.reuse", module)
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, words)])
        try:
            run(main, Args)
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("value", "required", "met"),
    [(4.0, "≥ 4", True), (3.99, "≥ 4", False), (0.5, "≤ 0.5", True), (0.51, "≤ 0.5", False), (math.nan, "≥ 4", False)],
)
def test_a_figure_is_judged_by_its_requirement(result, value, required, met):
    assert result(value, required).met is met


@pytest.mark.parametrize("required", ["> 4", "≥", "at least 4", "≥ 4×"])
def test_a_requirement_that_cannot_be_compared_is_refused(result, required):
    with pytest.raises(ValueError, match="required"):
        result(1.0, required)


def test_json_holds_figures_machine_and_commit(job, result, tmp_path):
    file = tmp_path / "new" / "reuse.json"
    code, out, _ = job(result(5.25, "≥ 4", (result(0.7, "≤ 0.5"),)), "reuse", "--json", file)
    assert code == 0
    assert "5.25 × fewer seconds; required ≥ 4: met" in out
    assert "with_s" in out
    written = json.loads(file.read_text("utf-8"))
    assert (written["name"], written["ratio"], written["value"], written["met"]) == ("reuse", 5.25, 5.25, True)
    assert (written["required"], written["limit"]) == ("≥ 4", "4.6×")
    assert written["parts"] == {"with_s": 1.5, "lanes": 2}
    assert [further["met"] for further in written["further"]] == [False]
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["torch"]
    assert written["commit"]
    assert written["command"].startswith("python jobs/benchmark.py reuse")


def test_a_miss_is_printed_plainly_and_is_no_failure(job, result):
    code, out, _ = job(result(3.0, "≥ 4"), "reuse")
    assert code == 0
    assert "required ≥ 4: missed" in out


def test_scratch_lies_in_home_and_is_removed(job, result, tmp_path):
    code, _, _ = job(result(5.0, "≥ 4"), "reuse", "--home", tmp_path / "home")
    assert code == 0
    assert list((tmp_path / "home").iterdir()) == []


def test_an_unknown_name_is_one_line_and_code_2(job, result):
    code, out, err = job(result(5.0, "≥ 4"), "speed")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "'speed'" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("flag", "below"), [("--home", "home"), ("--json", "figures.json")])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(job, result, tmp_path, flag, below):
    (tmp_path / "file").touch()
    code, out, err = job(result(5.0, "≥ 4"), "reuse", flag, tmp_path / "file" / below / "x")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {flag}: {tmp_path / 'file'}")
    assert err.count("\n") == 1


def test_a_generated_store_is_a_valid_one(tmp_path):
    from jobs.benchmarks.inputs import generated_store

    small = FrontEnd(clip_s=0.5, n_mels=16, width=8)
    store = open_store(generated_store(tmp_path / "small.arrow", 1200, small))
    store.verify()
    assert store.pixels.shape == (1200, 16, 8)
    assert store.frontend == small
    assert 0 <= store.pixels.min() < store.pixels.max() <= 1
    assert len(set(store.speaker)) == 10
    assert set(store.emotion) == set(range(7))
    assert [path.name for path in tmp_path.iterdir()] == ["small.arrow"]
