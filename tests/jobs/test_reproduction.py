"""The paper's systems as data, and tables made of hand-made results."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from sermodels.config.settings import Lane
from sermodels.errors import UserError


@pytest.fixture
def book():
    from jobs.reproduction.systems import read_book

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


def row_of(book, name, lanes, *, folds=2, protocol="speaker"):
    from jobs.reproduction.tables import accuracy_row

    return accuracy_row(name, book.system(name), lanes, folds=folds, corpus="emodb", protocol=protocol)


@pytest.fixture
def plan(book, store, tmp_path):
    """Makes a plan on a store whose images are said to be the paper's in size."""
    from jobs.reproduction.plan import Plan

    def make(**changes):
        usual = {"address": None, "stores": tmp_path, "protocol": "speaker", "size": "reduced", "folds": (0, 1)}
        usual |= {"seeds": (0,), "ast_weights": None, "gpu": False}
        return Plan(book=book, store=store, **usual | changes)

    return make


def test_rows_are_of_complete_seeds(plan, tmp_path):
    """A seed of which one fold is missing would weigh the others' speakers double."""
    from jobs.reproduction.results import Results

    wanted, results = plan().wanted("student"), Results(tmp_path / "measured.json")
    lanes = {(f, s): wanted.of_lane(Lane(f, s)).id for f in range(3) for s in range(3)}
    results.add({lanes[1, 2]: lane(1, 2)})
    assert results.of(wanted) == [], "of a seed that was not asked for, and not complete"
    results.add({lanes[0, 0]: lane(0, 0)})
    assert [(own["fold"], own["seed"]) for own in results.of(wanted)] == [(0, 0)]
    results.add({lanes[1, 0]: lane(1, 0), lanes[2, 0]: lane(2, 0), lanes[0, 1]: lane(0, 1)})
    assert [(own["fold"], own["seed"]) for own in results.of(wanted)] == [(0, 0), (1, 0)]
    results.add({lanes[0, 2]: lane(0, 2)})
    assert [(own["fold"], own["seed"]) for own in results.of(wanted)] == [(0, 0), (1, 0), (0, 2), (1, 2)]
    assert results.of(plan().wanted("student-alpha-0")) == []
    (missing,) = results.missing(plan(seeds=(0, 1)).wanted("student"))
    assert (missing.config.folds, missing.config.seeds) == ((1,), (1,))


def test_what_cannot_be_trained_is_said_beforehand(plan, tmp_path):
    everything = ["1", "2", "complexity", "patches", "ablation"]
    assert "ast" in plan().to_train(everything, ())
    assert "septr-1" not in plan().to_train(everything, ())
    assert {"ast", "ast-384", "septr-1"} <= plan(gpu=True, size="full").to_train(["2"], ()).keys()
    assert list(plan().to_train(["complexity"], ())) == []
    for changes, tables, only, message in [
        ({}, ["1"], ["student"], "--systems student: is in none of the tables asked for"),
        ({}, ["2"], ["septr-1"], "--systems septr-1: takes hours an epoch on a CPU: give --gpus"),
        ({"ast_weights": tmp_path}, ["1"], [], f"--ast-weights {tmp_path}: no AST of this width"),
    ]:
        with pytest.raises(UserError, match=message):
            plan(**changes).to_train(tables, only)
    with pytest.raises(UserError, match="not the folder of a distilled DeiT"):
        plan(ast_weights=tmp_path, size="full", gpu=True).to_train(["2"], ())
    for changes, message in [
        ({"seeds": (0, 0)}, "--seeds 0 0: expected distinct numbers"),
        ({"folds": (5,)}, "fold 5 does not exist"),
        ({}, "patch 128x1 does not divide"),
    ]:
        with pytest.raises(UserError, match=message):
            plan(**changes).check()


