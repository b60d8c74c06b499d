"""What came of a sweep, read from what it told of its runs (runs.py): for its description and its report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from search.home import Home
from search.publish.export import BUNDLE
from search.space.lane_scores import LaneScores, from_json
from search.space.outcome import Outcome
from search.tracking.records import Begin, End, Log, Record, RunKind, Text
from search.tracking.runs import LANES, OUTCOME, REASON
from search.tracking.spool import read_records
from sermodels.config.settings import STAGES, StageName
from sermodels.errors import UserError
from sermodels.training.bundle import METRICS
from sermodels.training.epoch_report import EpochReport


@dataclass(kw_only=True)
class TrialOutcome:
    """One configuration: trained as a trial, or again on fresh seeds."""

    name: str
    kind: RunKind  # "trial" or "confirmation"
    params: Mapping[str, Any]  # what varies in the sweep
    began_s: float  # since 1970
    ended_s: float | None = None
    outcome: Outcome = Outcome.UNDER_WAY
    reason: str = ""  # of a failure
    figures: dict[str, float] = field(default_factory=dict)  # the last value of each
    curves: dict[StageName, list[EpochReport]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    lanes: LaneScores = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """Mean validation UAR over lanes, of the student's last epoch; None unless it finished."""
        return self.figures.get("val_uar") if self.outcome == Outcome.FINISHED else None


@dataclass(frozen=True, kw_only=True)
class SweepOutcome:
    """A sweep as it stands, finished or not."""

    name: str
    key: str  # of its run
    outcome: Outcome
    about: Mapping[str, str]  # tags of its run: protocol, corpus, store
    preset: Mapping[str, Any]
    sides: Mapping[str, Any]  # who trains, validates and tests, by fold
    trials: list[TrialOutcome]  # in the order in which they began
    confirmations: list[TrialOutcome]
    winner: TrialOutcome | None
    metrics: Mapping[str, Any]  # of the winner's bundle; empty as long as there is none

    def scored(self) -> list[tuple[TrialOutcome, float]]:
        """Return the finished trials with their scores, the highest first."""
        found = [(trial, trial.score) for trial in self.trials if trial.score is not None]
        return sorted(found, key=lambda one: -one[1])

    def ranked(self) -> list[TrialOutcome]:
        """Return the finished trials, the highest score first."""
        return [trial for trial, _ in self.scored()]

    def leader(self) -> TrialOutcome | None:
        """Return the winner; as long as there is none, the trial with the highest score."""
        return self.winner or next(iter(self.ranked()), None)

    def confirmation_of(self, trial: TrialOutcome) -> TrialOutcome | None:
        """The finished run of a trial's configuration on fresh seeds."""
        found = (again for again in self.confirmations if again.params == trial.params and again.score is not None)
        return next(found, None)


def read_outcome(home: Home, name: str) -> SweepOutcome:
    """Read what a sweep told until now.

    Raises:
        UserError: no such sweep, or nothing of it yet.
    """
    folder = home.spools / name
    if not (folder / "records.jsonl").is_file():
        known = ", ".join(sorted(path.parent.name for path in home.spools.glob("*/records.jsonl"))) or "none yet"
        raise UserError(f"--sweep {name}: no such sweep in {home.root}; there are: {known}")
    records = read_records(folder)
    sweep = next((record for record in records if isinstance(record, Begin) and record.kind == "sweep"), None)
    if sweep is None:
        raise UserError(f"--sweep {name}: has only just begun: {folder} holds nothing of it yet")
    trials: dict[str, TrialOutcome] = {}
    texts: dict[str, str] = {}
    outcome, winner = Outcome.UNDER_WAY, ""
    for record in records:
        if record.run != sweep.run:
            _note(trials, record)
        elif isinstance(record, Begin):
            outcome = Outcome.UNDER_WAY
        elif isinstance(record, End):
            outcome = record.outcome
        elif isinstance(record, Log):
            winner = record.links.get("ser.winner_run", winner)
        elif isinstance(record, Text):
            texts[record.file] = record.text
    kinds = {kind: [t for t in trials.values() if t.kind == kind] for kind in ("trial", "confirmation")}
    return SweepOutcome(
        name=name,
        key=sweep.run,
        outcome=outcome,
        about=sweep.tags,
        preset=yaml.safe_load(texts.get("preset.yaml", "{}")),
        sides=json.loads(texts.get("sides.json", "{}")),
        trials=kinds["trial"],
        confirmations=kinds["confirmation"],
        winner=trials.get(winner),
        metrics=_bundle_metrics(folder) if winner in trials else {},
    )


def _note(trials: dict[str, TrialOutcome], record: Record) -> None:
    if isinstance(record, Begin):
        new = TrialOutcome(name=record.name, kind=record.kind, params=record.params, began_s=record.time / 1000)
        trial = trials.setdefault(record.run, new)
        trial.outcome, trial.ended_s = Outcome.UNDER_WAY, None
    elif isinstance(record, Log):
        trial = trials[record.run]
        trial.figures |= record.figures
        trial.outcome = Outcome(record.tags.get(OUTCOME, trial.outcome))
        trial.reason = record.tags.get(REASON, trial.reason)
        if LANES in record.tags:
            trial.lanes = from_json(json.loads(record.tags[LANES]))
        for report in record.epochs:
            trial.curves[report.stage].append(report)
    elif isinstance(record, End):
        trials[record.run].outcome, trials[record.run].ended_s = record.outcome, record.time / 1000


def _bundle_metrics(folder: Path) -> Mapping[str, Any]:
    try:
        metrics: dict[str, Any] = json.loads((folder / BUNDLE / METRICS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return metrics
