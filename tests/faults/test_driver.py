"""A sweep's driver is killed again and again, in every stage and between any two writes, and loses nothing.

KILLS=10 in the environment for ten kills at moments drawn at random; four otherwise.
"""

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
import yaml
from conftest import TINY
from here import job_here
from mlflow import MlflowClient
from optuna.trial import TrialState
from processes import started, wait_for
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from search.scheduling.ledger import open_study
from sermodels.config.parsing import merged
from sermodels.config.settings import STAGES
from sermodels.training.training_log import read_all

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

KILLS = int(os.environ.get("KILLS", "4"))
EPOCHS = {"teacher": 60, "match": 30, "student": 45}
GRID = {
    "description": "six trials of two lanes, two teachers",
    "chain": merged(TINY, {"seeds": [0, 1], **{f"{stage}.epochs": n for stage, n in EPOCHS.items()}}),
    "space": {"encoding": ["ice", "none"], "alpha": [0, 1, 10]},
    "trials": 6,
    "sampler": "grid",
}
DISTINCT = {"teacher": 2, "match": 2, "student": 6}
NAME, SLOTS = "killed", 2
MOST_S = 0.4  # to a random kill, from the first epoch after a start: ten of them fit into the sweep


@dataclass
class Victim:
    """A sweep that is started, killed and started again."""

    words: list
    home: object
    kills: int = 0
    recovery_s: list[float] = field(default_factory=list)  # from a start to the first epoch after it

    def run_until(self, moment, *where):
        """Start the driver, kill it at a moment; False if the sweep ended before."""
        earlier, began = self.processes(), time.monotonic()
        with started("sweep.py", *self.words, "--resume", *where) as process:
            try:
                wait_for(lambda: self.processes() - earlier, process)  # those of a killed driver live a little longer
            except AssertionError:
                assert process.wait(60) == 0, "a sweep ends by itself when there is nothing left to train"
                return False
            self.recovery_s.append(time.monotonic() - began)
            if not moment(process):
                return False
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
        self.kills += 1
        return True

    def processes(self):
        return {entry.pid for entry in self.entries()}

    def entries(self):
        return read_all(self.home / "stages")


def at_random(draw):
    def moment(process):
        end = time.monotonic() + draw.uniform(0, MOST_S)
        while time.monotonic() < end:
            if process.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    return moment


def within(victim, stage):
    """In the middle of a stage of some trial."""

    def moment(process):
        wait_for(lambda: stage in {entry.stage for entry in victim.entries()[-SLOTS:]}, process)
        return True

    return moment


def between_file_and_ledger(victim):
    """A student's last epoch is on disk, and the study does not know it yet: the driver is held up until it is so."""

    def finished():
        files = (victim.home / "stages" / "student").glob(f"*/epoch-{EPOCHS['student']:04}.safetensors")
        return len(list(files))

    def moment(process):
        while process.poll() is None:
            before = finished()
            wait_for(lambda before=before: finished() > before, process)
            os.kill(process.pid, signal.SIGSTOP)
            study = open_study(victim.home / "studies" / f"{NAME}.journal", NAME)
            told = len(study.get_trials(states=(TrialState.COMPLETE,)))
            if finished() > 2 * told:  # two lanes a trial
                return True
            os.kill(process.pid, signal.SIGCONT)
        return False

    return moment


def swept(folder, store):
    preset = folder / "grid.yaml"
    preset.write_text(yaml.safe_dump(GRID))
    return ["--store", store.path, "--preset", preset, "--name", NAME, "--home", folder / "home"]


