"""Tables as files: Markdown for people, CSV and JSON for programs."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.benchmarks.result import machine
from jobs.reproduction.complexity import complexity_rows
from jobs.reproduction.plan import Plan
from jobs.reproduction.results import Results
from jobs.reproduction.tables import Row, accuracy_row, literature_rows, question_rows
from sermodels.evaluation.evaluate import chance
from sermodels.files import replacing
from sermodels.provenance import commit

Columns = Mapping[str, Callable[[Row], str]]  # head → cell


def _number(name: str, digits: int = 1, sign: str = "") -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else f"{row[name]:{sign}.{digits}f}"


def _interval(name: str, sign: str = "") -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if row.get(name) is None:
            return ""
        value, low, high = row[name]
        return f"{value:{sign}.1f}" + ("" if low is None else f" [{low:{sign}.1f}, {high:{sign}.1f}]")

    return cell


def _measured(row: Row) -> str:
    if row.get("wa") is None:
        return row["note"]
    text = f"{row['wa']:.1f}" if row["wa_sd"] is None else f"{row['wa']:.1f} ± {row['wa_sd']:.1f}"
    return f"{text} ({row['note']})" if "note" in row else text


def _folds(row: Row) -> str:
    return f"{row['folds']} × {row['seeds']}" if "folds" in row else ""


BEST = "best epoch on test"
ACCURACY: Columns = {
    "system": lambda row: row["system"],
    "width, blocks × heads": lambda row: row.get("network", ""),
    "WA %, mean ± sd": _measured,
    "WA % of all clips [95 %]": _interval("wa_pooled"),
    "UAR % of all clips [95 %]": _interval("uar_pooled"),
    "paper's WA %": _number("printed_wa", 2),
    "difference": _number("difference", 1, "+"),
    BEST: _number("wa_best_epoch"),
    "folds × seeds": _folds,
    "items": lambda row: str(row.get("items", "")),
}
QUESTIONS: Columns = {
    "does it help?": lambda row: row["question"],
    "UAR %": lambda row: "{:.1f} against {:.1f}".format(*row["uar"]),
    "difference [95 %]": _interval("uar_difference", "+"),
    "in WA [95 %]": _interval("wa_difference", "+"),
    "folds × seeds": _folds,
    "answer": lambda row: row["answer"],
}
COMPLEXITY: Columns = {
    "network": lambda row: row["system"],
    "parameters": lambda row: f"{row['parameters']:,}",
    "paper": lambda row: f"{row['printed_mparameters']} M" if row["printed_mparameters"] else "",
    "MACs": lambda row: f"{row['macs'] / 1e9:.2f} G",
    "without products of attention": lambda row: f"{row['macs_without_attention_products'] / 1e9:.2f} G",
    "paper ": lambda row: f"{row['printed_gmacs']} G" if row["printed_gmacs"] else "",
    "ms a clip": lambda row: f"{row['ms_a_clip']:.1f}",
}
MANY = (
    "Intervals leave out what other seeds would have made of the same folds. So many questions at once have one answer "
    "in twenty by chance."
)


def write_tables(plan: Plan, tables: Sequence[str], results: Results, out: Path) -> str:
    """Write tables, and the questions that all results so far answer, to files in `out`; returns them as Markdown."""
    texts = [_complexity(plan, out) if name == "complexity" else _accuracy(plan, name, results, out) for name in tables]
    if any(name != "complexity" for name in tables) and plan.protocol != "paper":
        rows = question_rows(plan.book, {name: results.of(plan.wanted(name)) for name in plan.book.systems})
        text = markdown(f"What helps, protocol {plan.protocol}", QUESTIONS, rows, [f"{_about(plan)} {MANY}"])
        write(out / f"questions.{plan.protocol}", text, rows, _origin(plan))
        texts.append(text)
    return "\n".join(texts)


def _accuracy(plan: Plan, name: str, results: Results, out: Path) -> str:
    book, table = plan.book, plan.book.tables[name]
    told = {"folds": len(plan.folds), "corpus": plan.store.corpus, "protocol": plan.protocol}
    rows = [accuracy_row(row, book.system(row), results.of(plan.wanted(row)), **told) for row in table.rows]
    rows += literature_rows(book, plan.store.corpus) if table.literature else []
    columns = ACCURACY if plan.protocol == "paper" else {head: c for head, c in ACCURACY.items() if head != BEST}
    trained = [row for row in rows if "wa" in row]
    where = [
        f"{what.capitalize()}: {', '.join(sorted({value for row in trained for value in row[what]}))}."
        for what in ("device", "torch", "commit")
        if trained
    ]
    text = markdown(f"{table.title}, protocol {plan.protocol}", columns, rows, [" ".join([_about(plan), *where])])
    write(out / f"table-{name}.{plan.protocol}", text, rows, _origin(plan))
    return text


def _complexity(plan: Plan, out: Path) -> str:
    table, about = plan.book.tables["complexity"], machine()
    rows = complexity_rows(plan.book, table.rows)
    said = f"The paper's networks at full size, not trained here; one clip at a time, one thread of {about['cpu']}."
    text = markdown(table.title, COMPLEXITY, rows, [f"{said} Torch: {about['torch']}. Commit: {commit()}."])
    write(out / "complexity", text, rows, {"machine": about, "commit": commit()})
    return text


def _origin(plan: Plan) -> dict[str, Any]:
    of_store = {"corpus": plan.store.corpus, "store": plan.store.fingerprint}
    return of_store | {"protocol": plan.protocol, "size": plan.size}


def _about(plan: Plan) -> str:
    said = (
        f"Corpus {plan.store.corpus}, {plan.book.sizes[plan.size].about}. Figures of the last epoch; ± over folds and "
        "seeds; in brackets 95 % intervals by bootstrap over the speakers, widened for their small number; UAR of a "
        f"guess {100 * chance(plan.store):.1f} %."
    )
    leaks = "**Leaks**: altered copies of most test views were trained on; the best epoch is chosen on the test set."
    return f"{said} {leaks}" if plan.protocol == "paper" else said


def markdown(title: str, columns: Columns, rows: Sequence[Row], remarks: Sequence[str]) -> str:
    """A table with its title above and remarks below."""
    lines = [f"## {title}", "", _line(columns), _line(["---"] * len(columns))]
    lines += [_line([cell(row) for cell in columns.values()]) for row in rows]
    return "\n".join([*lines, "", *remarks]).rstrip() + "\n"


def write(stem: Path, text: str, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write `stem`.md, .csv and .json; each as a whole."""
    table = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    plain = json.dumps({**about, "rows": list(rows)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for suffix, content in ((".md", text), (".csv", table.getvalue()), (".json", plain)):
        with replacing(stem.with_name(stem.name + suffix)) as unfinished:
            unfinished.write_text(content, "utf-8")


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value)) if all(isinstance(v, str | float | int) for v in value) else json.dumps(value)
    return value
