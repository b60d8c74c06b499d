"""Pictures of a sweep as SVG texts: one function a picture, drawn from its outcome."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from search.report.outcome import SweepOutcome, TrialOutcome
from search.space.outcome import Outcome
from sermodels.config.settings import STAGES
from sermodels.evaluation.pictures import BLUE, GREY, ORANGE, RED, STYLE, draw_confusion

OTHERS = {"color": GREY, "lw": 0.8, "alpha": 0.6}  # lines behind the one that is meant
WIDTH = 7.2  # inches: the page's column
SCORE = "validation UAR"
MOST_NAMES = 6  # values of a number that are written like names
ABSENT = -0.12  # height of a hyperparameter that a trial does not have
DECADE = 10.0  # between the dearest student and the cheapest: with less, a logarithmic axis has too few round numbers
MOST_CURVES, MOST_LANES = 30, 12  # the best so many are drawn


def history(sweep: SweepOutcome) -> str:
    """Score of each trial in the order in which they ended, and the best so far."""
    timed = [(trial.ended_s, trial) for trial in sweep.trials if trial.ended_s is not None]
    ended = [trial for _, trial in sorted(timed, key=itemgetter(0))]
    scored = [(number, trial.score) for number, trial in enumerate(ended, start=1) if trial.score is not None]
    with _svg("history", 3.2) as figure:
        axes = figure.subplots()
        numbers, scores = [number for number, _ in scored], [score for _, score in scored]
        axes.scatter(numbers, scores, s=16, color=BLUE, label="finished", zorder=3)
        axes.step(numbers, np.maximum.accumulate(scores), where="post", color=ORANGE, label="best so far")
        for outcome, marker, color in ((Outcome.PRUNED, "|", GREY), (Outcome.FAILED, "x", RED)):
            last = [(n, _last_score(t)) for n, t in enumerate(ended, start=1) if t.outcome == outcome]
            if points := [(n, score) for n, score in last if score is not None]:
                axes.scatter(*zip(*points, strict=True), marker=marker, color=color, label=outcome)
        axes.set(xlabel="trial, in the order in which they ended", ylabel=SCORE)
        axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return figure.svg


def parallel_coordinates(sweep: SweepOutcome) -> str:
    """One line a finished trial through the values of its hyperparameters to its score."""
    ranked = sweep.ranked()
    columns = {name: _scale([trial.params.get(name) for trial in ranked], name, sweep) for name in param_names(sweep)}
    scores = np.array([score for _, score in sweep.scored()])
    with _svg("parallel", 4.0) as figure:
        axes = figure.subplots()
        heights = [*(places for places, _ in columns.values()), _unit(scores)]
        color = matplotlib.colormaps["cividis"](_unit(scores))
        for place, trial in reversed([*enumerate(ranked)]):  # the best on top
            line = [height[place] for height in heights]
            lw, alpha, zorder = (2.5, None, 4) if trial is sweep.leader() else (1.0, 0.7, 2)
            axes.plot(line, color=color[place], gid=f"trial-line-{place}", lw=lw, alpha=alpha, zorder=zorder)
        for x, (_, texts) in enumerate(columns.values()):
            for at, text in texts.items():
                axes.text(x + 0.03, at, text, fontsize=8, va="center", bbox=_LABEL, zorder=5)
        for at in np.linspace(0, 1, 5):
            value = scores.min() + at * (scores.max() - scores.min())
            axes.text(len(columns) + 0.03, at, f"{value:.3f}", fontsize=8, va="center", bbox=_LABEL, zorder=5)
        many = len(heights) > 6  # names would overlap
        axes.set_xticks(range(len(heights)), [*columns, SCORE], rotation=20 * many, ha="right" if many else "center")
        axes.set_xlim(-0.1, len(columns) + 0.35)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color="#555555")
        axes.spines[:].set_visible(False)
    return figure.svg


def importance(shares: Mapping[str, float]) -> str:
    """Share of each hyperparameter in what makes a trial good (0…1, summing to 1)."""
    names = sorted(shares, key=lambda name: shares[name])
    with _svg("importance", 0.9 + 0.32 * len(names)) as figure:
        axes = figure.subplots()
        bars = axes.barh(names, [shares[name] for name in names], color=BLUE)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.set(xlabel="share", xlim=(0, 1.08 * max(shares.values())))
        axes.grid(axis="y", visible=False)
    return figure.svg


def slices(sweep: SweepOutcome) -> str:
    """Score against each hyperparameter alone."""
    ranked, names = sweep.ranked(), param_names(sweep)
    scores = [score for _, score in sweep.scored()]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with _svg("slices", 2.4 * rows) as figure:
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(ranked))
        for axes, name in zip(grid.flat, names, strict=False):
            values = [trial.params.get(name) for trial in ranked]
            places, ticks = _places(values)
            axes.scatter(places + jitter * bool(ticks), scores, s=14, color=BLUE, alpha=0.6)
            if ticks:
                axes.set_xticks(range(len(ticks)), ticks)
                axes.set_xlim(-0.5, len(ticks) - 0.5)
            elif is_log(name, sweep):
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(name)
        for axes in grid[:, 0]:
            axes.set_ylabel(SCORE)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
    return figure.svg


def pareto(sweep: SweepOutcome) -> str:
    """Score against what the student costs, and the front of those that no other beats in both."""
    costs = {"student/macs": "MACs of the student, a clip", "student/parameters": "parameters of the student"}
    scored = sweep.scored()
    with _svg("pareto", 3.0) as figure:
        for axes, (name, title) in zip(figure.subplots(1, 2, sharey=True), costs.items(), strict=True):
            points = [(trial.figures[name], score) for trial, score in scored]
            front = pareto_front(points)
            axes.scatter(*zip(*points, strict=True), s=14, color=GREY)
            axes.plot(*zip(*front, strict=True), "o-", drawstyle="steps-post", color=ORANGE, label="front")
            axes.set(xlabel=title, xscale="log")
            (cheapest, _), *_, (dearest, _) = sorted(points)
            wide = dearest >= DECADE * cheapest
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6) if wide else MaxNLocator(4))
            axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.15)
        figure.axes[0].set_ylabel(SCORE)
        figure.axes[0].legend(loc="lower right")
    return figure.svg


def curves(sweep: SweepOutcome) -> str:
    """Learning curves of the three stages: the best trials, the winner in colour."""
    drawn = sweep.ranked()[:MOST_CURVES]
    figures = {"teacher": ("val_uar", SCORE), "match": ("val_l1", "L1 to the teacher"), "student": ("val_uar", SCORE)}
    with _svg("curves", 2.8) as figure:
        for axes, stage in zip(figure.subplots(1, 3), STAGES, strict=True):
            name, title = figures[stage]
            for trial in reversed(drawn):
                rows = trial.curves[stage]
                style = {"color": BLUE, "lw": 2, "zorder": 3} if trial is sweep.leader() else OTHERS
                axes.plot([row.epoch for row in rows], [row.metrics[name] for row in rows], **style)
            axes.set(title=stage, xlabel="epoch", ylabel=title)
    return figure.svg


def lanes(sweep: SweepOutcome) -> str:
    """The best trials with the score of each lane: what differs between folds and seeds alone."""
    drawn = sweep.scored()[:MOST_LANES][::-1]
    with _svg("lanes", 0.9 + 0.3 * len(drawn)) as figure:
        axes = figure.subplots()
        for y, (trial, score) in enumerate(drawn):
            axes.scatter(list(trial.lanes.values()), [y] * len(trial.lanes), s=14, color=GREY, zorder=3)
            axes.scatter(score, y, s=60, marker="D", color=ORANGE if trial is sweep.leader() else BLUE, zorder=4)
        axes.set_yticks(range(len(drawn)), [trial.name for trial, _ in drawn])
        axes.set_xlabel(f"{SCORE}: each lane, and their mean (◆)")
    return figure.svg


def confusion(counts: Sequence[Sequence[int]], emotions: Sequence[str]) -> str:
    """Rows are the true emotions, as shares that sum to 1, with counts below (paper, figure 7)."""
    with _svg("confusion", 4.6, width=5.6) as figure:
        draw_confusion(figure.subplots(), counts, emotions)
    return figure.svg


def by_speaker(speakers: Mapping[str, Mapping[str, float]], chance: float) -> str:
    """WA and UAR of the winner on each speaker of the test side."""
    with _svg("speakers", 0.9 + 0.42 * len(speakers)) as figure:
        axes = figure.subplots()
        places = np.arange(len(speakers))
        for offset, name, color in ((0.19, "uar", BLUE), (-0.19, "wa", ORANGE)):
            values = [figures[name] for figures in speakers.values()]
            axes.barh(places + offset, values, height=0.36, color=color, label=name.upper())
        axes.axvline(chance, color="black", ls=":", lw=1, label="chance (UAR)")
        axes.set_yticks(places, [f"{speaker} ({figures['clips']:.0f} clips)" for speaker, figures in speakers.items()])
        axes.set(xlim=(0, 1), xlabel="share of test clips")
        axes.grid(axis="y", visible=False)
        axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.3 / (0.4 + 0.42 * len(speakers))))
    return figure.svg


def param_names(sweep: SweepOutcome) -> list[str]:
    """The hyperparameters that take more than one value, in their order."""
    values: dict[str, set[str]] = {}
    for trial in sweep.trials:
        for name, value in trial.params.items():
            values.setdefault(name, set()).add(str(value))
    absent = {name for name in values if any(name not in trial.params for trial in sweep.trials)}
    return [name for name, found in values.items() if len(found) > 1 or name in absent]


def is_log(name: str, sweep: SweepOutcome) -> bool:
    """Whether a hyperparameter is searched by orders of magnitude."""
    axis = sweep.preset.get("space", {}).get(name)
    return isinstance(axis, Mapping) and "log_uniform" in axis


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, score) pairs, those that no other beats in one without losing in the other; the cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


_LABEL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


class _Drawing(Figure):
    """A figure that becomes the text `svg` when it is finished."""

    svg = ""


@contextmanager
def _svg(name: str, height: float, width: float = WIDTH) -> Iterator[_Drawing]:
    """Yield an empty figure of a size in inches; its ids begin with its name, for they share a page."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = _Drawing(figsize=(width, height), layout="constrained")
        yield figure
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    figure.svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'class="chart" data-chart="{name}"', svg, count=1)


