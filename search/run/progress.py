"""What a person sees while a sweep runs: a panel in a terminal, one line every so often in a job's log."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from search.space.label import label
from search.space.outcome import Outcome
from search.space.trial_config import TrialConfig
from search.space.trial_result import TrialResult
from sermodels.config.settings import STAGES

LINE_EVERY_S = 30.0
BAR = 24  # characters


class Progress(Callback):
    """Counts trials, keeps the best score and shows both; on standard error."""

    def __init__(self, wanted: int, title: str, *, confirm: int = 0, ended: Mapping[Outcome, int] | None = None):
        """Start counting.

        Args:
            wanted: trials to be trained, or fewer if the space is used up.
            title: what they belong to.
            confirm: of the best, to be trained again at the end.
            ended: outcome → trials that have ended before.
        """
        self.wanted, self.title, self.confirm = wanted, title, confirm
        self.ended: Counter[Outcome] = Counter(ended)  # outcome → trials
        self.confirmed = 0  # of the confirmations, those that ended
        self.waiting: set[str] = set()  # configurations whose next stage another process is training
        self.best: tuple[float, str] | None = None  # score, configuration
        self._running: dict[str, TrialResult] = {}  # Tune's trial id → last result
        self._configs: dict[str, TrialConfig] = {}
        self._saved_s = 0.0  # of training, by stages that trials share
        self._began = self._shown = time.monotonic()
        self._live: Live | None = None

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Note that a trial begins, or begins again after its process died."""
        self._configs[trial.trial_id] = TrialConfig.from_tune(trial.config)
        self._running[trial.trial_id] = TrialResult()
        self.waiting.discard(self._label(trial))

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Note what a trial reports: epochs, or its end."""
        self._running[trial.trial_id] = reported = TrialResult.from_tune(result)
        self._saved_s += reported.figures.get("reused_seconds", 0.0)
        if reported.outcome == Outcome.FINISHED and self._configs[trial.trial_id].kind == "trial":
            self.best = max(filter(None, [self.best, (reported.score or 0.0, self._label(trial))]), key=itemgetter(0))
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Count a trial that ended by itself, or was stopped by the scheduler."""
        last = self._running.pop(trial.trial_id, TrialResult())
        outcome = last.outcome or Outcome.PRUNED
        if outcome == Outcome.WAITING:
            self.waiting.add(self._label(trial))
        else:
            self._count(trial, outcome)
        if outcome == Outcome.FAILED:
            Console(stderr=True).print(f"trial {self._label(trial)} failed: {last.reason}", markup=False)
        self._show(now=True)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:  # noqa: ARG002
        """Count a trial as failed whose process died more often than it is retried."""
        self._running.pop(trial.trial_id, None)
        self._count(trial, Outcome.FAILED)
        self._show(now=True)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Show the state after each round of Tune's loop."""
        self._show()

    def close(self) -> None:
        """Show the last state and give the terminal back."""
        self._show(now=True)
        if self._live:
            self._live.stop()
            self._live = None

    def _label(self, trial: Trial) -> str:
        return label(self._configs[trial.trial_id].params)

    def _count(self, trial: Trial, outcome: Outcome) -> None:
        if TrialConfig.from_tune(trial.config).kind == "trial":
            self.ended[outcome] += 1
        else:
            self.confirmed += 1

    def line(self) -> str:
        """Trials done, running, pruned, failed; best so far; time left."""
        done = sum(self.ended.values())
        others = "".join(f", {self.ended[o]} {o}" for o in (Outcome.PRUNED, Outcome.FAILED) if self.ended[o])
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
            table.add_row(label(self._configs[trial_id].params), *_row(self._configs[trial_id], result))
        return table

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks; a live panel cannot go there.
        return {**self.__dict__, "_live": None}


def _row(trial: TrialConfig, result: TrialResult) -> tuple[ProgressBar, str, str, str]:
    """Return a bar over all stages, stage, epoch and validation UAR of a running trial, as its last result has them."""
    epochs = trial.epochs()
    total = sum(epochs.values())
    if not result.epochs:
        return ProgressBar(total=total, completed=0, width=BAR), "starting", "", ""
    last = result.epochs[-1]
    before = sum(epochs[earlier] for earlier in STAGES[: STAGES.index(last.stage)])
    bar = ProgressBar(total=total, completed=before + last.epoch, width=BAR)
    uar = last.metrics.get("val_uar")
    return bar, last.stage, f"{last.epoch}/{epochs[last.stage]}", "" if uar is None else f"{uar:.3f}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
