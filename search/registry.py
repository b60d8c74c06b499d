"""A model in MLflow's registry: a version for each sweep's best, and the alias `champion` on the one to use.

A challenger takes the alias only if it is better beyond noise: on the same validation rows, lane by lane.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import mlflow.pyfunc
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

import sermodels
from search import serving
from search.report.noise import lead
from sermodels.bundle import FINGERPRINT, load_bundle
from sermodels.credentials import without_credentials
from sermodels.deploy.names import EXAMPLE
from sermodels.errors import UserError

CHAMPION = "champion"
LANES, JUDGED_ON = (
    "ser.lanes",
    "ser.judged_on",
)  # tags of a version: validation UAR by lane, and what it was measured on
PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "soundfile", "soxr")  # of an environment that serves it


def check_name(name: str) -> None:
    """Make sure that MLflow takes a name for a registered model.

    Raises:
        UserError: it does not.
    """
    if not name.strip() or set(name) & set("/:.%\"'"):
        raise UserError(f"--register {name!r}: must not be empty or hold any of / : . % \" '")


class Registered(NamedTuple):
    """What became of a model."""

    version: str
    champion: bool  # whether it has the alias now
    why: str  # a sentence


def register(client: MlflowClient, run: Run, folder: Path, name: str, *, force: bool = False) -> Registered:
    """Make a version of a registered model, and the champion if it deserves it. A sweep has one version.

    Args:
        client: of the tracking server or database that also holds the registry.
        run: of the sweep.
        folder: an exported model (deploy/complete.py).
        name: of the registered model; made if there is none.
        force: give it the alias whatever the present champion's figures.

    Raises:
        UserError: the registry refuses.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a few small files
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it tells what it is about to do
    try:
        tags = _tags(folder)
        own = _of_run(client, name, run.info.run_id) or _new_version(client, run, folder, name, tags)
        present = _champion(client, name)
        better, why = _judged(own, tags, present)
        if better or (force and (present is None or present.version != own.version)):
            client.set_registered_model_alias(name, CHAMPION, own.version)
            return Registered(
                str(own.version), True, why if better else f"{why}; made champion all the same, by --force"
            )
        return Registered(str(own.version), present.version == own.version, why)
    except MlflowException as error:
        raise UserError(f"--register {name}: {without_credentials(str(error).splitlines()[0])}") from None


def _tags(folder: Path) -> dict[str, str]:
    """What a later challenger is compared by: the winner's lanes on fresh seeds, or its own if it was not confirmed."""
    bundle = load_bundle(folder)
    config, metrics = bundle.config, bundle.metrics
    lanes = metrics["selection"].get("confirmed_lanes") or {
        f"fold {lane['fold']}, seed {lane['seed']}": lane["val_uar"] for lane in metrics["validation"]["lanes"]
    }
    judged_on = {"store": metrics[FINGERPRINT], "protocol": config.protocol, "split_seed": config.split_seed}
    test = {"ser.test_uar": f"{metrics['test']['uar']:.4f}", "ser.test_wa": f"{metrics['test']['wa']:.4f}"}
    return {LANES: json.dumps(lanes), JUDGED_ON: json.dumps(judged_on, sort_keys=True), **test}


def _of_run(client: MlflowClient, name: str, run_id: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return max(found, key=lambda one: int(one.version), default=None)


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    alias = client.get_registered_model(name).aliases.get(CHAMPION)
    return client.get_model_version(name, alias) if alias else None


def _new_version(client: MlflowClient, run: Run, folder: Path, name: str, tags: Mapping[str, str]) -> ModelVersion:
    model = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run.info.run_id)
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            saved,
            python_model=serving.__file__,
            artifacts={serving.BUNDLE: str(folder)},
            code_paths=[str(Path(sermodels.__file__).parent)],
            signature=serving.SIGNATURE,
            input_example=_example(folder),
            pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
        )
        client.log_model_artifacts(model.model_id, str(saved))
    client.finalize_logged_model(model.model_id, "READY")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = client.get_logged_model(model.model_id).artifact_location
    card = (folder / "README.md").read_text(encoding="utf-8").partition("---\n# ")[2]
    about = {"tags": dict(tags), "description": f"# {card}", "model_id": model.model_id}
    return client.create_model_version(name, source, run_id=run.info.run_id, **about)


def _example(folder: Path) -> pd.DataFrame:
    return pd.DataFrame({"audio": [(folder / EXAMPLE).read_bytes()]})


def _judged(own: ModelVersion, tags: Mapping[str, str], present: ModelVersion | None) -> tuple[bool, str]:
    """Whether a version should be champion in place of the present one, and why."""
    if present is None:
        return True, "the first version"
    if present.version == own.version:
        return False, "it is the champion already"
    if present.tags.get(JUDGED_ON) != tags[JUDGED_ON]:
        return False, f"version {present.version} was judged on another store or split, so the two cannot be compared"
    ahead = lead(json.loads(tags[LANES]), json.loads(present.tags[LANES]))
    if ahead is None:
        return False, f"version {present.version} was judged on other folds or seeds, so the two cannot be compared"
    value, low, high = (100 * figure for figure in ahead)
    by = f"validation UAR {value:+.1f} against version {present.version}"
    if ahead.low > 0:
        return True, f"{by}, 95 % interval {low:+.1f} to {high:+.1f}"
    if low == -float("inf"):
        return False, f"{by} in a single lane, which shows nothing"
    return False, f"{by}, 95 % interval {low:+.1f} to {high:+.1f}: not beyond noise"