def _places(values: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """Where values lie on an axis: many numbers at themselves with no ticks, else at the place of their name.

    A hyperparameter that a trial does not have is NaN among numbers, and a name among names.
    """
    there = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)
    if numbers and len(set(there)) > MOST_NAMES:
        return np.array([np.nan if value is None else value for value in values], dtype=float), []
    known = sorted(set(values), key=lambda v: (v is None, isinstance(v, str), v if v is not None else 0))
    return np.array([known.index(value) for value in values], dtype=float), [_text(value) for value in known]


def _scale(values: Sequence[Any], name: str, sweep: SweepOutcome) -> tuple[np.ndarray, dict[float, str]]:
    """Heights in 0…1 of a hyperparameter's values, and texts to write at some heights; what is absent lies below."""
    places, names = _places(values)
    if names:
        return _unit(places), {0.5 if len(names) == 1 else n / (len(names) - 1): text for n, text in enumerate(names)}
    there, back = (np.log10, lambda x: 10**x) if is_log(name, sweep) else (np.asarray, float)
    known = ~np.isnan(places)
    numbers = there(places[known])
    heights = np.full(len(places), ABSENT)
    heights[known] = _unit(numbers)
    low, high = numbers.min(), numbers.max()
    texts = {at: _text(float(back(low + at * (high - low)))) for at in (0.0, 0.5, 1.0)}
    return heights, texts if known.all() else {**texts, ABSENT: _text(None)}


def _unit(values: np.ndarray) -> np.ndarray:
    span = values.max() - values.min()
    return (values - values.min()) / span if span else np.full(len(values), 0.5)


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _last_score(trial: TrialOutcome) -> float | None:
    rows = trial.curves["student"]
    return rows[-1].metrics["val_uar"] if rows else None
