"""Who becomes champion: the first, and whoever is better beyond noise on fresh seeds, fold by fold."""

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import soundfile
from mlflow import MlflowClient

from search.publish.registry import CHAMPION, check_name, register
from search.space.lane_scores import from_json, to_json
from sermodels.config.settings import Lane
from sermodels.deploy.recogniser import Recogniser
from sermodels.errors import UserError
from sermodels.training.bundle import FINGERPRINT, load_bundle, write_bundle

LANES = tuple(Lane(fold, 7) for fold in range(4))
GOOD = (0.50, 0.52, 0.47, 0.55)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    client.create_experiment("sweeps", artifact_location=(folder / "artifacts").as_uri())
    return client


@pytest.fixture
def sweep(client, model, tmp_path):
    """Makes the run of a sweep and its exported best, confirmed with some validation UAR on each fold."""

    def make(lanes=GOOD, finish=None, split_seed=0):
        bundle, out = load_bundle(model), tmp_path / "best"
        scores = to_json(dict(zip(LANES, map(float, lanes), strict=False)))
        test = {"uar": 0.4, "wa": 0.5}
        own = [{"fold": 0, "seed": 0, "val_uar": 0.6}]
        metrics = {
            FINGERPRINT: "ab",
            "selection": {"confirmed_lanes": scores},
            "validation": {"lanes": own},
            "test": test,
        }
        config = {"config": bundle.config, "emotions": bundle.emotions, "frontend": bundle.frontend}

        def add(folder):
            for name in ("model.onnx", "example.wav", "README.md", "manifest.json"):
                (folder / name).write_bytes((model / name).read_bytes())

        write_bundle(out, network=bundle.network, metrics=metrics, finish=finish or add, **config)
        experiment = client.get_experiment_by_name("sweeps").experiment_id
        return client.create_run(experiment), out

    return make


def champion(client, name):
    return str(client.get_model_version_by_alias(name, CHAMPION).version)


def test_the_first_is_champion_and_answers_through_mlflow(client, sweep, model, wav):
    run, out = sweep()
    assert register(client, run, out, "first") == ("1", True, "there was no champion")
    mine = client.get_model_version("first", "1")
    assert mine.run_id == run.info.run_id
    assert mine.description.startswith("# Emotion from 2 s of speech")
    assert from_json(json.loads(mine.tags["ser.confirmed_lanes"])) == dict(zip(LANES, GOOD, strict=True))
    mlflow.set_tracking_uri(client.tracking_uri)
    loaded = mlflow.pyfunc.load_model("models:/first@champion")
    samples, rate_hz = soundfile.read(wav, dtype="float32")
    asked = pd.DataFrame(
        [{"audio": wav.read_bytes()}, {"samples": samples.tolist(), "sample_rate_hz": rate_hz}],
        columns=["audio", "samples", "sample_rate_hz"],
    ).replace({np.nan: None})
    answers = loaded.predict(asked)
    expected = Recogniser(model).answer(wav)
    for answer in answers:
        assert answer["probabilities"] == pytest.approx(expected, abs=1e-6)
        assert answer["emotion"] == max(expected, key=expected.get)


def test_no_code_is_pickled(client, sweep):
    register(client, *sweep(), "code")
    version = client.get_model_version("code", "1")
    folder = mlflow.artifacts.download_artifacts(version.source, tracking_uri=client.tracking_uri)
    names = {path.name for path in Path(folder).rglob("*")}
    assert {"serving.py", "model.onnx", "recogniser.py", "MLmodel"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pyc", ".pickle"))]


@pytest.mark.parametrize(
    ("lanes", "wins", "why"),
    [
        (np.add(GOOD, (0.1, 0.09, 0.12, 0.11)), True, r"\+10\.5 against version 1, 95 % interval \+8\.\d to \+12\.\d"),
        (np.add(GOOD, 0.125), False, "not beyond noise"),  # the same on every fold: few clips
        (np.add(GOOD, (0.3, -0.1, 0.2, -0.1)), False, "not beyond noise"),
        (np.add(GOOD, -0.1), False, "not beyond noise"),
        (GOOD[:1], False, "on a single fold, which shows nothing"),
        ((), False, "version 2 was not confirmed on fresh seeds"),
    ],
)
def test_a_challenger_is_champion_if_it_is_better_beyond_noise(lanes, wins, why, client, sweep, tmp_path):
    name = tmp_path.name
    register(client, *sweep(), name)
    registered = register(client, *sweep(lanes), name)
    assert (registered.version, registered.champion) == ("2", wins)
    assert re.search(why, registered.why)
    assert champion(client, name) == ("2" if wins else "1")


def test_force_makes_any_champion_and_says_so(client, sweep):
    register(client, *sweep(), "forced")
    registered = register(client, *sweep(np.add(GOOD, -0.2)), "forced", force=True)
    assert registered.champion
    assert "not beyond noise; made champion all the same, by --force" in registered.why
    assert champion(client, "forced") == "2"


def test_a_sweep_has_one_version(client, sweep):
    run, out = sweep()
    register(client, run, out, "once")
    assert register(client, run, out, "once") == ("1", True, "it is the champion already")
    register(client, *sweep(np.add(GOOD, (0.1, 0.2, 0.1, 0.1))), "once")
    again = register(client, run, out, "once")
    assert (again.version, again.champion) == ("1", False)
    assert register(client, run, out, "once", force=True).champion
    assert len(client.search_model_versions("name = 'once'")) == 2


def test_what_was_judged_elsewhere_cannot_be_compared(client, sweep, monkeypatch):
    run, out = sweep()
    register(client, run, out, "elsewhere")
    client.set_model_version_tag("elsewhere", "1", "ser.judged_on", "{}")
    registered = register(client, *sweep(np.add(GOOD, 0.2)), "elsewhere")
    assert not registered.champion
    assert "another store or split" in registered.why
    client.set_model_version_tag(
        "elsewhere", "1", "ser.judged_on", client.get_model_version("elsewhere", "2").tags["ser.judged_on"]
    )
    client.set_model_version_tag("elsewhere", "1", "ser.confirmed_lanes", "[[9, 9, 0.1]]")
    assert "other folds" in register(client, *sweep(), "elsewhere").why


def test_seeds_of_a_fold_are_no_evidence_of_their_own(client, sweep, tmp_path):
    name = tmp_path.name
    register(client, *sweep(), name)
    seeds = [f"fold {fold}, seed {seed}" for fold in (0, 1) for seed in range(20)]
    client.delete_model_version_tag(name, "1", "ser.confirmed_lanes")  # a version that an earlier release registered
    client.set_model_version_tag(name, "1", "ser.lanes", json.dumps(dict.fromkeys(seeds, 0.5)))
    registered = register(client, *sweep((0.6, 0.7)), name)
    assert not registered.champion, "two folds, whatever the number of seeds"
    assert "+15.0 against version 1, 95 % interval -48.5 to +78.5" in registered.why


def test_an_attempt_that_fails_leaves_nothing_behind(client, sweep):
    run, out = sweep()
    (out / "README.md").unlink()
    with pytest.raises(UserError, match="--register half: "):
        register(client, run, out, "half")
    assert not client.search_registered_models("name = 'half'")
    assert not client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")


def test_a_name_that_mlflow_refuses(client, sweep):
    for name in ("a/b", "a'b", " ", 'a"', "v1.0"):
        with pytest.raises(UserError, match="--register "):
            register(client, *sweep(), name)
        with pytest.raises(UserError, match="must not be empty or hold"):
            check_name(name)
    check_name("emotion in speech")