def test_weights_belong_to_the_ast_of_their_width(plan, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deit", "hidden_size": 384}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    chosen = plan(ast_weights=tmp_path, size="full", gpu=True)
    weights = {name: chosen.wanted(name).config.teacher.weights for name in ("teacher", "ast", "ast-384")}
    assert weights == {"teacher": "", "ast": "", "ast-384": str(tmp_path)}


def test_the_usual_folds_hear_everybody_once(store):
    from jobs.reproduction.plan import usual_folds

    assert usual_folds(store, "speaker") == usual_folds(store, "loso") == (0, 1, 2, 3, 4)
    sentence = np.resize(np.array(["one", "two", "three"], dtype=object), len(store.speaker))
    four = np.where(store.speaker == store.speaker[0], store.speaker[-1], store.speaker)
    assert usual_folds(replace(store, sentence=sentence), "speaker-sentence") == (0, 1, 2, 3, 4)
    assert usual_folds(replace(store, sentence=sentence, speaker=four), "speaker-sentence") == (0, 1, 2, 3)


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
    from sermodels.config.settings import ChainConfig, Teacher

    assert book.config("student", "full", {}) == ChainConfig()
    assert book.config("student-large", "full", {}) == ChainConfig(teacher=Teacher(depth=12, heads=12))


def test_an_unknown_system_is_answered_with_the_nearest(book):
    with pytest.raises(UserError, match="--systems: unknown system 'studnet'; the nearest valid name is 'student'"):
        book.system("studnet", "--systems")


def test_a_row_has_mean_spread_interval_and_the_papers_figure(book):
    lanes = [lane(0, hits=(5, 5)), lane(1, hits=(7, 9), speakers=("c", "d"))]
    row = row_of(book, "student", lanes, protocol="paper")
    assert row["wa"] == pytest.approx(65)
    assert row["wa_sd"] == pytest.approx(21.2132, abs=1e-4)
    assert row["difference"] == pytest.approx(65 - 99.76)
    value, low, high = row["uar_pooled"]
    assert value == pytest.approx(65)
    assert low < value < high
    assert (row["items"], row["folds"], row["seeds"], row["speakers"]) == (80, 2, 1, 4)
    assert row["wa_best_epoch"] == pytest.approx(75)
    assert row["network"] == "128 wide, 1 × 2"
    assert [own["key"] for own in row["by_lane"]] == ["k00", "k10"]
    assert "wa_best_epoch" not in row_of(book, "student", lanes), "under an honest protocol it would be a selection"


def test_clips_that_several_seeds_answer_are_counted_once(book):
    row = row_of(book, "student", [lane(0, 0), lane(0, 1), lane(1, 0), lane(1, 1)])
    assert (row["items"], row["folds"], row["seeds"], row["lanes"]) == (80, 2, 2, 4)


def test_a_row_of_some_folds_says_so_and_is_not_compared(book):
    row = row_of(book, "student", [lane(0)], folds=5)
    assert row["note"] == "incomplete: 1 of 5 folds"
    assert "difference" not in row
    assert row["uar_pooled"] == [pytest.approx(50), None, None], "one network says nothing of others"


def test_what_was_not_trained_says_so_beside_the_papers_figure(book):
    from jobs.reproduction.tables import literature_rows

    row = row_of(book, "septr-1", [])
    assert (row["note"], row["printed_wa"]) == ("not trained here", 92.75)
    cited = literature_rows(book, "savee")
    assert [row["printed_wa"] for row in cited] == [93.75, 83.40, 92.50]
    assert {row["note"] for row in cited} == {"cited, not run"}
    assert literature_rows(book, "synthetic") == []


def test_questions_are_answered_on_common_lanes_only_and_doubt_is_said(book):
    from jobs.reproduction.tables import question_rows

    speakers = tuple("abcdefgh")

    def system(*hits):
        """Four folds of two speakers each."""
        return [lane(f, hits=hits[2 * f : 2 * f + 2], speakers=speakers[2 * f : 2 * f + 2]) for f in range(4)]

    strong, weak, noisy = system(*[9] * 8), system(*[5] * 8), system(9, 1, 9, 1, 9, 1, 9, 2)
    elsewhere = lane(fold=7, hits=(0, 0), speakers=("a", "b"))
    lanes = {"teacher": [*strong, elsewhere], "teacher-squares": weak, "teacher-none": noisy, "ast": []}
    rows = {tuple(row["systems"]): row for row in question_rows(book, lanes)}
    assert set(rows) == {("teacher", "teacher-squares"), ("teacher", "teacher-none")}
    squares = rows["teacher", "teacher-squares"]
    assert squares["uar_difference"] == pytest.approx([40, 40, 40])
    assert (squares["answer"], squares["folds"]) == ("helps", 4)
    swapped = question_rows(book, {"teacher": weak, "teacher-squares": strong, "teacher-none": noisy})
    assert [row["answer"] for row in swapped] == ["harms", "not shown"]
    (alone,) = question_rows(book, {"teacher": strong[:1], "teacher-squares": weak[:1]})
    assert alone["answer"] == "not shown"
    assert alone["uar_difference"] == [pytest.approx(40), None, None]


def test_files_hold_the_same_rows(book, tmp_path):
    from jobs.reproduction.writing import ACCURACY, markdown, write

    rows = [row_of(book, "teacher", [lane(0), lane(1, speakers=("c", "d"))]), row_of(book, "ast", [])]
    text = markdown("Title", ACCURACY, rows, ["A remark."])
    write(tmp_path / "table-1.speaker", text, rows, {"corpus": "emodb"})
    shown = (tmp_path / "table-1.speaker.md").read_text().splitlines()
    assert shown[0] == "## Title"
    assert "50.0 ± 0.0 | 50.0 [50.0, 50.0]" in shown[4]
    assert "not trained here" in shown[5]
    assert len({line.count("|") for line in shown[2:6]}) == 1, "as many cells as columns"
    table = list(csv.DictReader((tmp_path / "table-1.speaker.csv").open()))
    plain = json.loads((tmp_path / "table-1.speaker.json").read_text())
    assert [row["name"] for row in table] == [row["name"] for row in plain["rows"]] == ["teacher", "ast"]
    assert float(table[0]["wa"]) == plain["rows"][0]["wa"] == 50
    assert plain["corpus"] == "emodb"


def test_complexity_of_a_small_network_is_that_of_its_configuration(book):
    from jobs.reproduction.complexity import complexity_row

    row = complexity_row(book, "student")
    assert row["parameters"] == 1_417_991
    assert row["macs"] - row["macs_without_attention_products"] == 3 * 2 * 5 * 64 * 129**2
    assert 0 < row["ms_a_clip"] < 1000


def test_results_of_another_program_are_refused(tmp_path):
    from jobs.reproduction.results import Results

    (tmp_path / "measured.json").write_text(json.dumps({"a": {"confusion": {}}}))
    with pytest.raises(UserError, match=r"measured\.json: a has no best_epoch: not results of jobs/paper.py"):
        Results(tmp_path / "measured.json")
    (tmp_path / "measured.json").write_text('{"a": {"conf')
    with pytest.raises(UserError, match="move it away"):
        Results(tmp_path / "measured.json")


def test_two_runs_add_to_one_file(tmp_path):
    from jobs.reproduction.results import Results

    one, other = (Results(tmp_path / "measured.json") for _ in range(2))
    one.add({"a": lane(0)})
    other.add({"b": lane(1)})
    one.add({"c": lane(2)})
    assert set(json.loads((tmp_path / "measured.json").read_text())) == {"a", "b", "c"}
    assert "b" in one


def test_where_an_ast_starts_from_is_in_its_title(book):
    sizes = {"dim": 96, "student": {"depth": 1, "heads": 2}}
    titles = [
        row_of(book, "ast", [lane(config=sizes | {"teacher": teacher})])["system"]
        for teacher in ({"depth": 4, "heads": 3, "weights": weights} for weights in ("", "/deit"))
    ]
    assert titles == ["AST, tokens of 768, 12 blocks, from scratch", "AST, tokens of 768, 12 blocks, ImageNet weights"]
