"""Tables as files: Markdown for people, CSV and JSON for programs."""

import csv
import io
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reproduction.complexity import complexity_rows
from reproduction.plan import Plan
from reproduction.results import Results
from reproduction.tables import Row, accuracy_row, literature_rows, question_rows
from search.stage_graph import Wanted
from sermodels.evaluate import chance
from sermodels.files import replacing

Columns = Mapping[str, Callable[[Row], str]]  # head → cell


def _number(name: str, digits: int = 1, sign: str = "") -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else f"{row[name]:{sign}.{digits}f}"


def _interval(name: str, sign: str = "") -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if row.get(name) is None:
            return ""
        value, low, high = row[name]
        return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"

    return cell


def _measured(row: Row) -> str:
    if row.get("wa") is None:
        return row["note"]
    return f"{row['wa']:.1f}" if row["wa_sd"] is None else f"{row['wa']:.1f} ± {row['wa_sd']:.1f}"


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
    "lanes": lambda row: str(row.get("lanes", "")),
    "items": lambda row: str(row.get("items", "")),
}
QUESTIONS: Columns = {
    "does it help?": lambda row: row["question"],
    "UAR %": lambda row: "{:.1f} against {:.1f}".format(*row["uar"]),
    "difference [95 %]": _interval("uar_difference", "+"),
    "in WA [95 %]": _interval("wa_difference", "+"),
    "lanes": lambda row: str(row["lanes"]),
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


def write_tables(plan: Plan, tables: Sequence[str], wanted: Mapping[str, Wanted], results: Results, out: Path) -> str:
    """Write the tables, and the questions that they answer, to files in `out`; returns them as Markdown."""
    book, corpus = plan.book, plan.store.corpus
    lanes = {name: results.of(one) for name, one in wanted.items()}
    about = {"protocol": plan.protocol, "size": plan.size, "corpus": corpus, "store": plan.store.fingerprint}
    texts = []
    for name in tables:
        table = book.tables[name]
        if name == "complexity":
            rows = complexity_rows(book, table.rows)
            text = markdown(
                table.title, COMPLEXITY, rows, ["Full size, one clip at a time, one thread, this machine's CPU."]
            )
            write(out / name, text, rows, {"machine": platform.machine()})
        else:
            rows = [accuracy_row(row, book.system(row), lanes.get(row, ()), corpus) for row in table.rows]
            rows += literature_rows(book, corpus) if table.literature else []
            columns = ACCURACY if plan.protocol == "paper" else {k: v for k, v in ACCURACY.items() if k != BEST}
            text = markdown(f"{table.title}, protocol {plan.protocol}", columns, rows, _remarks(plan, rows))
            write(out / f"table-{name}.{plan.protocol}", text, rows, about)
        texts.append(text)
    if rows := question_rows(book, lanes):
        text = markdown(f"What helps, protocol {plan.protocol}", QUESTIONS, rows, _remarks(plan, []))
        write(out / f"questions.{plan.protocol}", text, rows, about)
        texts.append(text)
    return "\n".join(texts)


def _remarks(plan: Plan, rows: Sequence[Row]) -> list[str]:
    trained = [row for row in rows if row.get("wa") is not None]
    about = plan.book.sizes[plan.size].about
    said = [
        f"Corpus {plan.store.corpus}, {about}. Figures of the last epoch; ± over lanes (folds × seeds); in brackets "
        f"95 % intervals by bootstrap over the speakers; UAR of a guess {100 * chance(plan.store):.1f} %."
    ]
    if plan.protocol == "paper":
        said.append(
            "**Leaks**: altered copies of most test views were trained on, and best epochs are chosen on the test set."
        )
    for what in ("device", "torch", "commit"):
        if found := sorted({value for row in trained for value in row[what]}):
            said.append(f"{what.capitalize()}: {', '.join(found)}.")
    return [" ".join(said)]


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
    plain = json.dumps({**about, "rows": list(rows)}, indent=1, ensure_ascii=False) + "\n"
    for suffix, content in ((".md", text), (".csv", table.getvalue()), (".json", plain)):
        with replacing(stem.with_name(stem.name + suffix)) as unfinished:
            unfinished.write_text(content, "utf-8")


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value)) if all(isinstance(v, str | float | int) for v in value) else json.dumps(value)
    return value
