"""Any corpus that a CSV file lists, one recording a line: `file,speaker,emotion[,sentence]`.

The first line names the columns, in any order; `file` is relative to the CSV file. The classes are the emotions found,
alphabetically; an empty sentence is an unknown one. Further columns are named in a warning and not used.
"""

import csv
import difflib
import os
import posixpath
from collections.abc import Sequence
from pathlib import Path

from sermodels.corpora.utterance import Corpus, Utterance
from sermodels.errors import UserError

REQUIRED = ("file", "speaker", "emotion")
OPTIONAL = ("sentence",)


def read(root: Path) -> Corpus:
    """Read the corpus that a CSV file lists.

    Args:
        root: the CSV file, in UTF-8, or a folder that holds exactly one.

    Raises:
        UserError: no such file, not CSV, no rows, fewer than two emotions; with the number of the line: a missing
            column, an empty field, a field too many, or a recording that is absent, outside the folder or listed twice.
    """
    table = _table(root)
    (header_line, columns), *rows = _lines(table)
    _check_columns(f"{table}, line {header_line}", columns)
    utterances = _utterances(table, columns, rows)
    emotions = tuple(sorted({utterance.emotion for utterance in utterances}))
    if len(emotions) < 2:
        raise UserError(f"{table}: all {len(utterances)} recordings are {emotions[0]!r}; expected two emotions or more")
    unused = [column for column in columns if column and column not in REQUIRED + OPTIONAL]
    warnings = (f"csv: columns not used: {', '.join(unused)}",) if unused else ()
    return Corpus(
        name="csv",
        utterances=tuple(sorted(utterances, key=lambda utterance: utterance.id)),
        emotions=emotions,
        warnings=warnings,
    )


def _table(root: Path) -> Path:
    if not root.is_dir():
        return root
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() == ".csv")
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "none"
        raise UserError(f"{root}: expected exactly one CSV file, found {found}; name the file itself")
    return tables[0]


def _lines(table: Path) -> list[tuple[int, list[str]]]:
    """Number and stripped fields of each line that is not blank: the header and at least one more."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except OSError as error:
        raise UserError(f"{table}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{table}: not a CSV file in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: not CSV: {error}") from None
    lines = [(number, fields) for number, fields in lines if any(fields)]
    if len(lines) < 2:
        raise UserError(f"{table}: no rows; expected the header {','.join(REQUIRED)} and a line for each recording")
    return lines


def _check_columns(where: str, columns: Sequence[str]) -> None:
    for column in REQUIRED:
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1)
            hint = f"is {near[0]!r} meant?" if near else f"found are {', '.join(map(repr, columns))}"
            raise UserError(f"{where}: column {column!r} is missing; {hint}")
    for column in REQUIRED + OPTIONAL:
        if columns.count(column) > 1:
            raise UserError(f"{where}: column {column!r} appears twice")


def _utterances(table: Path, columns: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> list[Utterance]:
    utterances = []
    line_of: dict[str, int] = {}
    for number, fields in rows:
        where = f"{table}, line {number}"
        utterance = _utterance(table.parent, where, _row(where, columns, fields))
        first = line_of.setdefault(utterance.id, number)
        if first != number:
            raise UserError(f"{where}: {utterance.id} is already listed in line {first}")
        utterances.append(utterance)
    return utterances


def _row(where: str, columns: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    if len(fields) > len(columns):
        raise UserError(f"{where}: {len(fields)} fields for {len(columns)} columns; quote a field that holds a comma")
    row = dict(zip(columns, fields, strict=False))
    for column in REQUIRED:
        if not row.get(column):
            raise UserError(f"{where}: {column} is empty")
    return row


def _utterance(folder: Path, where: str, row: dict[str, str]) -> Utterance:
    name = posixpath.normpath(row["file"])
    if posixpath.isabs(name):
        raise UserError(f"{where}: {name} is absolute; expected a path relative to {folder}")
    if name.startswith("../"):
        raise UserError(
            f"{where}: {name} leaves the folder {folder}; move the CSV file up to where all files lie below it"
        )
    path = folder / name
    if not os.path.isfile(path):  # False, too, for names that no file can have
        raise UserError(f"{where}: there is no file {path}")
    sentence = row.get("sentence") or None
    return Utterance(id=name, path=path, speaker=row["speaker"], emotion=row["emotion"], sentence=sentence)
