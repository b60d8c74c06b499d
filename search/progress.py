"""What a person sees while a sweep runs: a panel in a terminal, one line every so often in a job's log."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from search.tracking.trial_logger import label
from search.trial import FAILED, FINISHED, WAITING
from sermodels.stages import STAGES, StageName, stage_of

LINE_EVERY_S = 30.0
BAR = 24  # characters


class Progress(Callback):
    """Counts trials, keeps the best score and shows both; on standard error."""

    def __init__(
        self,
        wanted: int,
        title: str,
        epochs: Callable[[Mapping[str, Any]], Mapping[StageName, int]],
        *,
        confirm: int = 0,
        ended: Mapping[str, int] | None = None,
    ):
        """Start counting.

        Args:
            wanted: trials to be trained, or fewer if the space is used up.
            title: what they belong to.
            epochs: what Tune gives to a trial → the epochs of its stages.
            confirm: of the best, to be trained again at the end.
            ended: outcome → trials that have ended before.
        """
        self.wanted, self.title, self.confirm = wanted, title, confirm
        self.ended: Counter[str] = Counter(ended)  # outcome → trials
        self.confirmed = 0  # of the confirmations, those that ended
        self.waiting: set[str] = set()  # configurations whose next stage another process is training
        self.best: tuple[float, str] | None = None  # score, configuration
        self._running: dict[str, dict[str, Any]] = {}  # Tune's trial id → last result
        self._labels: dict[str, str] = {}
        self._epochs, self._epochs_of = epochs, dict[str, Mapping[StageName, int]]()
        self._saved_s = 0.0  # of training, by stages that trials share
        self._began = self._shown = time.monotonic()
        self._live: Live | None = None

    def on_trial_start(self, *, trial: Trial, **_: Any) -> None:
        """A trial begins, or begins again after its process died."""
        self._labels[trial.trial_id] = label(trial.config["params"])
        self._epochs_of[trial.trial_id] = self._epochs(trial.config)
        self._running[trial.trial_id] = {}
        self.waiting.discard(self._labels[trial.trial_id])

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: Any) -> None:
        """A trial reports: epochs, or its end."""
        self._running[trial.trial_id] = result
        self._saved_s += result.get("reused_seconds", 0.0)
        better = result.get("outcome") == FINISHED and (self.best is None or result["score"] > self.best[0])
        if better and trial.config["kind"] == "trial":
            self.best = (result["score"], self._labels[trial.trial_id])
        self._show()

    def on_trial_complete(self, *, trial: Trial, **_: Any) -> None:
        """A trial ended by itself, or was stopped by the scheduler."""
        last = self._running.pop(trial.trial_id, {})
        outcome = last.get("outcome", "pruned")
        if outcome == WAITING:
            self.waiting.add(self._labels[trial.trial_id])
        else:
            self._count(trial, outcome)
        if outcome == FAILED:
            Console(stderr=True).print(f"trial {self._labels[trial.trial_id]} failed: {last['reason']}", markup=False)
        self._show(now=True)

    def on_trial_error(self, *, trial: Trial, **_: Any) -> None:
        """A trial's process died more often than it is retried."""
        self._running.pop(trial.trial_id, None)
        self._count(trial, FAILED)
        self._show(now=True)

    def on_step_end(self, **_: Any) -> None:
        """Tune went round its loop once."""
        self._show()

    def close(self) -> None:
        """Show the last state and give the terminal back."""
        self._show(now=True)
        if self._live:
            self._live.stop()
            self._live = None

    def _count(self, trial: Trial, outcome: str) -> None:
        if trial.config["kind"] == "trial":
            self.ended[outcome] += 1
        else:
            self.confirmed += 1

    def line(self) -> str:
        """Trials done, running, pruned, failed; best so far; time left."""
        done = sum(self.ended.values())
        others = "".join(f", {self.ended[name]} {name}" for name in ("pruned", FAILED) if self.ended[name])
        parts = [f"{self.title}: {done}/{self.wanted} trials done{others}, {len(self._running)} running"]
        if self.confirm and done >= self.wanted:
            parts.append(f"{self.confirmed}/{self.confirm} confirmed on fresh seeds")
        if self.waiting:
            parts.append(f"{len(self.waiting)} waiting for a stage that another process is training")
        if self.best:
            parts.append(f"best val UAR {self.best[0]:.3f} ({self.best[1]})")
        if self._saved_s >= 1:
            parts.append(f"{_minutes(self._saved_s)} of training saved by shared stages")
        elapsed = time.monotonic() - self._began
        left = f", about {_minutes(elapsed / done * (self.wanted - done))} left" if 0 < done < self.wanted else ""
        return "; ".join([*parts, f"{_minutes(elapsed)} so far{left}"])

    def _show(self, now: bool = False) -> None:
        if sys.stderr.isatty():
            if self._live is None:
                self._live = Live(console=Console(stderr=True), refresh_per_second=4)
                self._live.start()
            self._live.update(self._panel())
        elif now or time.monotonic() - self._shown >= LINE_EVERY_S:
            self._shown = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)  # noqa: T201  # a job's log

    def _panel(self) -> Table:
        table = Table(title=self.line(), title_justify="left", box=None)
        for column in ("running", "", "stage", "epoch", "val UAR"):
            table.add_column(column)
        for trial_id, result in self._running.items():
            stage, epoch, uar = _where(result)
            of = self._epochs_of[trial_id]
            before = 0 if stage is None else sum(of[earlier] for earlier in STAGES[: STAGES.index(stage)])
            bar = ProgressBar(total=sum(of.values()), completed=before + epoch, width=BAR)
            shown = ("starting", "") if stage is None else (stage, f"{epoch}/{of[stage]}")
            table.add_row(self._labels[trial_id], bar, *shown, uar)
        return table

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks; a live panel cannot go there.
        return {**self.__dict__, "_live": None}


def _where(result: dict[str, Any]) -> tuple[StageName | None, int, str]:
    """Stage, epoch and validation UAR of a trial's last result; no stage before the first."""
    epochs = result.get("epochs")
    if not epochs:
        return None, 0, ""
    last = epochs[-1]
    stage = stage_of(last)
    uar = last.get(f"{stage}/val_uar")
    return stage, int(last["epoch"]), "" if uar is None else f"{uar:.3f}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
