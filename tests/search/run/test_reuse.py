"""One process serves many trials: what the one before left behind must not reach the next."""

import gc
import json
import os
import sys
from pathlib import Path

import pytest
import ray
import torch
from conftest import TINY
from ray import tune

from search.run.trial import run_trial
from search.space.trial_config import TrialConfig, resolve
from search.space.trial_result import TrialResult
from search.space.trial_spec import TrialSpec
from sermodels.config.parsing import merged, parse
from sermodels.config.settings import ChainConfig
from sermodels.networks.network import Network
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData

PARAMS = [
    {"alpha": 1.0, "encoding": "ice"},
    {"alpha": 1e39},  # fails: its loss is infinite
    {"alpha": 0.0, "dim": 8, "seeds": [3], "student.lr": 1e-2},
    {"alpha": 2.0},  # stopped within its student stage
    {"alpha": 1.0, "encoding": "none", "student.depth": 2},
    {"alpha": 1.0, "encoding": "ice", "seeds": [7]},
    {"dim": 0},  # cannot be
]


def noted_trial(config, spec: TrialSpec, notes: str) -> None:
    """As the trial, but for a line on what its process holds when it begins."""
    gc.collect()
    alive = [type(o).__name__ for o in gc.get_objects() if isinstance(o, Chain | TrialData | Network | torch.Tensor)]
    line = {"pid": os.getpid(), "threads": torch.get_num_threads(), "alive": sorted(set(alive))}
    line["open"] = sorted(os.readlink(f) for f in Path("/proc/self/fd").iterdir() if "stages" in _target(f))
    with Path(notes).open("a") as file:
        file.write(json.dumps(line) + "\n")
    run_trial(config, spec)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


@pytest.fixture(scope="module")
def trials(store, ray_address, tmp_path_factory):
    """Results of six trials on one core, by place in PARAMS, and what each found in its process."""
    folder = tmp_path_factory.mktemp("reuse")
    spec = TrialSpec(
        sweep="reuse",
        store=str(store.path),
        corpus=store.corpus,
        fingerprint=store.fingerprint,
        stages=str(folder / "stages"),
        threads=1,
        device="cpu",
        hang_s=60,
    )
    notes = folder / "notes.jsonl"
    configs = [resolve("trial", params, TINY, ()) for params in PARAMS]
    space = tune.grid_search([config.to_tune() for config in configs])
    trainable = tune.with_parameters(noted_trial, spec=spec, notes=str(notes))
    config = tune.TuneConfig(reuse_actors=True)

    def stop(trial_id, result) -> bool:
        alpha = TrialConfig.from_tune(result["config"]).params.get("alpha")
        return alpha == 2.0 and TrialResult.from_tune(result).student_epoch is not None

    run = tune.RunConfig(storage_path=str(folder / "tune"), stop=stop, verbose=0)
    here = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(here)  # `noted_trial`: Ray's processes cannot import this file
    ray.init(address=ray_address, log_to_driver=False)
    try:
        grid = tune.Tuner(trainable, param_space=space, tune_config=config, run_config=run).fit()
    finally:
        ray.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(here)
    results = {
        PARAMS.index(TrialConfig.from_tune(result.config).params): TrialResult.from_tune(result.metrics)
        for result in grid
    }
    return results, [json.loads(line) for line in notes.read_text().splitlines()]


def test_one_process_serves_them_all(trials):
    assert len({note["pid"] for note in trials[1]}) == 1
    assert len(trials[1]) == len(PARAMS)


def test_no_network_tensor_file_or_claim_of_a_trial_outlives_it(trials):
    for note in trials[1][1:]:
        assert note["alive"] == [], "what the modules hold is frozen by then, and not counted"
        assert note["open"] == []


def test_each_has_the_outcome_and_the_score_that_it_has_alone(trials, store, tmp_path):
    results = trials[0]
    assert [results[n].outcome for n in range(len(PARAMS))] == [
        "finished",
        "failed",
        "finished",
        None,
        "finished",
        "finished",
        "failed",
    ]
    reason = "configuration: dim: Input should be greater than or equal to 1 (found 0)"
    assert results[6].reason == f"UserError: {reason}"
    for n in (0, 2, 4, 5):
        config = parse(ChainConfig, merged(TINY, PARAMS[n]), "alone")
        alone = Chain(config, TrialData(store, config), StageCache(tmp_path / str(n))).run().summary()
        for name in ("val_uar", "val_wa", "val_macro_f1"):
            assert results[n].figures[name] == alone[name]


def test_threads_are_those_of_the_trial(trials):
    assert {note["threads"] for note in trials[1][1:]} == {1}
