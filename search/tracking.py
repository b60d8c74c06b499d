"""MLflow: one parent run a sweep, one child run a trial, found by a key tag or made.

Names follow MLflow's: a run, its params (what varies in the sweep), metrics by step (an epoch of a stage), tags.
"""

import getpass
import hashlib
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from search.space import Space
from search.trial import FAILED, FINISHED, WAITING, TrialSpec, configuration
from sermodels.errors import UserError
from sermodels.provenance import commit
from sermodels.settings import dump_yaml
from sermodels.stages import STAGES, stage_of

EXPERIMENT = "ser-search"
SWEEP, KIND, KEY, OUTCOME = "ser.sweep", "ser.kind", "ser.trial_key", "ser.outcome"
STATUS = {FINISHED: "FINISHED", FAILED: "FAILED", "pruned": "KILLED", "interrupted": "KILLED"}


class Tracker:
    """The runs of one sweep."""

    def __init__(self, uri: str, artifacts: Path):
        """Connect.

        Args:
            uri: of a tracking server (http…) or a database (sqlite:///…).
            artifacts: where artifacts go if the experiment does not exist yet and `uri` is a database.

        Raises:
            UserError: nothing answers there, or it is not a store that MLflow knows.
        """
        self.uri = uri
        check_reachable(uri)
        try:
            with _alone(uri):
                self.client = MlflowClient(uri)
                self.experiment = self._experiment(artifacts)
        except MlflowException as error:
            raise UserError(f"--tracking-uri {uri}: {str(error).splitlines()[0]}") from None

    def start_sweep(self, name: str, tags: Mapping[str, str], texts: Mapping[str, str]) -> str:
        """Begin the parent run of a sweep.

        Args:
            name: of the sweep.
            tags: what describes it.
            texts: file name → content, logged as artifacts.

        Returns:
            The run's id.
        """
        tags = {SWEEP: name, KIND: "sweep", **_environment(), **tags}
        run_id = self.client.create_run(self.experiment, run_name=name, tags=tags).info.run_id
        for file, text in texts.items():
            self.client.log_text(run_id, text, file)
        return run_id

    def trial_run(self, parent: str, sweep: str, params: Mapping[str, Any], *, kind: str) -> str:
        """The child run of a configuration, found by its key or made; its id.

        Args:
            parent: run id of the sweep.
            sweep: its name.
            params: what the configuration has of its own.
            kind: "trial", or "confirmation" on fresh seeds.
        """
        key = hashlib.sha256(f"{parent}/{kind}/{Space.key(params)}".encode()).hexdigest()[:16]
        found = self.client.search_runs([self.experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        if found:
            return found[0].info.run_id
        tags = {"mlflow.parentRunId": parent, SWEEP: sweep, KIND: kind, KEY: key, **_environment()}
        run = self.client.create_run(self.experiment, run_name=label(params), tags=tags)
        self.client.log_batch(run.info.run_id, params=[Param(k, str(v)) for k, v in params.items()])
        return run.info.run_id

    def log(
        self,
        run_id: str,
        *,
        epochs: Iterable[Mapping[str, float]] = (),
        figures: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write everything in one batch: a database confirms each.

        Args:
            run_id: of the run.
            epochs: metrics of epochs, each with its number as "epoch".
            figures: metrics without a step.
            tags: what to call it.
        """
        now = round(time.time() * 1000)
        metrics = [Metric(name, float(value), now, 0) for name, value in (figures or {}).items()]
        for row in epochs:
            values = ((name, value) for name, value in row.items() if name != "epoch")
            metrics += [Metric(name, float(value), now, int(row["epoch"])) for name, value in values]
        words = [RunTag(name, str(word)) for name, word in (tags or {}).items()]
        if metrics or words:
            self.client.log_batch(run_id, metrics=metrics, tags=words)

    def end(self, run_id: str, outcome: str) -> None:
        """Close a run; `outcome` is finished, pruned, failed or interrupted."""
        self.log(run_id, tags={OUTCOME: outcome})
        self.terminate(run_id, outcome)

    def terminate(self, run_id: str, outcome: str) -> None:
        """Close a run that has the tag of its outcome."""
        self.client.set_terminated(run_id, STATUS[outcome])

    def find_sweep(self, name: str) -> Run:
        """The latest parent run of a sweep.

        Raises:
            UserError: there is none, naming those that there are.
        """
        runs = self.client.search_runs([self.experiment], f"tags.`{KIND}` = 'sweep'", order_by=["start_time DESC"])
        for run in runs:
            if run.data.tags[SWEEP] == name:
                return run
        known = ", ".join(sorted({run.data.tags[SWEEP] for run in runs})) or "none yet"
        raise UserError(f"--sweep {name}: no such sweep at {self.uri}; there are: {known}")

    def _experiment(self, artifacts: Path) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found:
            return found.experiment_id
        location = None if self.uri.startswith("http") else artifacts.as_uri()
        try:
            return self.client.create_experiment(EXPERIMENT, artifact_location=location)
        except MlflowException:  # somebody else did, just now
            if found := self.client.get_experiment_by_name(EXPERIMENT):
                return found.experiment_id
            raise


class TrialLogger(LoggerCallback):
    """Writes what trials report into their runs, from the driver's process."""

    def __init__(self, tracker: Tracker, parent: str, spec: TrialSpec):
        self.seconds = {"trained_seconds": 0.0, "reused_seconds": 0.0}  # of all finished trials
        self._tracker, self._parent, self._spec = tracker, parent, spec
        self._runs: dict[str, str] = {}  # Tune's trial id → run id
        self._open: set[str] = set()  # run ids; that of a trial which is to be started again is among them
        self._outcomes: dict[str, str | None] = {}  # by Tune's trial id, of the last result
        self._logged: set[tuple[str, str, int]] = set()  # run id, stage, epoch

    def log_trial_start(self, trial: Trial) -> None:
        """Find or make the run; log the whole configuration as an artifact."""
        if trial.trial_id in self._runs:
            return
        kind, params = trial.config["kind"], trial.config["params"]
        run_id = self._tracker.trial_run(self._parent, self._spec.sweep, params, kind=kind)
        whole = configuration(trial.config, self._spec.chain, self._spec.fresh_seeds)
        self._tracker.client.log_text(run_id, dump_yaml(whole), "config.yaml")
        self._runs[trial.trial_id] = run_id
        self._open.add(run_id)

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Write the epochs of a result; of the last one, the final figures or the reason of the failure."""
        run_id = self._runs[trial.trial_id]
        epochs = [row for row in result.get("epochs", ()) if self._is_new(run_id, row)]
        outcome, figures, tags = result.get("outcome"), {}, {}
        if outcome == FINISHED:
            figures, tags = final_figures(result), {"ser.reused": reused_stages(result)}
        if outcome == FINISHED != self._outcomes.get(trial.trial_id):  # a process may die after it said so
            self.seconds = {name: seconds + result[name] for name, seconds in self.seconds.items()}
        if outcome == FAILED:
            tags = {"ser.reason": result["reason"][:5000]}
        if outcome in STATUS:
            tags[OUTCOME] = outcome
        self._outcomes[trial.trial_id] = outcome
        self._tracker.log(run_id, epochs=epochs, figures=figures, tags=tags)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the run. A trial that ended without saying how was stopped by the scheduler."""
        if (run_id := self._runs.pop(trial.trial_id, None)) is None:
            return
        told = self._outcomes.get(trial.trial_id)
        if failed or told is None:
            self._tracker.end(run_id, FAILED if failed else "pruned")
        elif told == WAITING:
            return
        else:
            self._tracker.terminate(run_id, told)
        self._open.discard(run_id)

    def _is_new(self, run_id: str, row: Mapping[str, float]) -> bool:
        """Whether an epoch is seen for the first time: a trial whose process died tells its past again."""
        epoch = (run_id, stage_of(row), int(row["epoch"]))
        seen = epoch in self._logged
        self._logged.add(epoch)
        return not seen

    def close(self) -> None:
        """Close what is still open after the sweep ended: runs that were interrupted."""
        for run_id in self._open:
            self._tracker.end(run_id, "interrupted")
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into files that are never read again; live connections cannot go there.
        return {}


def final_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a finished trial's last result that belong into its run."""
    names = ("val_", "best_val_", *(f"{stage}/" for stage in STAGES), "trained_seconds", "reused_seconds", "duration_s")
    return {k: v for k, v in result.items() if k.startswith(names) and isinstance(v, int | float)}


def reused_stages(result: Mapping[str, Any]) -> str:
    """Which stages others had trained, and the share of their seconds: `teacher, match 50 %`; or `none`."""
    words = []
    for stage in STAGES:
        reused = result[f"{stage}/reused_seconds"]
        if reused:
            share = reused / (reused + result[f"{stage}/trained_seconds"])
            words.append(stage if share == 1 else f"{stage} {share:.0%}")
    return ", ".join(words) or "none"


def label(params: Mapping[str, Any]) -> str:
    """A configuration in few words: `128x1 ice alpha=10 student.depth=3`."""
    words = [str(params[key]) for key in ("patch", "encoding") if key in params]
    words += [f"{key}={_short(value)}" for key, value in params.items() if key not in ("patch", "encoding")]
    return " ".join(words) or "defaults"


def check_reachable(uri: str) -> None:
    """Ask a tracking server whether it is there; MLflow's own client would try for minutes.

    Raises:
        UserError: no answer within 5 s.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=5).raise_for_status()
    except requests.RequestException as error:
        raise UserError(
            f"--tracking-uri {uri}: no MLflow server answers there ({type(error).__name__}); "
            "start one with `mlflow server`, or leave the option out for a local database"
        ) from None


def _alone(uri: str) -> AbstractContextManager:
    """Keep others away from a database file: two that make its tables at the same time get in each other's way."""
    if not uri.startswith("sqlite:///"):
        return nullcontext()
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(database.with_name(f".{database.name}.lock"))


def _environment() -> dict[str, str]:
    return {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit(),
    }


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
