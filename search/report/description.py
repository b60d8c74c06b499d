"""A sweep in Markdown, as its run in MLflow opens: who won, the ten best, who was heard, what was saved, what next."""

from search.library_internals import shared_view_link
from search.report.outcome import SweepOutcome, TrialOutcome
from search.tracking.runs import EXPERIMENT
from sermodels.evaluation.noise import lead

MOST_ROWS = 10
MOST_SPEAKERS = 12  # named on a side


def describe_sweep(sweep: SweepOutcome) -> str:
    """The description; headings begin at the third level, below MLflow's own."""
    parts = [_winner(sweep), _links(sweep), _best(sweep), _protocol(sweep), _cost(sweep), _export(sweep)]
    return "\n\n".join(part for part in parts if part)


def percent(value: float) -> str:
    """A share as a figure of the field: 45.5 %."""
    return f"{100 * value:.1f} %"


def with_spread(trial: TrialOutcome) -> str:
    """Return mean and standard deviation over lanes; without the second if there is one lane.

    Raises:
        ValueError: the trial has not finished.
    """
    if trial.score is None:
        raise ValueError(f"{trial.name} has no score, it is {trial.outcome}")
    spread = trial.figures.get("val_uar_std", 0.0)
    return percent(trial.score) if len(trial.lanes) == 1 else f"{100 * trial.score:.1f} ± {100 * spread:.1f} %"


def lead_in_words(sweep: SweepOutcome) -> str:
    """Return whether the winner is ahead of the best of the others by more than noise, in a sentence or two."""
    first = sweep.leader()
    others = [trial for trial in sweep.ranked() if trial is not first]
    if first is None or not others:
        return ""
    ahead = lead(first.lanes, others[0].lanes)
    if ahead is None:
        return ""
    if len(first.lanes) < 2:
        return "With one lane (one fold, one seed) nothing says whether its lead is more than noise."
    points = f"{100 * ahead.value:+.1f} points (95 % interval {100 * ahead.low:+.1f} to {100 * ahead.high:+.1f})"
    if ahead.value < 0:
        return f"Against `{others[0].name}`, lane by lane: {points}; it was chosen for its score on fresh seeds."
    verdict = "more" if ahead.excludes_zero() else "**no more**"
    over = f"Its lead over `{others[0].name}`, lane by lane: {points}"
    return f"{over}, {verdict} than the noise between folds and seeds."


def _winner(sweep: SweepOutcome) -> str:
    if sweep.winner is None:
        return f"### No winner yet\n\n{len(sweep.ranked())} trials have finished; the sweep is {sweep.outcome}."
    lines = [f"### Winner: `{sweep.winner.name}`", ""]
    lanes = f" over {len(sweep.winner.lanes)} lanes (folds × seeds)" if sweep.winner.lanes else ""
    selected = f"Validation UAR **{with_spread(sweep.winner)}**{lanes}"
    if again := sweep.confirmation_of(sweep.winner):
        selected += f"; on fresh seeds {with_spread(again)}"
    lines.append(f"{selected}. {lead_in_words(sweep)}")
    if test := sweep.metrics.get("test"):
        lines += [
            "",
            f"Test UAR **{percent(test['uar'])}**, WA {percent(test['wa'])}; chance {percent(test['chance'])}.",
        ]
        if test["caveat"]:
            lines[-1] += f" Caution: {test['caveat']}."
    return "\n".join(lines)


def _links(sweep: SweepOutcome) -> str:
    comparison = f"[Compare the trials]({shared_view_link(EXPERIMENT, sweep.key)})"
    return f"{comparison} · report: `report/report.html` among the artifacts" if sweep.winner else comparison


def _best(sweep: SweepOutcome) -> str:
    rows = [
        _row(
            str(place),
            f"`{trial.name}`",
            with_spread(trial),
            _count(trial, "student/parameters"),
            _count(trial, "student/macs"),
        )
        for place, trial in enumerate(sweep.ranked()[:MOST_ROWS], start=1)
    ]
    if not rows:
        return ""
    header = [_row("", "configuration", "validation UAR", "parameters", "MACs"), "|---|---|---|---|---|"]
    return "\n".join([f"### The best {len(rows)} of {len(sweep.trials)}", "", *header, *rows])


def _protocol(sweep: SweepOutcome) -> str:
    lines = [f"### Protocol `{sweep.about['ser.protocol']}`", "", f"Corpus {sweep.about['ser.corpus']}.", ""]
    lines += [_row("", "side", "clips", "speakers"), "|---|---|---|---|"]
    for fold, sides in sweep.sides.items():
        for side, held in sides.items():
            lines.append(_row(fold, side, str(held["clips"]), _names(held["speakers"])))
    return "\n".join(lines)


def _names(speakers: list[str]) -> str:
    more = f" and {len(speakers) - MOST_SPEAKERS} more" if len(speakers) > MOST_SPEAKERS else ""
    return ", ".join(speakers[:MOST_SPEAKERS]) + more


def _cost(sweep: SweepOutcome) -> str:
    spent, reused = (sum(t.figures.get(f"{n}_seconds", 0.0) for t in sweep.trials) for n in ("trained", "reused"))
    return f"### Cost\n\nFinished trials trained {spent:.0f} s; stages that they shared saved {reused:.0f} s more."


def _export(sweep: SweepOutcome) -> str:
    if sweep.winner is None:
        return ""
    return f"### Next\n\n```sh\npython jobs/export_best.py --sweep {sweep.name} --out best\n```"


def _row(*cells: str) -> str:
    """Of a table; MLflow draws cells side by side without any space."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "|" + "|".join(f"{cell}\u2003" for cell in escaped) + "|"


def _count(trial: TrialOutcome, figure: str) -> str:
    value = trial.figures.get(figure)
    if value is None:
        return "?"
    return f"{value / 1e6:.3g} M" if value >= 1e6 else f"{value / 1e3:.3g} k"
