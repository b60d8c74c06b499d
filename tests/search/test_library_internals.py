"""What other libraries do not promise is still so in those that are installed."""

import ast
import base64
import json
import logging
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import mlflow
import mlflow.environment_variables
import optuna
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, Schema
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray._private import ray_constants, services
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.air.constants import AIR_ENV_VARS
from ray.tune import ExperimentAnalysis
from ray.tune.constants import TUNE_ENV_VARS
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from search.library_internals import (
    TRAINING_EXPERIMENT,
    NumberedTrials,
    hush_mlflow,
    hush_tune,
    in_ray_job,
    journal_lock,
    ray_on_loopback,
    replay,
    shared_view,
    shared_view_link,
)
from search.scheduling.ledger import create_study, mend
from search.tracking.tracker import Tracker
from search.tracking.view import view_state

ROOT = Path(__file__).parents[2]
OF_MLFLOW = ("mlflow.store.db.utils", "mlflow.pyfunc")  # loggers


def test_ray_has_its_servers_listen_where_its_switch_says():
    # That the servers really do is seen in test_cluster.py.
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR)
    assert before == (True, None), "so the switch is needed"
    with ray_on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
        code = "from ray._private import ray_constants; print(ray_constants.ENABLE_RAY_CLUSTER)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"
    assert (ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR)) == before


def test_a_ray_job_is_known_by_the_variable_that_ray_sets(monkeypatch):
    monkeypatch.delenv(RAY_JOB_CONFIG_JSON_ENV_VAR, raising=False)
    assert not in_ray_job()
    monkeypatch.setenv(RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")
    assert in_ray_job()


@pytest.fixture
def levels():
    """Loggers by name, for a test to change; put back afterwards."""
    loggers = {name: logging.getLogger(name) for name in ("ray.tune.analysis", *OF_MLFLOW)}
    before = {name: logger.level for name, logger in loggers.items()}
    yield loggers
    for name, logger in loggers.items():
        logger.setLevel(before[name])


def test_tune_misses_its_tables_in_the_logger_that_is_hushed(levels):
    levels["ray.tune.analysis"].setLevel(logging.NOTSET)
    logger = sys.modules[ExperimentAnalysis.__module__].logger
    assert logger.isEnabledFor(logging.WARNING)
    hush_tune()
    assert not logger.isEnabledFor(logging.WARNING)


class Running:
    trial_id = "new"


@pytest.fixture
def asha():
    """Tune's own; its rungs are at epochs 2 and 4."""
    settings = {"max_t": 4, "grace_period": 2, "reduction_factor": 2, "stop_last_trials": False}
    return AsyncHyperBandScheduler(time_attr="epoch", metric="score", mode="max", **settings)


def test_a_trial_shown_to_asha_fills_its_rungs_and_is_gone(asha):
    for number, scores in enumerate([(0.1, 0.5, 0.5, 0.6), (0.2, 0.7)]):
        results = [{"epoch": epoch, "score": score} for epoch, score in enumerate(scores, start=1)]
        replay(asha, f"past-{number}", results)
    assert re.findall(r"Iter ([\d.]+): (\S+)", asha.debug_string()) == [("4.000", "0.6"), ("2.000", "0.6")]
    with pytest.raises(KeyError):
        asha.on_trial_remove(None, SimpleNamespace(trial_id="past-0"))


def test_asha_judges_a_running_trial_by_those_it_was_shown(asha):
    replay(asha, "past", [{"epoch": 2, "score": 0.5}])
    asha.on_trial_add(None, Running)
    assert asha.on_trial_result(None, Running, {"epoch": 1, "score": 0.1}) == TrialScheduler.CONTINUE
    assert asha.on_trial_result(None, Running, {"epoch": 2, "score": 0.4}) == TrialScheduler.STOP


def test_optuna_takes_the_lock_that_is_taken_away(journal, monkeypatch):
    seen, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(set(journal.parent.iterdir())), sync(file)))
    JournalFileBackend(str(journal)).append_logs([{}])
    assert seen == [{journal, journal_lock(journal)}]
    assert list(journal.parent.iterdir()) == [journal]


def test_a_lock_left_behind_holds_nobody_up(journal):
    journal_lock(journal).symlink_to(journal)  # as Optuna does
    mend(journal)
    began = time.monotonic()
    create_study(journal, "next")
    assert time.monotonic() - began < 10, "Optuna waits 30 s for a lock"


