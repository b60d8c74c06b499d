"""The report's page and its pictures."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest
from generated import SPACE, generate

from search.report import charts
from search.report.description import describe_sweep
from search.report.importance import importances
from search.report.outcome import read_outcome
from search.report.page import render, write_report
from search.scheduling.ledger import open_study

TITLES = [
    "Is the best better, or lucky?",
    "How the search went",
    "Which values belong to good trials",
    "Which hyperparameters matter",
    "Each hyperparameter alone",
    "What accuracy costs",
    "How the networks learned",
    "The winner on the test side",
    "Who was heard",
    "All trials",
    "What failed, and why",
    "Next",
]


class Page(HTMLParser):
    """Titles, tags and what is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.titles, self.tags, self.loaded, self._in_title = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._in_title = tag == "h2"
        self.loaded += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]

    def handle_data(self, data):
        if self._in_title:
            self.titles.append(data)
            self._in_title = False


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A sweep of 300 trials, and its report."""
    home = generate(tmp_path_factory.mktemp("home"), "gen", 300, failed=3, pruned=40)
    path = home.report("gen")
    write_report(home, "gen", path)
    return read_outcome(home, "gen"), path.read_text(), home


@pytest.fixture(scope="module")
def few(large):
    """The sweep's first 60 trials, which are drawn sooner."""
    return dataclasses.replace(large[0], trials=large[0].trials[:60])


def test_the_page_has_all_its_parts_and_needs_nothing_else(large):
    _, text, _ = large
    page = Page(text)
    assert page.titles == TITLES
    assert page.loaded == []
    assert page.tags.count("svg") == page.tags.count("figcaption") == 9
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(text.encode()) < 5e6


def test_what_a_trial_says_is_text_and_never_markup(large):
    _, text, _ = large
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_parallel_coordinates_have_a_line_a_trial_and_an_axis_a_hyperparameter(large):
    sweep, _, _ = large
    svg = charts.parallel_coordinates(sweep)
    assert len(re.findall(r'id="parallel-trial-line-\d+"', svg)) == len(sweep.ranked()) == 257
    for name in (*SPACE, "validation UAR", "128x1", "none"):
        assert f">{name}<" in svg


def test_importance_finds_what_was_planted(large):
    _, _, home = large
    shares = importances(open_study(home.study("gen"), "gen"))
    assert sum(shares.values()) == pytest.approx(1)
    planted, nothing = {"patch", "student.depth"}, SPACE.keys() - {"patch", "student.depth"}
    assert min(shares[name] for name in planted) > 0.2 > 0.1 > max(shares[name] for name in nothing)


def test_a_few_trials_have_no_importance(tmp_path):
    home = generate(tmp_path, "gen", 6)
    assert importances(open_study(home.study("gen"), "gen")) == {}
    write_report(home, "gen", tmp_path / "r.html")
    assert "This takes 10 finished trials that have one in common" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("trials", [0, 2, 3])
def test_a_sweep_that_has_hardly_begun_has_a_page(tmp_path, trials):
    home = generate(tmp_path, "gen", trials, winner=False)
    write_report(home, "gen", tmp_path / "r.html")
    assert "No trial has won yet" in (tmp_path / "r.html").read_text()
    assert "No winner yet" in describe_sweep(read_outcome(home, "gen"))


def test_the_front_holds_what_nothing_beats():
    points = [(1, 0.2), (1, 0.3), (2, 0.25), (3, 0.5), (4, 0.5), (5, 0.6)]
    assert charts.pareto_front(points) == [(1, 0.3), (3, 0.5), (5, 0.6)]


def changed(sweep, change):
    """The sweep with its trials changed."""
    return dataclasses.replace(sweep, trials=[dataclasses.replace(trial, **change(trial)) for trial in sweep.trials])


def test_a_hyperparameter_that_not_all_trials_have_keeps_its_scale(few):
    some = changed(few, lambda t: {"params": {k: v for k, v in t.params.items() if k != "alpha" or v < 3}})
    heights, texts = charts._scale([t.params.get("alpha") for t in some.ranked()], "alpha", some)
    assert list(texts.values())[-1] == "–"
    assert len(texts) == 4
    assert set(heights[[t.params.get("alpha") is None for t in some.ranked()]]) == {charts.ABSENT}
    assert charts.slices(some).count("<text") < 80
    assert charts.parallel_coordinates(some)


def test_dollars_are_text(large):
    assert "a$\\b$" in charts.confusion([[1, 0], [0, 1]], ["a$\\b$", "c"])


def test_a_sweep_of_an_earlier_version_has_a_page(few):
    test = {name: value for name, value in few.metrics["test"].items() if name != "by_speaker"}
    old = dataclasses.replace(changed(few, lambda _: {"lanes": {}}), metrics={"test": test})
    old = dataclasses.replace(old, winner=old.ranked()[0])
    assert "lanes not told" in render(old, {})
    assert "With one lane" not in describe_sweep(old)


def test_a_winner_by_fresh_seeds_that_is_behind_is_not_said_to_lead(large):
    sweep, _, _ = large
    other = dataclasses.replace(sweep, winner=sweep.ranked()[-1])
    text = describe_sweep(other)
    assert "it was chosen for its score on fresh seeds" in text
    assert "Its lead" not in text


def test_the_same_sweep_is_drawn_the_same(few):
    assert charts.slices(few) == charts.slices(few)


def test_the_description_says_who_won_and_what_is_noise(large):
    sweep, _, _ = large
    text = describe_sweep(sweep)
    assert text.startswith(f"### Winner: `{sweep.winner.name}`")
    assert "on fresh seeds" in text
    assert "Test UAR **73.0 %**" in text
    assert "than the noise between folds and seeds" in text
    assert text.count("| `") + text.count("|`") == 10
    assert "--sweep gen --out best" in text
    assert len(text) < 5000, "MLflow's limit for a tag"
