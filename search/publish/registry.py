"""A model in MLflow's registry: a version for each sweep's best, and the alias `champion` on the one to use.

A challenger takes the alias only if it is better beyond noise: on fresh seeds, on the same validation clips, fold by
fold. Seeds of a fold share its speakers' luck, so folds are what is independent. Of a sweep that confirms several, the
winner's figure is the best of so many, and a little too good.
"""

import json
import math
import os
import statistics
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
from search.library_internals import hush_mlflow
from search.publish import serving
from search.space.lane_scores import LaneScores, from_json, to_json
from sermodels.credentials import without_credentials
from sermodels.errors import UserError
from sermodels.evaluation.noise import lead
from sermodels.model_files import CARD, EXAMPLE
from sermodels.training.bundle import FINGERPRINT, load_bundle

CHAMPION = "champion"
CONFIRMED = (
    "ser.confirmed_lanes"  # tag of a version: its scores on fresh seeds, see lane_scores.py; none if not confirmed
)
CONFIRMED_OF_OLD = "ser.lanes"  # of earlier versions of this project
JUDGED_ON = "ser.judged_on"  # tag of a version: the store and the split that they were measured on, as JSON
MOST_TEXT = 5000  # characters of a description that MLflow keeps
PACKAGES = ("librosa", "mlflow", "numpy", "onnxruntime", "pandas", "soundfile")  # of an environment that serves it


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
    hush_mlflow()
    try:
        tags = _tags(folder)
        own = _of_run(client, name, run.info.run_id) or _new_version(client, run, folder, name, tags)
        present = _champion(client, name)
        better, why = _judged(own, present)
        is_champion = present is not None and present.version == own.version
        if better or (force and not is_champion):
            client.set_registered_model_alias(name, CHAMPION, own.version)
            return Registered(
                str(own.version), True, why if better else f"{why}; made champion all the same, by --force"
            )
        return Registered(str(own.version), is_champion, why)
    except (MlflowException, OSError) as error:
        raise UserError(f"--register {name}: {without_credentials(str(error).splitlines()[0])}") from None


def _tags(folder: Path) -> dict[str, str]:
    """What a later challenger is compared by."""
    bundle = load_bundle(folder)
    config, metrics = bundle.config, bundle.metrics
    lanes = from_json(metrics["selection"].get("confirmed_lanes", []))
    judged_on = {"store": metrics[FINGERPRINT], "protocol": config.protocol, "split_seed": config.split_seed}
    test = {"ser.test_uar": f"{metrics['test']['uar']:.4f}", "ser.test_wa": f"{metrics['test']['wa']:.4f}"}
    return {CONFIRMED: json.dumps(to_json(lanes)), JUDGED_ON: json.dumps(judged_on, sort_keys=True), **test}


def _of_run(client: MlflowClient, name: str, run_id: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return max(found, key=lambda one: int(one.version), default=None)


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    alias = client.get_registered_model(name).aliases.get(CHAMPION)
    return client.get_model_version(name, alias) if alias else None


def _new_version(client: MlflowClient, run: Run, folder: Path, name: str, tags: Mapping[str, str]) -> ModelVersion:
    description = _description(folder)
    model = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run.info.run_id)
    try:
        _save(client, model.model_id, folder)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        return client.create_model_version(
            name,
            client.get_logged_model(model.model_id).artifact_location,
            run_id=run.info.run_id,
            tags=dict(tags),
            description=description,
            model_id=model.model_id,
        )
    except BaseException:
        client.delete_logged_model(model.model_id)
        raise


def _save(client: MlflowClient, model_id: str, folder: Path) -> None:
    """Write a logged model's files."""
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            saved,
            python_model=serving.__file__,
            artifacts={serving.BUNDLE: str(folder)},
            code_paths=[str(Path(sermodels.__file__).parent)],
            signature=serving.SIGNATURE,
            input_example=pd.DataFrame({"audio": [(folder / EXAMPLE).read_bytes()]}),
            pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
        )
        client.log_model_artifacts(model_id, str(saved))
    client.finalize_logged_model(model_id, "READY")


def _description(folder: Path) -> str:
    """What the model is and how good, of its card."""
    about, *sections = (folder / CARD).read_text(encoding="utf-8").partition("---\n# ")[2].split("\n## ")
    results = [f"## {section}" for section in sections if section.startswith("Results")]
    return "\n".join([f"# {about}", *results])[:MOST_TEXT]


def _judged(own: ModelVersion, present: ModelVersion | None) -> tuple[bool, str]:
    """Whether a version should be champion in place of the present one, and why."""
    if present is None:
        return True, "there was no champion"
    if present.version == own.version:
        return False, "it is the champion already"
    against = f"version {present.version}"
    if present.tags.get(JUDGED_ON) != own.tags[JUDGED_ON]:
        return False, f"{against} was judged on another store or split, so the two cannot be compared"
    ours, theirs = (_by_fold(_confirmed(version)) for version in (own, present))
    if not ours or not theirs:
        lacks = f"version {own.version}" if not ours else against
        return False, f"{lacks} was not confirmed on fresh seeds (a preset's confirm=3), so the two cannot be compared"
    ahead = lead(ours, theirs)
    if ahead is None:
        return False, f"{against} was judged on other folds, so the two cannot be compared"
    value, low, high = (100 * figure for figure in ahead)
    by = f"validation UAR {value:+.1f} against {against}"
    if low == -math.inf:
        return False, f"{by} on a single fold, which shows nothing"
    beyond = low > 0 and high > low  # folds that agree to the digit are few clips, not certainty
    return beyond, f"{by}, 95 % interval {low:+.1f} to {high:+.1f}{'' if beyond else ': not beyond noise'}"


def _confirmed(version: ModelVersion) -> LaneScores:
    return from_json(json.loads(version.tags.get(CONFIRMED) or version.tags.get(CONFIRMED_OF_OLD, "[]")))


def _by_fold(lanes: LaneScores) -> dict[int, float]:
    """Return the mean over the seeds of each fold."""
    folds: dict[int, list[float]] = {}
    for lane, score in lanes.items():
        folds.setdefault(lane.fold, []).append(score)
    return {fold: statistics.fmean(scores) for fold, scores in folds.items()}