@pytest.fixture(scope="module")
def shared():
    """Words that lead a sweep to a Ray of SLOTS cores, which outlives its drivers."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": SLOTS, "include_dashboard": False})
    yield "--address", nodes.address
    nodes.shutdown()


@pytest.fixture(scope="module")
def undisturbed(store, new_home, shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    new_home(folder / "home")
    done = job_here("sweep.py", *swept(folder, store), *shared)
    assert done.returncode == 0, done.stderr
    return folder / "home"


@pytest.fixture(scope="module")
def victim(store, new_home, shared, tmp_path_factory):
    """A sweep that was killed at every forced moment and at KILLS random ones, and then ended.

    Two of the drivers had a Ray of their own, which dies with its driver; the others shared one that lives on.
    """
    folder = tmp_path_factory.mktemp("victim")
    victim = Victim(words=swept(folder, store), home=new_home(folder / "home"))
    draw = random.Random(0)
    with started("sweep.py", *victim.words) as process:
        wait_for(lambda: len(victim.entries()) > 3 and len(victim.processes()) == SLOTS, process)
        os.kill(process.pid, signal.SIGKILL)
    victim.kills += 1
    forced = [*(within(victim, stage) for stage in STAGES), between_file_and_ledger(victim)]
    moments = [moment for one in forced for moment in (one, at_random(draw))][: len(forced) + KILLS]
    moments += [at_random(draw) for _ in range(len(forced) + KILLS - len(moments))]
    victim.survived = [victim.run_until(moment, *(() if moment is forced[-1] else shared)) for moment in moments]
    done = job_here("sweep.py", *victim.words, "--resume", *shared)
    assert done.returncode == 0, done.stderr
    return victim


def runs_of(home, kind):
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("ser-search").experiment_id])
    return [run for run in found if run.data.tags["ser.kind"] == kind]


def scores(home):
    return {
        (run.data.params["encoding"], run.data.params["alpha"]): (
            run.data.metrics["val_uar"],
            run.data.metrics["student/val_loss"],
        )
        for run in runs_of(home, "trial")
    }


def test_it_was_killed_at_every_moment(victim):
    assert victim.survived == [True] * (4 + KILLS)
    # For docs/reliability.md; seen with `pytest -s`.
    print(f"\n{victim.kills} kills; seconds to the next epoch: {[round(s, 1) for s in victim.recovery_s]}")  # noqa: T201


def test_each_epoch_was_trained_once_but_for_those_under_way(victim):
    counts = Counter((entry.stage, entry.key, entry.epoch) for entry in victim.entries())
    assert len(counts) == sum(2 * DISTINCT[stage] * EPOCHS[stage] for stage in STAGES)
    assert sum(counts.values()) - len(counts) <= victim.kills * SLOTS
    assert max(counts.values()) <= 2


def test_every_score_is_that_of_the_undisturbed_sweep_to_the_bit(victim, undisturbed):
    assert scores(victim.home) == scores(undisturbed)
    assert len(scores(undisturbed)) == 6


def test_the_final_weights_are_the_same_bytes(victim, undisturbed):
    for stage in STAGES:
        paths = sorted(undisturbed.glob(f"stages/{stage}/*/epoch-{EPOCHS[stage]:04}.safetensors"))
        assert len(paths) == 2 * DISTINCT[stage]
        for path in paths:
            ours, theirs = load_file(path), load_file(victim.home / path.relative_to(undisturbed))
            assert ours.keys() == theirs.keys()
            assert all((ours[name] == theirs[name]).all() for name in ours)


def test_there_are_as_many_runs_as_trials_all_closed_and_no_step_twice(victim):
    client = MlflowClient(f"sqlite:///{victim.home}/mlflow.db")
    trials = runs_of(victim.home, "trial")
    assert [run.info.status for run in trials] == ["FINISHED"] * 6
    assert [run.info.status for run in runs_of(victim.home, "sweep")] == ["FINISHED"]
    for run in trials:
        for stage, metric in (("teacher", "val_uar"), ("match", "val_l1"), ("student", "val_uar")):
            steps = [point.step for point in client.get_metric_history(run.info.run_id, f"{stage}/{metric}")]
            assert steps == list(range(1, EPOCHS[stage] + 1)), (stage, steps)


def test_the_study_has_each_configuration_finished_once(victim):
    study = open_study(victim.home / "studies" / f"{NAME}.journal", NAME)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert len({str(trial.user_attrs["params"]) for trial in complete}) == len(complete) == 6
    assert not study.get_trials(states=(TrialState.RUNNING,))
