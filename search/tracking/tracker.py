"""MLflow: one parent run a sweep, one child run a trial; each found by the tag of its key, or made.

Names follow MLflow's: a run, its params (what varies in the sweep), metrics by step (an epoch of a stage), tags.
"""

import getpass
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from search.library_internals import TRAINING_EXPERIMENT, hush_mlflow, shared_view_link
from search.space.outcome import Outcome
from search.tracking.records import Begin, Dataset, Describe, End, Folder, Log, Record, Text, View
from search.tracking.runs import EXPERIMENT as EXPERIMENT_ID
from search.tracking.runs import OUTCOME
from search.tracking.view import view_tag
from sermodels.credentials import without_credentials
from sermodels.errors import UserError
from sermodels.provenance import commit

logger = logging.getLogger(__name__)

EXPERIMENT = "ser-search"
NOTE = "mlflow.note.content"  # tag: what a page opens with
ABOUT = TRAINING_EXPERIMENT | {  # tags of the experiment
    NOTE: "Searches for speech emotion recognition: a run for each sweep, its trials below it.",
}
SWEEP, KIND, KEY = "ser.sweep", "ser.kind", "ser.key"
STATUS = {Outcome.FINISHED: "FINISHED", Outcome.FAILED: "FAILED"}  # by outcome; of the others: KILLED
DIGEST = 36  # characters of a dataset's
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # asked again, MLflow would say the same


class UnknownRunError(LookupError):
    """A record speaks of a run that this tracker does not have."""


