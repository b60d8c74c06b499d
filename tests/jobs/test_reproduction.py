"""The paper's systems as data, and tables made of hand-made results."""

import csv
import json
from pathlib import Path

import pytest

from sermodels.errors import UserError

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture(autouse=True)
def _jobs_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(JOBS))


@pytest.fixture
def book():
    from reproduction.systems import read_book

    return read_book()


def lane(fold=0, seed=0, hits=(5, 5), speakers=("a", "b"), **changes):
    """So many of 10 clips of each of two emotions right, by speaker."""
    confusion = {name: [[n, 10 - n], [10 - n, n]] for name, n in zip(speakers, hits, strict=True)}
    accuracy = sum(hits) / 10 / len(hits)
    return {
        "key": f"k{fold}{seed}",
        "fold": fold,
        "seed": seed,
        "wa": accuracy,
        "uar": accuracy,
        "best_epoch": {"epoch": 1, "wa": accuracy + 0.1, "uar": accuracy},
        "epochs": 9,
        "items": 20 * len(hits),
        "confusion": confusion,
        "trained_by": {"device": "x86_64", "torch": "2.11", "commit": "abc"},
        "config": {"dim": 128, "teacher": {"depth": 2, "heads": 2}, "student": {"depth": 1, "heads": 2}},
    } | changes


def test_every_row_and_question_names_a_system_and_every_system_has_a_configuration(book):
    for table in book.tables.values():
        assert all(book.system(row) for row in table.rows)
    assert all(book.system(name) for question in book.questions for name in question.systems)
    shown = {row for table in book.tables.values() for row in table.rows}
    assert shown == set(book.systems)
    for size in book.sizes:
        configs = [book.config(name, size, {}) for name in book.systems]
        assert len(configs) == len(book.systems)


def test_the_papers_systems_are_the_defaults(book):
    from sermodels.config import ChainConfig, Teacher

    assert book.config("student", "full", {}) == ChainConfig()
    assert book.config("student-large", "full", {}) == ChainConfig(teacher=Teacher(depth=12, heads=12))


def test_an_unknown_system_is_answered_with_the_nearest(book):
    with pytest.raises(UserError, match="--systems: unknown system 'studnet'; the nearest valid name is 'student'"):
        book.system("studnet")


def test_a_row_has_mean_spread_interval_and_the_papers_figure(book):
    from reproduction.tables import accuracy_row

    lanes = [lane(0, hits=(5, 5)), lane(1, hits=(7, 9), speakers=("c", "d"))]
    row = accuracy_row("student", book.system("student"), lanes, "emodb")
    assert row["wa"] == pytest.approx(65)
    assert row["wa_sd"] == pytest.approx(21.2132, abs=1e-4)
    assert row["difference"] == pytest.approx(65 - 99.76)
    value, low, high = row["uar_pooled"]
    assert value == pytest.approx(65)
    assert low < value < high
    assert (row["items"], row["lanes"], row["speakers"]) == (80, 2, 4)
    assert row["wa_best_epoch"] == pytest.approx(75)
    assert row["network"] == "128 wide, 1 × 2"
    assert row["keys"] == ["k00", "k10"]


def test_what_was_not_trained_says_so_beside_the_papers_figure(book):
    from reproduction.tables import accuracy_row, literature_rows

    row = accuracy_row("septr-1", book.system("septr-1"), [], "emodb")
    assert (row["note"], row["printed_wa"]) == ("not trained here", 92.75)
    cited = literature_rows(book, "savee")
    assert [row["printed_wa"] for row in cited] == [93.75, 83.40, 92.50]
    assert {row["note"] for row in cited} == {"cited, not run"}
    assert literature_rows(book, "synthetic") == []


