"""The report of a sweep: one HTML file with everything in it, to be read on a screen, a phone or paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from search.home import Home
from search.report import charts
from search.report.description import lead_in_words, percent, with_spread
from search.report.importance import FEWEST, importances
from search.report.outcome import SweepOutcome, TrialOutcome, read_outcome
from search.scheduling.ledger import open_study
from search.space.outcome import Outcome
from sermodels.errors import UserError
from sermodels.evaluation.noise import interval
from sermodels.files import replacing

FEWEST_DRAWN = 2  # finished trials that a picture needs


class Section(NamedTuple):
    """A headline with pictures below it, each with what to look for."""

    title: str
    charts: list[tuple[Markup, str]]
    text: str = ""


class Cell(NamedTuple):
    """Of the table of trials: what is shown, and the number to sort by, if it is one."""

    text: str
    number: float | None = None


class Fact(NamedTuple):
    """One of the figures at the top."""

    name: str
    value: str
    remark: str


class Row(NamedTuple):
    """Of the table of trials."""

    winner: bool
    cells: list[Cell]


def write_report(home: Home, name: str, path: Path) -> None:
    """Write the report of a sweep as it stands.

    Args:
        home: that the sweep's study and spool lie in.
        name: of the sweep.
        path: of the file; an older one is replaced.

    Raises:
        UserError: no such sweep.
    """
    sweep = read_outcome(home, name)
    try:
        shares = importances(open_study(home.study(name), name))
    except UserError:  # a sweep that was put aside: its study has its old name
        shares = {}
    with replacing(path) as unfinished:
        unfinished.write_text(render(sweep, shares), encoding="utf-8")


def render(sweep: SweepOutcome, shares: Mapping[str, float]) -> str:
    """The page.

    Args:
        sweep: to report on.
        shares: importance of each hyperparameter, or empty.
    """
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    test = sweep.metrics.get("test", {})
    return pages.get_template("page.html.j2").render(
        sweep=sweep,
        winner=sweep.winner,
        lead=lead_in_words(sweep).replace("**", "").replace("`", ""),
        facts=_facts(sweep),
        caution=test.get("caveat"),
        sections=list(_sections(sweep, shares)),
        columns=_columns(sweep),
        rows=_rows(sweep),
        failures=[trial for trial in sweep.trials if trial.outcome == Outcome.FAILED],
    )


def _facts(sweep: SweepOutcome) -> list[Fact]:
    facts = []
    if winner := sweep.winner:
        facts.append(Fact("validation UAR", with_spread(winner), f"selected; {_interval(winner)}"))
        if again := sweep.confirmation_of(winner):
            facts.append(Fact("confirmed", with_spread(again), f"on fresh seeds; {_interval(again)}"))
    if test := sweep.metrics.get("test"):
        facts.append(
            Fact("test UAR", percent(test["uar"]), f"WA {percent(test['wa'])}, chance {percent(test['chance'])}")
        )
    trained, reused = (sum(t.figures.get(f"{n}_seconds", 0.0) for t in sweep.trials) for n in ("trained", "reused"))
    facts.append(
        Fact("trained", _duration(trained), f"by finished trials; {_duration(reused)} more without shared stages")
    )
    if gpus := sweep.preset.get("gpus"):
        held = sum(_held_s(trial) for trial in sweep.trials + sweep.confirmations)
        facts.append(Fact("GPU time", _duration(gpus * held), f"{gpus:g} GPU a trial"))
    return facts


def _sections(sweep: SweepOutcome, shares: Mapping[str, float]) -> list[Section]:
    sections = []
    ranked, names = sweep.ranked(), charts.param_names(sweep)

    def add(title: str, *pictures: tuple[str, str], text: str = "") -> None:
        sections.append(Section(title, [(Markup(svg), caption) for svg, caption in pictures], text))

    if len(ranked) >= FEWEST_DRAWN:
        add("Is the best better, or lucky?", (charts.lanes(sweep), _LANES))
        add("How the search went", (charts.history(sweep), _HISTORY))
    if len(ranked) >= FEWEST_DRAWN and names:
        add("Which values belong to good trials", (charts.parallel_coordinates(sweep), _PARALLEL))
        if shares:
            add("Which hyperparameters matter", (charts.importance(shares), _IMPORTANCE))
        else:
            add(
                "Which hyperparameters matter",
                text=f"This takes {FEWEST} finished trials that have one in common.",
            )
        add("Each hyperparameter alone", (charts.slices(sweep), _SLICES))
    if len(ranked) >= FEWEST_DRAWN:
        add("What accuracy costs", (charts.pareto(sweep), _PARETO))
    if ranked:
        add("How the networks learned", (charts.curves(sweep), _CURVES))
    if test := sweep.metrics.get("test"):
        confusion = charts.confusion(test["confusion_all_lanes"], test["emotions"]), _CONFUSION
        by_speaker = test.get("by_speaker")  # sweeps of earlier versions have none
        speakers = [(charts.by_speaker(by_speaker, test["chance"]), _SPEAKERS)] if by_speaker else []
        add("The winner on the test side", confusion, *speakers)
    return sections


_LANES = (
    "Each grey dot is one lane: the same configuration with another fold or seed. Where the dots of two rows overlap, "
    "their order says little."
)
_HISTORY = "Does the line still rise at the end? Then more trials may find a better configuration."
_PARALLEL = (
    "A line is a trial, bright and yellow a good one, the best drawn thick. Look for axes on which the bright lines "
    "meet at one value: that value helps; where they spread, it does not matter."
)
_IMPORTANCE = (
    "How far the values of the best tenth of trials differ from those of all (PED-ANOVA). The fewer trials, the less "
    "it means."
)
_SLICES = "A trend that holds for all points is worth more than one good point. Points of a choice are spread sideways."
_PARETO = (
    "Along the line no trial is both cheaper and better. Where it stops rising steeply lies the smallest network that "
    "is nearly as good as the best."
)
_CURVES = (
    "Blue: the winner; grey: the best of the others. A teacher that still rises, or an L1 that still falls, would use "
    "more epochs; the score is always that of the student's last epoch."
)
_CONFUSION = (
    "Rows are what was spoken, columns what was answered, over all lanes. Bright off the diagonal: emotions that are "
    "taken for each other."
)
_SPEAKERS = "Nobody on the test side was heard before. If one speaker is far below the others, the mean hides it."


def _columns(sweep: SweepOutcome) -> list[str]:
    figures = ["parameters", "MMACs", "trained s", "reused s"]
    return ["trial", "outcome", "UAR", "sd", *charts.param_names(sweep), *figures]


def _rows(sweep: SweepOutcome) -> list[Row]:
    unfinished = [trial for trial in sweep.trials if trial.score is None]
    return [
        Row(trial is sweep.winner, _cells(trial, charts.param_names(sweep))) for trial in (*sweep.ranked(), *unfinished)
    ]


def _cells(trial: TrialOutcome, names: list[str]) -> list[Cell]:
    spread = trial.figures.get("val_uar_std") if trial.score is not None else None
    cells = [Cell(trial.name), Cell(trial.outcome), _number(trial.score, ".3f"), _number(spread, ".3f")]
    for name in names:
        value = trial.params.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        cells.append(_number(value, "g") if number else Cell("–" if value is None else str(value)))
    macs = trial.figures.get("student/macs")
    cells.append(_number(trial.figures.get("student/parameters"), ",.0f"))
    cells.append(_number(None if macs is None else macs / 1e6, ",.1f"))
    return cells + [_number(trial.figures.get(f"{name}_seconds"), ",.0f") for name in ("trained", "reused")]


def _number(value: float | None, form: str) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:{form}}", value)


def _interval(trial: TrialOutcome) -> str:
    if len(trial.lanes) < 2:
        return "one lane, no interval" if trial.lanes else "lanes not told"
    _, low, high = interval(list(trial.lanes.values()))
    return f"95 % interval {100 * max(low, 0):.1f} to {100 * min(high, 1):.1f} %, {len(trial.lanes)} lanes"


def _held_s(trial: TrialOutcome) -> float:
    """How long a trial had its place on a GPU; for one that did not finish, from its first start to its end."""
    return trial.figures.get("duration_s", 0.0 if trial.ended_s is None else trial.ended_s - trial.began_s)


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} h"