class Tracker:
    """A tracking server, or a database."""

    def __init__(self, uri: str, artifacts: Path):
        """Only take notes; `connect` connects.

        Args:
            uri: of a tracking server (http…) or a database (sqlite:///…).
            artifacts: where artifacts go if the experiment does not exist yet and `uri` is a database.
        """
        self.uri = without_credentials(uri)  # to be shown
        self.address, self._artifacts = uri, artifacts
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._ids: dict[str, str] = {}  # key of a run → its id

    def connect(self) -> MlflowClient:
        """Connect, and make the experiment if it does not exist; return MLflow's client.

        Raises:
            UserError: nothing answers there, or it is not a store that MLflow knows.
        """
        # MLflow would try for minutes, and whoever asks here has an answer for a tracker that is away.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines at the end of each run
        hush_mlflow()
        check_reachable(self.address)
        try:
            with _alone(self.address):
                client = MlflowClient(self.address)
                self._experiment = _experiment(client, self.uri, self._artifacts)
        except OSError as error:
            raise UserError(f"--tracking-uri {self.uri}: {error.filename}: {error.strerror}") from None
        except MlflowException as error:
            reason = without_credentials(str(error).splitlines()[0])
            raise UserError(f"--tracking-uri {self.uri}: {reason}") from None
        self._client = client
        return client

    @property
    def client(self) -> MlflowClient:
        """MLflow's client; connects first if need be."""
        return self.connect() if self._client is None else self._client

    def send(
        self, records: Iterable[Record], note_success: Callable[[], None] = lambda: None, *, skip_unknown: bool = False
    ) -> None:
        """Do what records say (records.py), in order. What was done before changes nothing.

        Args:
            records: of a spool.
            note_success: called now and then while the tracker takes them.
            skip_unknown: pass over records of runs that are not here.

        Raises:
            UnknownRunError: a run that is not here.
            UserError: the tracker cannot be reached.
            MlflowException: it cannot do it now. What it will never take is passed over with a warning.
        """
        passed_over = (UnknownRunError,) if skip_unknown else ()
        batches: dict[str, _Batch] = {}  # by run; a database confirms each
        for record in records:
            run = record.run
            if isinstance(record, Log):
                with suppress(*passed_over):
                    links = {tag: self._id(other) for tag, other in record.links.items()}
                    batches.setdefault(run, _Batch()).add(record, links)
                continue
            if run in batches:
                with suppress(*passed_over):
                    self._log(run, batches.pop(run))
            with suppress(*passed_over):
                self._do(record)
            note_success()
        for run, batch in batches.items():
            with suppress(*passed_over):
                self._log(run, batch)
            note_success()

    def comparison(self, sweep_key: str) -> str | None:
        """Where the page compares the trials of a sweep, behind the server's address; None: it was never reached."""
        return shared_view_link(self._experiment, sweep_key) if self._experiment else None

    def find_sweep(self, name: str) -> Run:
        """The latest parent run of a sweep.

        Raises:
            UserError: there is none, naming those that there are.
        """
        runs = self.client.search_runs([self._experiment], f"tags.`{KIND}` = 'sweep'", order_by=["start_time DESC"])
        for run in runs:
            if run.data.tags[SWEEP] == name:
                return run
        known = ", ".join(sorted({run.data.tags[SWEEP] for run in runs})) or "none yet"
        raise UserError(f"--sweep {name}: no such sweep at {self.uri}; there are: {known}")

    def _do(self, record: Record) -> None:
        try:
            match record:
                case Begin():
                    self._begin(record)
                case Text():
                    self.client.log_text(self._id(record.run), record.text, record.file)
                case Describe():
                    text = record.text.replace(EXPERIMENT_ID, self._experiment)
                    self.client.set_tag(self._id(record.run), NOTE, text)
                case View():
                    tag, value = view_tag(record.run, record.sweep, record.params, record.time)
                    self.client.set_experiment_tag(self._experiment, tag, value)
                case Folder():
                    self.client.log_artifacts(self._id(record.run), record.path, record.name)
                case End():
                    self._end(record)
        except MlflowException as error:
            self._require_final(error, record.run)

    def _begin(self, record: Begin) -> None:
        key = record.run
        tags = {KEY: key, SWEEP: record.sweep, KIND: record.kind, **environment(), **record.tags}
        if record.parent:
            tags["mlflow.parentRunId"] = self._id(record.parent)
        run_id = self._ids.get(key) or self._find(key)
        if run_id is None:
            run = self.client.create_run(self._experiment, record.time, tags, record.name)
            run_id = run.info.run_id
        else:
            self.client.update_run(run_id, "RUNNING")
        self._ids[key] = run_id
        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in record.params.items()])
        if record.dataset:
            self.client.log_inputs(run_id, [_input(record.dataset)])

    def _end(self, record: End) -> None:
        run_id = self._id(record.run)
        self.client.set_tag(run_id, OUTCOME, record.outcome)
        self.client.set_terminated(run_id, STATUS.get(record.outcome, "KILLED"), record.time)

    def _log(self, run: str, batch: "_Batch") -> None:
        try:
            tags = [RunTag(name, str(word)) for name, word in batch.tags.items()]
            self.client.log_batch(self._id(run), metrics=batch.metrics, tags=tags)
        except MlflowException as error:
            self._require_final(error, run)

    def _id(self, key: str) -> str:
        if key not in self._ids:
            if (found := self._find(key)) is None:
                raise UnknownRunError(f"{self.uri} has no run {key}")
            self._ids[key] = found
        return self._ids[key]

    def _find(self, key: str) -> str | None:
        found = self.client.search_runs([self._experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        return found[0].info.run_id if found else None

    def _require_final(self, error: MlflowException, run: str) -> None:
        """Go on after an error that would come again and again; raise any other."""
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the database is another one than a moment ago
            self._ids.clear()
            self._client = None
            raise UnknownRunError(f"{self.uri} has no run {run} any more") from error
        if error.error_code not in REFUSALS:
            raise error
        logger.warning("tracking: MLflow refuses what it was told of run %s: %s", run, str(error).splitlines()[0])


class _Batch:
    """What is told of one run in one call."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self.tags: dict[str, Any] = {}

    def add(self, record: Log, links: Mapping[str, str]) -> None:
        now = record.time
        self.metrics += [Metric(name, float(value), now, 0) for name, value in record.figures.items()]
        for report in record.epochs:
            self.metrics += [Metric(name, float(x), now, report.epoch) for name, x in report.figures().items()]
        self.tags |= {**record.tags, **links}


def _input(dataset: Dataset) -> DatasetInput:
    """Return a store as MLflow names datasets; its digests are short."""
    about = {"source_type": "spectrogram store", "source": json.dumps({"fingerprint": dataset.digest})}
    named = MlflowDataset(name=dataset.name, digest=dataset.digest[:DIGEST], **about)
    return DatasetInput(named, [InputTag("mlflow.data.context", "training")])


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
            f"--tracking-uri {without_credentials(uri)}: no MLflow server answers there ({type(error).__name__}); "
            "start one with `mlflow server`, or leave the option out for a local database"
        ) from None


def _experiment(client: MlflowClient, uri: str, artifacts: Path) -> str:
    """The id of our experiment, found or made."""
    if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
        location = None if uri.startswith("http") else artifacts.as_uri()
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=location, tags=ABOUT)
        except MlflowException:  # somebody else did, just now
            if (found := client.get_experiment_by_name(EXPERIMENT)) is None:
                raise
    if found.lifecycle_stage == LifecycleStage.DELETED:
        way_out = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        raise UserError(f"--tracking-uri {uri}: the experiment {EXPERIMENT} was deleted there; `{way_out}` restores it")
    return found.experiment_id


def _alone(uri: str) -> AbstractContextManager[object]:
    """Keep others away from a database file: two that make its tables at the same time get in each other's way."""
    if not uri.startswith("sqlite:///"):
        return nullcontext()
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(database.with_name(f".{database.name}.lock"))


@cache
def environment() -> Mapping[str, str]:
    """What MLflow shows of where a run comes from, as tags."""
    return {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit(),
    }
