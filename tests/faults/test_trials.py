"""Trials that go wrong, each in its own way, in one sweep: each failed with its reason, the others are as if alone."""

import os

import pytest
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient

from search.space.preset import load
from search.space.space import configure
from sermodels.config.parsing import merged
from sermodels.training.stage import stages_of

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

SIZE = {"dim": None, "mlp": None, "patch": None, "teacher.batch": None, "alpha": None}
SOUND = {"dim": 16, "mlp": 16, "patch": "32x4", "teacher.batch": 16, "alpha": 1.0}
CASES = {
    "diverges": SOUND | {"alpha": 1e39},
    "out of memory": SOUND | {"mlp": 10**13},
    "hangs": SOUND | {"dim": 32},
    "raises": SOUND | {"alpha": 3.0},
    "sound": SOUND,
    "sound too": SOUND | {"alpha": 2.0},
}
PRESET = {
    "description": "four trials that fail and two that do not",
    "chain": merged(TINY, SIZE | {"teacher.depth": 4}),
    "space": {"case": list(CASES.values())},
    "trials": len(CASES),
    "sampler": "grid",
    "hang_s": 5,
}


def in_the_way(store, preset, stages):
    """A file where a trial will want to make the folder of its student, and one whose reader waits for ever."""
    chain = load(str(preset)).chain
    student, teacher = (
        stages_of(configure(chain, CASES[case]), store.fingerprint)[stage][0]
        for case, stage in (("raises", "student"), ("hangs", "teacher"))
    )
    for stage in (student, teacher):
        (stages / stage.name).mkdir(parents=True)
    (stages / "student" / student.key).touch()
    (stages / "teacher" / teacher.key).mkdir()
    os.mkfifo(stages / "teacher" / teacher.key / f"features-{teacher.epochs:04}.safetensors")  # as on a dead server


@pytest.fixture(scope="module")
def runs(store, new_home, ray_address, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    preset = folder / "cases.yaml"
    preset.write_text(yaml.safe_dump(PRESET))
    in_the_way(store, preset, folder / "home" / "stages")
    words = ["--store", store.path, "--preset", preset, "--name", "cases", "--home", new_home(folder / "home")]
    done = job_here("sweep.py", *words, "--address", ray_address)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(f"sqlite:///{folder}/home/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id])
    by_case = {}
    for run in found:
        if run.data.tags["ser.kind"] == "trial":
            params = run.data.params
            (case,) = [
                name
                for name, case in CASES.items()
                if all(str(type(value)(params[key])) == str(value) for key, value in case.items())
            ]
            by_case[case] = run
    assert by_case.keys() == CASES.keys()
    return by_case


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("diverges", "NonFiniteLossError: student stage, epoch 1"),
        ("out of memory", "can't allocate memory"),
        ("hangs", "died"),
        ("raises", "FileExistsError"),
    ],
)
def test_what_fails_says_why(runs, case, reason):
    assert runs[case].info.status == "FAILED"
    assert runs[case].data.tags["ser.outcome"] == "failed"
    assert reason in runs[case].data.tags["ser.reason"]


@pytest.mark.parametrize("case", ["sound", "sound too"])
def test_the_others_finish(runs, case):
    assert runs[case].info.status == "FINISHED"
    assert 0 <= runs[case].data.metrics["val_uar"] <= 1
