"""What a sweep records of its runs: each statement is a line of the spool, from where a thread sends it (sender.py)."""

import hashlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search.space.outcome import Outcome
from search.space.space import Space
from search.tracking.records import Begin, Dataset, Describe, End, Folder, Log, Record, RunKind, Text, View
from search.tracking.spool import Spool
from sermodels.config.settings import StageName
from sermodels.training.epoch_report import EpochReport

OUTCOME, REASON = "ser.outcome", "ser.reason"  # tags
WINNER = "ser.winner"  # tag of a trial: "true" or "false"
WINNER_NAME = "ser.winner_name"  # tag of a sweep: the winner's configuration in few words
LANES = "ser.lanes"  # tag of a trial: the validation UAR of each lane, see lane_scores.py
EXPERIMENT = "{experiment}"  # in a description
SECONDS = ("trained_seconds", "reused_seconds")


def run_key(sweep_id: str, kind: RunKind, params: Mapping[str, Any]) -> str:
    """Return the key of a configuration's run: the same whichever process speaks of it."""
    return hashlib.sha256(f"{sweep_id}/{kind}/{Space.key(params)}".encode()).hexdigest()[:16]


class Runs:
    """The runs of one sweep, those of its earlier drivers included."""

    def __init__(self, spool: Spool):
        """Read what has been recorded already."""
        self.open: dict[str, None] = {}  # keys of runs that have begun and not ended, in order
        self._spool = spool
        self._logged: set[tuple[str, StageName, int]] = set()  # run, stage, epoch
        self._figures: dict[tuple[str, str], float] = {}  # run, name → the last value recorded
        self._winners: set[str] = set()  # runs that were marked so
        self._seconds: dict[str, tuple[float, ...]] = {}  # SECONDS of each finished trial
        for record in spool.read_all():
            self._note(record)

    def begin(
        self,
        run: str,
        *,
        name: str,
        kind: RunKind,
        sweep: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        dataset: Dataset | None = None,
    ) -> None:
        """Record that a run begins, or begins again."""
        self._add(
            Begin(
                run=run,
                time=_now_ms(),
                name=name,
                kind=kind,
                sweep=sweep,
                params=params or {},
                tags=tags or {},
                parent=parent,
                dataset=dataset,
            )
        )

    def log(
        self,
        run: str,
        *,
        epochs: Iterable[EpochReport] = (),
        figures: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> None:
        """Record figures of a run. What was recorded before is left out: a trial begun again reports its past again."""
        new = tuple(report for report in epochs if (run, report.stage, report.epoch) not in self._logged)
        again = run in self._seconds  # a trial finishes once
        changed = {name: x for name, x in (figures or {}).items() if not again and self._figures.get((run, name)) != x}
        if new or changed or tags or links:
            self._add(Log(run=run, time=_now_ms(), epochs=new, figures=changed, tags=tags or {}, links=links or {}))

    def text(self, run: str, file: str, text: str) -> None:
        """Record a text as an artifact of a run."""
        self._add(Text(run=run, time=_now_ms(), file=file, text=text))

    def describe(self, run: str, text: str) -> None:
        """Record what a run's page opens with, in Markdown; EXPERIMENT in it stands for the id of the experiment."""
        self._add(Describe(run=run, time=_now_ms(), text=text))

    def view(self, run: str, sweep: str, params: Iterable[str]) -> None:
        """Record the comparison of a sweep's trials, by the hyperparameters that vary."""
        self._add(View(run=run, time=_now_ms(), sweep=sweep, params=tuple(params)))

    def folder(self, run: str, path: Path, name: str) -> None:
        """Record a folder as artifacts of a run; it has to stay where it is."""
        self._add(Folder(run=run, time=_now_ms(), path=str(path), name=name))

    def end(self, run: str, outcome: Outcome) -> None:
        """Record that a run is over."""
        self._add(End(run=run, time=_now_ms(), outcome=outcome))

    def crown(self, run: str) -> None:
        """Mark the run of the winner, and no other: with more trials it may be another than before."""
        for other in self._winners - {run}:
            self.log(other, tags={WINNER: "false"})
        self.log(run, tags={WINNER: "true"})

    def end_open(self, *, but: str | None = None) -> None:
        """End what is open as interrupted, children before their parent."""
        for run in reversed([run for run in self.open if run != but]):
            self.end(run, Outcome.INTERRUPTED)

    @property
    def seconds(self) -> dict[str, float]:
        """SECONDS, summed over finished trials."""
        return {name: sum(each[place] for each in self._seconds.values()) for place, name in enumerate(SECONDS)}

    def _add(self, record: Record) -> None:
        self._note(record)
        self._spool.append(record)

    def _note(self, record: Record) -> None:
        run = record.run
        if isinstance(record, Begin):
            self.open[run] = None
        elif isinstance(record, End):
            self.open.pop(run, None)
        elif isinstance(record, Log):
            self._logged.update((run, report.stage, report.epoch) for report in record.epochs)
            if record.tags.get(WINNER) == "true":
                self._winners.add(run)
            self._figures.update({(run, name): value for name, value in record.figures.items()})
            if record.tags.get(OUTCOME) == Outcome.FINISHED and set(SECONDS) <= record.figures.keys():
                self._seconds[run] = tuple(record.figures[name] for name in SECONDS)


def _now_ms() -> int:
    return round(time.time() * 1000)