def test_trials_are_written_to_by_number_in_a_journal_of_two_studies(journal):
    create_study(journal, "other")
    storage = JournalStorage(JournalFileBackend(str(journal)))
    sweep, other = (optuna.load_study(study_name=name, storage=storage) for name in ("sweep", "other"))
    for study in (sweep, other, other):
        study.ask()
    trials = NumberedTrials(JournalStorage(JournalFileBackend(str(journal))), "other")  # of another process
    trials.note(1, 3, 0.5)
    trials.annotate(1, "kind", {"of": ["anything"]})
    assert (trials[1].number, trials[1].intermediate_values) == (1, {3: 0.5})
    told = [(trial.intermediate_values, trial.user_attrs) for study in (sweep, other) for trial in study.get_trials()]
    assert told == [({}, {}), ({}, {}), ({3: 0.5}, {"kind": {"of": ["anything"]}})]
    trials.note(0, 1, 0.1)
    assert sweep.trials[0].intermediate_values == {}


@pytest.mark.parametrize("hushed", [False, True])
def test_mlflow_tells_of_databases_and_models_where_it_is_hushed(tmp_path, monkeypatch, levels, hushed):
    monkeypatch.setattr("search.tracking.tracker.hush_mlflow", lambda: None)
    told = Told()
    for name in OF_MLFLOW:
        monkeypatch.setattr(levels[name], "handlers", [told])
        levels[name].setLevel(logging.INFO)
    if hushed:
        hush_mlflow()
    Tracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts").connect()
    about = {"input_example": pd.DataFrame({"text": ["a"]}), "pip_requirements": []}
    signature = ModelSignature(inputs=Schema([ColSpec("string", "text")]))
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=Echo(), signature=signature, **about)
    assert told.loggers == (set() if hushed else {*OF_MLFLOW})


class Told(logging.Handler):
    """Remembers which loggers said something of no importance."""

    def __init__(self):
        super().__init__()
        self.loggers = set()

    def emit(self, record):
        if record.levelno < logging.WARNING:
            self.loggers.add(record.name)


class Echo(PythonModel):
    def predict(self, model_input):
        return model_input


@pytest.fixture(scope="module")
def page():
    """The program of MLflow's page."""
    files = Path(mlflow.__file__).parent.glob("server/js/build/static/js/*.js")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_mlflows_page_knows_every_word_of_a_view(page):
    state = view_state("s", ["alpha"])
    tag, value = shared_view("key", "trials of s", 1, state)
    _, _, asked = shared_view_link("1", "key").partition("?")
    kinds = {chart["type"] for chart in state["compareRunCharts"]}
    assert kinds == {"PARALLEL", "BAR", "LINE"}
    options = kinds | {state[name] for name in ("startTime", "modelVersionFilter", "runsHiddenMode", "lifecycleFilter")}
    options |= {"CHART", "machine_learning", "linear", "step"}
    names = {*state, *json.loads(value), *(word.partition("=")[0] for word in asked.split("&"))}
    for part in (*state["compareRunSections"], *state["compareRunCharts"]):
        names |= part.keys()
    missing = names - {*re.findall(r"\w+", page)}
    missing |= {option for option in options if f'"{option}"' not in page}
    assert missing == set()
    assert f'"{tag.removesuffix("key")}"' in page


def test_a_view_is_packed_as_mlflows_page_unpacks_it(page):
    _, value = shared_view("key", "trials of s", 1, {"café": [1]})
    packed = json.loads(value)["state"]
    head, body = packed[:8], packed[8:]
    assert json.loads(zlib.decompress(base64.b64decode(body))) == {"café": [1]}
    # The page: `if (!text.startsWith(head)) throw …; inflate(decoded base64 of text.slice(8), {to: "string"})`.
    assert re.search(rf'\w+="{head}",.{{0,900}}?\.startsWith\(.{{0,200}}?\.slice\(8\).{{0,200}}?\.inflate\(', page)


def test_mlflows_page_knows_the_kind_of_the_experiment(page):
    ((tag, kind),) = TRAINING_EXPERIMENT.items()
    assert f'"{tag}"' in page
    assert f'"{kind}"' in page


def test_libraries_read_the_environment_variables_that_are_set_for_them():
    # They promise these; a name that has moved would be passed over in silence all the same.
    known = TUNE_ENV_VARS | AIR_ENV_VARS | vars(mlflow.environment_variables).keys()
    known |= {ray_constants.RAY_ADDRESS_ENVIRONMENT_VARIABLE, RAY_JOB_CONFIG_JSON_ENV_VAR}
    used = {
        node.value
        for package in ("search", "jobs", "sermodels")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and re.fullmatch(r"(RAY|TUNE|MLFLOW)_[A-Z_]+", str(node.value))
    }
    assert len(used) > 10
    assert used - known == set()
