"""Two sweeps at once on one store, one stage cache and one SQLite database, 32 trials each."""

import pytest
import yaml
from conftest import TINY
from mlflow import MlflowClient
from processes import started

from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TRIALS = 32
GRID = {
    "description": "one teacher, many α",
    "chain": TINY,
    "space": {"alpha": [float(alpha) for alpha in range(TRIALS)]},
    "trials": TRIALS,
    "sampler": "grid",
}


def test_both_are_right_and_share_their_stages(store, tmp_path):
    home, preset = tmp_path / "home", tmp_path / "many.yaml"
    preset.write_text(yaml.safe_dump(GRID))
    words = ["--store", store.path, "--preset", preset, "--home", home]
    with started("sweep.py", *words, "--name", "one") as one, started("sweep.py", *words, "--name", "two") as two:
        assert (one.wait(400), two.wait(400)) == (0, 0)
    entries = read_all(home / "stages")
    assert len(entries) == len({(e.stage, e.key, e.epoch) for e in entries}) == 2 + 2 + 2 * TRIALS
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    scores = {"one": {}, "two": {}}
    for run in runs:
        if run.data.tags["ser.kind"] == "trial":
            scores[run.data.tags["ser.sweep"]][run.data.params["alpha"]] = run.data.metrics["val_uar"]
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "student/val_uar")]
            assert steps == [1, 2]
    assert scores["one"] == scores["two"]
    assert len(scores["one"]) == TRIALS
