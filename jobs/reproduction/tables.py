"""From results to tables: accuracy of systems, and answers to questions, as rows of plain values."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.reproduction.plan import is_ast
from jobs.reproduction.results import LaneRecord, pooled
from jobs.reproduction.systems import Book, System
from sermodels.evaluation.intervals import Interval, difference_over_speakers, over_speakers
from sermodels.metrics import uar, wa

Row = dict[str, Any]  # column → text, number, list or None; figures in %


def accuracy_row(
    name: str, system: System, lanes: Sequence[LaneRecord], *, folds: int, corpus: str, protocol: str
) -> Row:
    """What was measured of a system, beside what the paper prints.

    Args:
        name: of the system.
        system: it.
        lanes: what was measured of it; none if nothing was.
        folds: how many belong to the table.
        corpus: its reader's name, for the printed figure.
        protocol: as a person types it; the best epoch on the test side is told under `paper` alone.
    """
    row: Row = {"system": _title(system, lanes), "name": name, "printed_wa": system.printed.get(corpus)}
    if not lanes:
        return row | {"note": "not trained here"}
    found = _networks(lanes)
    if found < folds:
        row["note"] = f"incomplete: {found} of {folds} folds"
    elif row["printed_wa"] is not None:
        row["difference"] = 100 * statistics.fmean(lane["wa"] for lane in lanes) - row["printed_wa"]
    if protocol == "paper":
        row["wa_best_epoch"] = 100 * statistics.fmean(lane["best_epoch"]["wa"] for lane in lanes)
    confusions = pooled(lanes)
    return row | {
        "network": _network(lanes[0]["config"], system.stage),
        "wa": 100 * statistics.fmean(lane["wa"] for lane in lanes),
        "wa_sd": 100 * statistics.stdev(lane["wa"] for lane in lanes) if len(lanes) > 1 else None,
        "wa_pooled": _percent(over_speakers(confusions, wa, found)),
        "uar": 100 * statistics.fmean(lane["uar"] for lane in lanes),
        "uar_pooled": _percent(over_speakers(confusions, uar, found)),
        "epochs": lanes[0]["epochs"],
        "lanes": len(lanes),
        "folds": found,
        "seeds": len({lane["seed"] for lane in lanes}),
        "items": sum({lane["fold"]: lane["items"] for lane in lanes}.values()),
        "speakers": len(confusions),
        "by_lane": [{what: lane[what] for what in ("key", "fold", "seed", "items", "wa", "uar")} for lane in lanes],
        **{what: _distinct(lanes, what) for what in ("device", "torch", "commit")},
    }


def literature_rows(book: Book, corpus: str) -> list[Row]:
    """Systems that are cited with the figure the paper prints of them."""
    cited = [row for row in book.literature if corpus in row.printed]
    return [{"system": row.title, "printed_wa": row.printed[corpus], "note": "cited, not run"} for row in cited]


def question_rows(book: Book, lanes: Mapping[str, Sequence[LaneRecord]]) -> list[Row]:
    """Whether the first system of each question is better, on the folds and seeds that both have."""
    rows = []
    for question in book.questions:
        systems = [lanes.get(name, ()) for name in question.systems]
        common = set.intersection(*({_lane(lane) for lane in system} for system in systems))
        if not common:
            continue
        one, other = ([lane for lane in system if _lane(lane) in common] for system in systems)
        confusions, networks = (pooled(one), pooled(other)), _networks(one)
        difference = difference_over_speakers(*confusions, uar, networks)
        rows.append({
            "question": question.ask,
            "systems": list(question.systems),
            "uar": [float(100 * uar(sum(counts.values()))) for counts in confusions],
            "uar_difference": _percent(difference),
            "wa_difference": _percent(difference_over_speakers(*confusions, wa, networks)),
            "folds": networks,
            "seeds": len({lane["seed"] for lane in one}),
            "answer": _answer(difference),
        })  # fmt: skip
    return rows


def _answer(difference: Interval) -> str:
    if not difference.excludes_zero():
        return "not shown"
    return "helps" if difference.value > 0 else "harms"


def _title(system: System, lanes: Sequence[LaneRecord]) -> str:
    """With where an AST starts from, on which its accuracy depends."""
    if not lanes or not is_ast(system):
        return system.title
    start = "ImageNet weights" if lanes[0]["config"]["teacher"]["weights"] else "from scratch"
    return f"{system.title}, {start}"


def _network(config: Mapping[str, Any], stage: str) -> str:
    """The size that was trained, whatever the title says of the paper's."""
    settings = config["teacher" if stage == "teacher" else "student"]
    return f"{config['dim']} wide, {settings['depth']} × {settings['heads']}"


def _networks(lanes: Sequence[LaneRecord]) -> int:
    """Trained on different clips: what is independent of each other among the answers."""
    return len({lane["fold"] for lane in lanes})


def _lane(lane: LaneRecord) -> tuple[int, int]:
    return lane["fold"], lane["seed"]


def _percent(interval: Interval) -> list[float | None]:
    """Value, low, high; None where it is infinite."""
    return [100 * value if math.isfinite(value) else None for value in interval]


def _distinct(lanes: Sequence[LaneRecord], what: str) -> list[str]:
    return sorted({str((lane["trained_by"] or {}).get(what, "unknown")) for lane in lanes})
