"""The records of a sweep's spool: what each says of a run, and its line of JSON.

The tracker takes a record twice without harm (tracker.py finds runs by their key), so after an interruption records are
sent again, and every run and step is there once.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from search.space.outcome import Outcome
from sermodels.training.epoch_report import EpochReport

FORMAT = 2  # 1: lines without `format`, whose epochs are rows of `STAGE/NAME`
RunKind = Literal["sweep", "trial", "confirmation"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a run is trained on."""

    name: str  # of the corpus
    digest: str  # fingerprint of the store


@dataclass(frozen=True, kw_only=True)
class _About:
    run: str  # key of the run
    time: int  # ms since 1970


@dataclass(frozen=True, kw_only=True)
class Begin(_About):
    """A run begins, or begins again."""

    do: Literal["begin"] = "begin"
    name: str
    kind: RunKind
    sweep: str  # its name
    params: Mapping[str, Any] = field(default_factory=dict)  # what varies in the sweep
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None  # key of another run
    dataset: Dataset | None = None


@dataclass(frozen=True, kw_only=True)
class Log(_About):
    """Figures of a run."""

    do: Literal["log"] = "log"
    epochs: tuple[EpochReport, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)  # without a step
    tags: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)  # tag → key of a run, whose id becomes its value


@dataclass(frozen=True, kw_only=True)
class Text(_About):
    """A text among a run's artifacts."""

    do: Literal["text"] = "text"
    file: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Describe(_About):
    """The Markdown that a run's page opens with; EXPERIMENT in it stands for the id of the experiment."""

    do: Literal["describe"] = "describe"
    text: str


@dataclass(frozen=True, kw_only=True)
class View(_About):
    """The comparison of a sweep's trials (view.py)."""

    do: Literal["view"] = "view"
    sweep: str  # its name
    params: tuple[str, ...]  # that vary


@dataclass(frozen=True, kw_only=True)
class Folder(_About):
    """A folder among a run's artifacts; it has to stay where it is."""

    do: Literal["folder"] = "folder"
    path: str
    name: str  # among the artifacts


@dataclass(frozen=True, kw_only=True)
class End(_About):
    """A run is over."""

    do: Literal["end"] = "end"
    outcome: Outcome


Record = Begin | Log | Text | Describe | View | Folder | End
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="do")])


def encode(record: Record) -> bytes:
    """Return a record's line, with its end."""
    return json.dumps({"format": FORMAT, **dataclasses.asdict(record)}).encode() + b"\n"


def decode(line: bytes) -> Record:
    """Read a line that `encode` of this or an earlier version returned.

    Raises:
        ValueError: it is none, in one line.
    """
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("not a record")
    written = found.pop("format", 1)
    if written not in (1, FORMAT):
        raise ValueError(f"format {written}; this version reads {FORMAT} and older ones")
    try:
        return _RECORD.validate_python(_from_format_1(found) if written == 1 else found)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _from_format_1(found: Mapping[str, Any]) -> dict[str, Any]:
    upgraded = dict(found)
    if "epochs" in upgraded:
        upgraded["epochs"] = [_epoch_of_format_1(row) for row in upgraded["epochs"]]
    if "dataset" in upgraded:
        upgraded["dataset"] = upgraded["dataset"] or None
    return upgraded


def _epoch_of_format_1(row: Mapping[str, float]) -> dict[str, Any]:
    named = {tuple(name.split("/", 1)): value for name, value in row.items() if "/" in name}
    metrics = {name: value for (_, name), value in named.items()}
    stages = {stage for stage, _ in named}
    stage = stages.pop() if len(stages) == 1 else ""  # which no record may have: a row is of one stage
    return {"stage": stage, "epoch": row.get("epoch"), "reused": metrics.pop("reused", 0.0), "metrics": metrics}
