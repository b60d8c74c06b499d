"""What a sweep tells of its runs: each statement is a record in the spool, from where a thread sends it (sender.py).

A record has `do`, the key of the `run` it speaks of, and the `time` in ms since 1970, and beside these
    begin   name, kind, sweep, params, tags, parent (key of another run, or None), dataset (name and digest)
    log     epochs (rows of metrics, each with its number), figures (metrics without a step), tags,
            links (tag → key of the run whose id is its value)
    text    file, text
    describe text (Markdown; EXPERIMENT in it stands for the id of the experiment)
    view    sweep, params: the comparison of its trials (view.py)
    folder  path, name (of the artifact folder)
    end     outcome
Sending a record twice does no harm (tracking.py), so every run is in the tracker once, and every step of it.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search.space import Space
from search.tracking.spool import Record, Spool
from sermodels.stages import stage_of

OUTCOME, WINNER, REASON = "ser.outcome", "ser.winner", "ser.reason"  # tags
LANES = "ser.lanes"  # tag: the validation UAR of each lane, as JSON
EXPERIMENT = "{experiment}"  # in a description
SECONDS = ("trained_seconds", "reused_seconds")


def run_key(sweep_id: str, kind: str, params: Mapping[str, Any]) -> str:
    """Names the run of a configuration: the same whichever process speaks of it."""
    return hashlib.sha256(f"{sweep_id}/{kind}/{Space.key(params)}".encode()).hexdigest()[:16]


class Runs:
    """The runs of one sweep, those of its earlier drivers included."""

    def __init__(self, spool: Spool):
        """Read what has been told already."""
        self.open: dict[str, None] = {}  # keys of runs that have begun and not ended, in order
        self._spool = spool
        self._logged: set[tuple[str, str, int]] = set()  # run, stage, epoch
        self._figures: dict[tuple[str, str], float] = {}  # run, name → the last value told
        self._winners: set[str] = set()  # runs that were marked so
        self._seconds: dict[str, tuple[float, ...]] = {}  # SECONDS of each finished trial
        for record in spool.read_all():
            self._note(record)

    def begin(
        self,
        run: str,
        *,
        name: str,
        kind: str,
        sweep: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        dataset: Mapping[str, str] | None = None,
    ) -> None:
        """A run begins, or begins again; `dataset` has the `name` and `digest` of what it is trained on."""
        about = {"name": name, "kind": kind, "sweep": sweep, "params": dict(params or {}), "tags": dict(tags or {})}
        self._tell("begin", run, **about, parent=parent, dataset=dict(dataset or {}))

    def log(
        self,
        run: str,
        *,
        epochs: Iterable[Mapping[str, float]] = (),
        figures: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        """Figures of a run. What was told before is left out: a trial begun again tells its past again."""
        new = [dict(row) for row in epochs if _epoch(run, row) not in self._logged]
        again = run in self._seconds  # a trial finishes once
        changed = {name: x for name, x in (figures or {}).items() if not again and self._figures.get((run, name)) != x}
        if new or changed or tags or links:
            more = {"figures": changed, "tags": dict(tags or {}), "links": dict(links or {})}
            self._tell("log", run, epochs=new, **more)

    def text(self, run: str, file: str, text: str) -> None:
        """A text among a run's artifacts."""
        self._tell("text", run, file=file, text=text)

    def describe(self, run: str, text: str) -> None:
        """What a run's page opens with, in Markdown; EXPERIMENT in it stands for the id of the experiment."""
        self._tell("describe", run, text=text)

    def view(self, run: str, sweep: str, params: Iterable[str]) -> None:
        """The comparison of a sweep's trials, by the hyperparameters that vary."""
        self._tell("view", run, sweep=sweep, params=list(params))

    def folder(self, run: str, path: Path, name: str) -> None:
        """A folder among a run's artifacts; it has to stay where it is."""
        self._tell("folder", run, path=str(path), name=name)

    def end(self, run: str, outcome: str) -> None:
        """A run is over: finished, pruned, failed or interrupted."""
        self._tell("end", run, outcome=outcome)

    def crown(self, run: str) -> None:
        """Mark the run of the winner, and no other: with more trials it may be another than before."""
        for other in self._winners - {run}:
            self.log(other, tags={WINNER: "false"})
        self.log(run, tags={WINNER: "true"})

    def end_open(self, *, but: str | None = None) -> None:
        """End what is open as interrupted, children before their parent."""
        for run in reversed([run for run in self.open if run != but]):
            self.end(run, "interrupted")

    @property
    def seconds(self) -> dict[str, float]:
        """SECONDS, summed over finished trials."""
        return {name: sum(each[place] for each in self._seconds.values()) for place, name in enumerate(SECONDS)}

    def _tell(self, do: str, run: str, **more: Any) -> None:
        record = {"do": do, "run": run, "time": round(time.time() * 1000), **more}
        self._note(record)
        self._spool.append(record)

    def _note(self, record: Record) -> None:
        run = record["run"]
        if record["do"] == "begin":
            self.open[run] = None
        elif record["do"] == "end":
            self.open.pop(run, None)
        elif record["do"] == "log":
            self._logged.update(_epoch(run, row) for row in record["epochs"])
            if record["tags"].get(WINNER) == "true":
                self._winners.add(run)
            self._figures.update({(run, name): value for name, value in record["figures"].items()})
            if record["tags"].get(OUTCOME) == "finished" and set(SECONDS) <= record["figures"].keys():
                self._seconds[run] = tuple(record["figures"][name] for name in SECONDS)


def _epoch(run: str, row: Mapping[str, float]) -> tuple[str, str, int]:
    return run, stage_of(row), int(row["epoch"])