def test_questions_are_answered_on_common_lanes_only_and_doubt_is_said(book):
    from reproduction.tables import question_rows

    speakers = tuple("abcdefgh")
    strong, weak = lane(hits=(9,) * 8, speakers=speakers), lane(hits=(5,) * 8, speakers=speakers)
    noisy = lane(hits=(9, 1, 9, 1, 9, 1, 9, 2), speakers=speakers)
    elsewhere = lane(fold=1, hits=(0,) * 8, speakers=speakers)
    lanes = {"teacher": [strong, elsewhere], "teacher-squares": [weak], "teacher-none": [noisy], "ast": []}
    rows = {tuple(row["systems"]): row for row in question_rows(book, lanes)}
    assert set(rows) == {("teacher", "teacher-squares"), ("teacher", "teacher-none")}
    squares = rows["teacher", "teacher-squares"]
    assert squares["uar_difference"] == pytest.approx([40, 40, 40])
    assert (squares["answer"], squares["lanes"]) == ("helps", 1)
    swapped = question_rows(book, {"teacher": [weak], "teacher-squares": [strong], "teacher-none": [noisy]})
    assert [row["answer"] for row in swapped] == ["harms", "not shown"]


def test_few_speakers_show_nothing(book):
    from reproduction.tables import question_rows

    (row,) = question_rows(book, {"teacher": [lane(hits=(9, 9))], "teacher-none": [lane(hits=(1, 1))]})
    assert row["answer"] == "not shown"


def test_files_hold_the_same_rows(book, tmp_path):
    from reproduction.tables import accuracy_row
    from reproduction.writing import ACCURACY, markdown, write

    rows = [
        accuracy_row("teacher", book.system("teacher"), [lane()], "emodb"),
        accuracy_row("ast", book.system("ast"), [], "emodb"),
    ]
    text = markdown("Title", ACCURACY, rows, ["A remark."])
    write(tmp_path / "table-1.speaker", text, rows, {"corpus": "emodb"})
    shown = (tmp_path / "table-1.speaker.md").read_text().splitlines()
    assert shown[0] == "## Title"
    assert "50.0 | 50.0 [50.0, 50.0]" in shown[4]
    assert "not trained here" in shown[5]
    assert len({line.count("|") for line in shown[2:6]}) == 1, "as many cells as columns"
    table = list(csv.DictReader((tmp_path / "table-1.speaker.csv").open()))
    plain = json.loads((tmp_path / "table-1.speaker.json").read_text())
    assert [row["name"] for row in table] == [row["name"] for row in plain["rows"]] == ["teacher", "ast"]
    assert float(table[0]["wa"]) == plain["rows"][0]["wa"] == 50
    assert plain["corpus"] == "emodb"


def test_complexity_of_a_small_network_is_that_of_its_configuration(book):
    from reproduction.complexity import complexity_row

    row = complexity_row(book, "student")
    assert row["parameters"] == 1_417_991
    assert row["macs"] - row["macs_without_attention_products"] == 3 * 2 * 5 * 64 * 129**2
    assert 0 < row["ms_a_clip"] < 1000


def test_results_of_another_program_are_refused(tmp_path):
    from reproduction.results import Results

    (tmp_path / "measured.json").write_text('{"a": {"wa": 1}}')
    with pytest.raises(UserError, match=r"measured\.json: not results of jobs/paper.py .a lane without confusion"):
        Results(tmp_path / "measured.json")
    (tmp_path / "measured.json").write_text('{"a": {"conf')
    with pytest.raises(UserError, match="move it away"):
        Results(tmp_path / "measured.json")


def test_two_runs_add_to_one_file(tmp_path):
    from reproduction.results import Results

    one, other = (Results(tmp_path / "measured.json") for _ in range(2))
    one.add({"a": lane(0)})
    other.add({"b": lane(1)})
    one.add({"c": lane(2)})
    assert set(json.loads((tmp_path / "measured.json").read_text())) == {"a", "b", "c"}
    assert "b" in one


def test_where_an_ast_starts_from_is_in_its_title(book):
    from reproduction.tables import accuracy_row

    sizes = {"dim": 96, "student": {"depth": 1, "heads": 2}}
    titles = [
        accuracy_row("ast", book.system("ast"), [lane(config=sizes | {"teacher": teacher})], "emodb")["system"]
        for teacher in ({"depth": 4, "heads": 3, "weights": weights} for weights in ("", "/deit"))
    ]
    assert titles == ["AST, tokens of 768, 12 blocks, from scratch", "AST, tokens of 768, 12 blocks, ImageNet weights"]
