"""From results to tables: accuracy of systems, and answers to questions, as rows of plain values."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reproduction.results import pooled
from reproduction.systems import Book, System
from search.stage_graph import Measured
from sermodels.intervals import Interval, difference_over_speakers, over_speakers
from sermodels.metrics import uar, wa

Row = dict[str, Any]  # column → text, number or None
FEWEST_SPEAKERS = 5  # that an interval over speakers is worth anything for


def accuracy_row(name: str, system: System, lanes: Sequence[Measured], corpus: str) -> Row:
    """What was measured of a system, beside what the paper prints; figures in %.

    Args:
        name: of the system.
        system: it.
        lanes: what was measured of it; none if nothing was.
        corpus: its reader's name, for the printed figure.
    """
    printed = system.printed.get(corpus)
    row: Row = {"system": _title(system, lanes), "name": name, "printed_wa": printed}
    if not lanes:
        return row | {"note": "not trained here"}
    row["network"] = _network(lanes[0]["config"], system.stage)
    accuracies = [100 * lane["wa"] for lane in lanes]
    mean = statistics.fmean(accuracies)
    confusions = pooled(lanes)
    return row | {
        "wa": mean,
        "wa_sd": statistics.stdev(accuracies) if len(lanes) > 1 else None,
        "wa_pooled": _percent(over_speakers(confusions, wa)),
        "uar": 100 * statistics.fmean(lane["uar"] for lane in lanes),
        "uar_pooled": _percent(over_speakers(confusions, uar)),
        "difference": None if printed is None else mean - printed,
        "wa_best_epoch": 100 * statistics.fmean(lane["best_epoch"]["wa"] for lane in lanes),
        "epochs": lanes[0]["epochs"],
        "lanes": len(lanes),
        "folds": len({lane["fold"] for lane in lanes}),
        "seeds": len({lane["seed"] for lane in lanes}),
        "items": sum(lane["items"] for lane in lanes),
        "speakers": len(confusions),
        "by_lane": [{what: lane[what] for what in ("fold", "seed", "items", "wa", "uar")} for lane in lanes],
        "device": _distinct(lanes, "device"),
        "torch": _distinct(lanes, "torch"),
        "commit": _distinct(lanes, "commit"),
        "keys": [lane["key"] for lane in lanes],
    }


def literature_rows(book: Book, corpus: str) -> list[Row]:
    """Systems that are cited with the figure the paper prints of them."""
    cited = [row for row in book.literature if corpus in row.printed]
    return [{"system": row.title, "printed_wa": row.printed[corpus], "note": "cited, not run"} for row in cited]


def question_rows(book: Book, lanes: Mapping[str, Sequence[Measured]]) -> list[Row]:
    """Whether the first system of each question is better, on the folds and seeds that both have; figures in %."""
    rows = []
    for question in book.questions:
        one, other = (lanes.get(name, ()) for name in question.systems)
        common = {_lane(lane) for lane in one} & {_lane(lane) for lane in other}
        if not common:
            continue
        confusions = [pooled([lane for lane in system if _lane(lane) in common]) for system in (one, other)]
        difference = difference_over_speakers(*confusions, uar)
        rows.append({
            "question": question.ask,
            "systems": list(question.systems),
            "uar": [float(100 * uar(sum(counts.values()))) for counts in confusions],
            "uar_difference": _percent(difference),
            "wa_difference": _percent(difference_over_speakers(*confusions, wa)),
            "lanes": len(common),
            "answer": _answer(difference, len(confusions[0])),
        })  # fmt: skip
    return rows


def _title(system: System, lanes: Sequence[Measured]) -> str:
    """With where an AST starts from, on which its accuracy depends."""
    if not lanes or system.settings.get("teacher.network") != "ast":
        return system.title
    start = "ImageNet weights" if lanes[0]["config"]["teacher"]["weights"] else "from scratch"
    return f"{system.title}, {start}"


def _network(config: Mapping[str, Any], stage: str) -> str:
    """The size that was trained, whatever the title says of the paper's."""
    settings = config["teacher" if stage == "teacher" else "student"]
    return f"{config['dim']} wide, {settings['depth']} × {settings['heads']}"


def _answer(difference: Interval, speakers: int) -> str:
    if speakers < FEWEST_SPEAKERS or not difference.excludes_zero():
        return "not shown"
    return "helps" if difference.value > 0 else "harms"


def _lane(lane: Measured) -> tuple[int, int]:
    return lane["fold"], lane["seed"]


def _percent(interval: Interval) -> list[float]:
    return [100 * value for value in interval]


def _distinct(lanes: Sequence[Measured], what: str) -> list[str]:
    return sorted({str((lane["trained_by"] or {}).get(what, "unknown")) for lane in lanes})
