"""What this package uses of other libraries that they do not promise: one function or class for each piece.

Each docstring names the library, the version that it was seen in, and what is relied on. Its test asks the installed
library for the same, and fails when that has moved. Other modules touch no private name of a library.

The torch counterpart is sermodels/library_internals.py.
"""

import base64
import json
import logging
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

if TYPE_CHECKING:  # some callers need a file's name only, and do not wait for these imports
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler

# Ray


@contextmanager
def ray_on_loopback() -> Iterator[None]:
    """Have Ray's servers that are started in the block listen on 127.0.0.1 alone, as on macOS and Windows.

    Ray 2.60: off Linux it reads a constant and an environment variable, in this process and in those of the servers.
    """
    from ray._private import ray_constants

    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        os.environ.pop(name) if before[0] is None else os.environ.update({name: before[0]})


def in_ray_job() -> bool:
    """Whether this process was started by `ray job submit`.

    Ray 2.60: its job supervisor sets this variable, named like the constant that holds the name, for the entry point.
    """
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def hush_tune() -> None:
    """Have Tune not warn that it misses its own tables, which nobody reads.

    Ray 2.60: the warning goes to a logger below `ray.tune.analysis`.
    """
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)


def replay(scheduler: "TrialScheduler", trial_id: str, results: Iterable[Mapping[str, Any]]) -> None:
    """Show a scheduler a trial that ended under an earlier driver.

    Ray 2.60, AsyncHyperBandScheduler: its hooks ask nothing of the controller, of a trial its `trial_id` alone, and
    leave the scores of a removed trial in the rungs.

    Args:
        scheduler: that knows metric and mode.
        trial_id: unlike any other's.
        results: in the order in which they were reported.
    """
    controller = cast("TuneController", None)  # of a driver that is gone, as is the trial's own object
    trial = cast("Trial", SimpleNamespace(trial_id=trial_id))
    scheduler.on_trial_add(controller, trial)
    for result in results:
        scheduler.on_trial_result(controller, trial, dict(result))
    scheduler.on_trial_remove(controller, trial)


# Optuna


def journal_lock(journal: Path) -> Path:
    """The file that JournalFileBackend makes beside a journal while it writes.

    Optuna 5.0: one that a killed process left behind stops every other process for 30 s.
    """
    return journal.with_name(f"{journal.name}.lock")


class NumberedTrials:
    """The trials of a study, read and written by number, whichever process asked for them.

    Optuna 5.0 offers this on its storage alone, which "is not supposed to be directly accessed by library users".
    """

    def __init__(self, storage: "BaseStorage", study: str):
        """Of the study with the name `study`."""
        self._storage, self._study = storage, storage.get_study_id_from_name(study)

    def __getitem__(self, number: int) -> "FrozenTrial":
        return self._storage.get_trial(self._id(number))

    def note(self, number: int, step: int, score: float) -> None:
        """Record the score of a step; the trial must not have ended."""
        self._storage.set_trial_intermediate_value(self._id(number), step, score)

    def annotate(self, number: int, name: str, value: Any) -> None:
        """Set a user attribute; the trial must not have ended."""
        self._storage.set_trial_user_attr(self._id(number), name, value)

    def _id(self, number: int) -> int:
        """Numbers count within a study, ids over all studies of a storage."""
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)


# MLflow

TRAINING_EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment. MLflow 3.17: its page then shows what belongs to training, not to chats."""


def hush_mlflow() -> None:
    """Silence MLflow's log lines on each database that it makes and each model that it saves.

    MLflow 3.17: it does so at level INFO, to the loggers of these two modules.
    """
    for module in ("mlflow.store.db.utils", "mlflow.pyfunc"):
        logging.getLogger(module).setLevel(logging.WARNING)


def shared_view(key: str, name: str, time_ms: int, state: Mapping[str, Any]) -> tuple[str, str]:
    """Tag and value that make a saved view of an experiment's page, as its "Save as new view" writes them.

    MLflow 3.17: JSON, the state in it as JSON, too, compressed by zlib, in base64. A page that knows no such views
    shows its usual charts.

    Args:
        key: that `shared_view_link` asks for.
        name: shown.
        time_ms: since 1970.
        state: see `runs_page`.
    """
    text = json.dumps(state, separators=(",", ":"))
    packed = "deflate;" + base64.b64encode(zlib.compress(text.encode())).decode()
    about = {"name": name, "createdAt": time_ms, "updatedAt": time_ms, "state": packed}
    return f"mlflow.sharedViewState.{key}", json.dumps(about)


def shared_view_link(experiment: str, key: str) -> str:
    """Where a saved view is on a tracking server's page, behind its address (MLflow 3.17)."""
    asked = {"workflowType": "machine_learning", "viewStateShareKey": key, "compareRunsMode": "CHART"}
    return f"#/experiments/{experiment}/runs?{urlencode(asked)}"


def runs_page(
    *,
    search: str,
    order_by: str,
    columns: Sequence[str],
    sections: Sequence[Mapping[str, Any]],
    charts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """State of the page of an experiment's runs in its chart mode (MLflow 3.17).

    Args:
        search: which runs, in MLflow's query language.
        order_by: the column that runs are sorted by, the highest first.
        columns: of the table.
        sections: see `chart_section`, in their order.
        charts: see `parallel_chart` and `metric_chart`.
    """
    return {
        "searchFilter": search,
        "orderByKey": order_by,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "groupBy": None,
        "compareRunSections": list(sections),
        "compareRunCharts": list(charts),
    }


def chart_section(title: str, *, wide: bool) -> dict[str, Any]:
    """A section of `runs_page`, named by its title; a wide one has one column of tall charts (MLflow 3.17)."""
    shape = {"columns": 1, "cardHeight": 420} if wide else {}
    about = {"uuid": title, "name": title, "display": True, "isReordered": False}
    return about | {"deleted": False, "isGenerated": False} | shape


def parallel_chart(section: str, params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """Parallel coordinates of all runs: an axis for each param, then for each metric (MLflow 3.17)."""
    axes = {"selectedParams": list(params), "selectedMetrics": list(metrics), "showAllRuns": True}
    return _chart("parallel", section, "PARALLEL") | axes


def metric_chart(section: str, metric: str, name: str, *, over_steps: bool) -> dict[str, Any]:
    """A metric of the first 20 runs: a line over its steps for each run, or a bar of its last value (MLflow 3.17)."""
    about = {"metricKey": metric, "displayName": name}
    if not over_steps:
        return _chart(metric, section, "BAR") | about
    lines: dict[str, Any] = {
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "selectedXAxisMetricKey": "",
        "yAxisExpressions": [],
    }
    lines |= {"scaleType": "linear", "xAxisScaleType": "linear", "lineSmoothness": 0, "range": {}}
    return _chart(metric, section, "LINE") | about | lines


def _chart(uuid: str, section: str, kind: str) -> dict[str, Any]:
    about = {"type": kind, "runsCountToCompare": 20, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "metricSectionId": section, **about}
