"""Sweeps that go on: after their driver was killed, with more trials, without a tracker, under a name used before."""

import os
import signal
from collections import Counter

import pytest
import yaml
from conftest import SMALL, TINY
from here import job_here
from mlflow import MlflowClient
from processes import error_line, started, wait_for

from search.scheduling.ledger import open_study
from sermodels.config.parsing import merged
from sermodels.config.settings import Augmentation
from sermodels.corpora import synthetic
from sermodels.store.build import build
from sermodels.training.training_log import read_all

GRID = {
    "description": "four trials, two teachers; one of them fails",
    "chain": merged(TINY, {"seeds": [0, 1], "teacher.epochs": 30}),
    "space": {"encoding": ["ice", "none"], "alpha": [0, 1]},
    "trials": 4,
    "sampler": "grid",
}
FAILING = merged(GRID, {"chain.teacher.epochs": 2, "space.alpha": [1e39], "space.encoding": ["ice", "none"]})


class Home:
    """A home folder, and what its MLflow database knows. Its sweeps share a Ray, in this process."""

    def __init__(self, folder, store, ray_address):
        self.root, self.store, self.ray_address = folder / "home", store, ray_address

    def words(self, preset, name, *more):
        path = self.root.parent / f"{name}.yaml"
        path.write_text(yaml.safe_dump(preset))
        return ["--store", self.store.path, "--preset", path, "--name", name, "--home", self.root, *more]

    def run(self, preset, name, *more):
        return job_here("sweep.py", *self.words(preset, name, *more, "--address", self.ray_address))

    def sweep(self, preset, name, *more):
        done = self.run(preset, name, *more)
        assert done.returncode == 0, done.stderr
        return done

    @property
    def client(self):
        return MlflowClient(f"sqlite:///{self.root}/mlflow.db")

    def runs(self, kind, sweep):
        experiment = self.client.get_experiment_by_name("ser-search").experiment_id
        return [
            run
            for run in self.client.search_runs([experiment])
            if (run.data.tags["ser.kind"], run.data.tags["ser.sweep"]) == (kind, sweep)
        ]

    def scores(self, sweep):
        return {
            (run.data.params["encoding"], run.data.params["alpha"]): (
                run.data.metrics["val_uar"],
                run.data.metrics["student/val_loss"],
            )
            for run in self.runs("trial", sweep)
        }


@pytest.fixture(scope="module")
def home_at(store, ray_address, new_home):
    """Makes a home in a folder."""

    def make(folder):
        new_home(folder / "home")
        return Home(folder, store, ray_address)

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory, home_at):
    """A home on which nothing was killed."""
    home = home_at(tmp_path_factory.mktemp("whole"))
    home.sweep(GRID, "four")
    return home


@pytest.fixture(scope="module")
def killed(tmp_path_factory, home_at):
    """A home whose sweep was killed in a teacher stage, and then told to go on; with what it said."""
    home = home_at(tmp_path_factory.mktemp("killed"))
    with started("sweep.py", *home.words(GRID, "four", "--address", home.ray_address)) as process:
        wait_for(lambda: len(read_all(home.root / "stages")) > 20, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    home.begun = len(open_study(home.root / "studies" / "four.journal", "four").get_trials())
    home.done = home.sweep(GRID, "four", "--resume")
    return home


def test_a_killed_sweep_goes_on_and_says_so(killed):
    assert killed.begun > 0
    assert f"sweep four: 4 trials, going on: none has ended, {killed.begun} taken up again" in killed.done.stderr
    assert "winner: " in killed.done.stdout


def test_it_ends_with_the_scores_of_one_that_was_never_killed(killed, whole):
    assert killed.scores("four") == whole.scores("four")
    assert len(killed.scores("four")) == 4
    winners = [home.runs("sweep", "four")[0].data.metrics["test_uar"] for home in (killed, whole)]
    assert winners[0] == winners[1]


def test_it_repeats_no_epoch_but_those_under_way(killed):
    counts = Counter((entry.stage, entry.key, entry.epoch) for entry in read_all(killed.root / "stages"))
    assert len(counts) == 2 * (2 * 30 + 2 * 2 + 4 * 2)
    assert sum(counts.values()) <= len(counts) + 2


def test_its_runs_are_there_once_and_closed_with_every_step_once(killed):
    assert [run.info.status for run in killed.runs("sweep", "four")] == ["FINISHED"]
    trials = killed.runs("trial", "four")
    assert [run.info.status for run in trials] == ["FINISHED"] * 4
    for run in trials:
        for metric, last in (("teacher/val_uar", 30), ("student/val_uar", 2)):
            steps = [point.step for point in killed.client.get_metric_history(run.info.run_id, metric)]
            assert steps == list(range(1, last + 1))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"space.alpha": [0, 2]}, "space.alpha was [0, 1], is now [0, 2]"),
        ({"chain.teacher.lr": 0.1}, "chain.teacher.lr was 0.003, is now 0.1"),
        ({"sampler": "random"}, "sampler was grid, is now random"),
    ],
)
def test_a_changed_sweep_is_refused_with_the_difference(whole, changes, names):
    changed = merged(GRID, changes)
    before = whole.scores("four")
    assert names in error_line(job_here("sweep.py", *whole.words(changed, "four", "--resume")))
    assert whole.scores("four") == before


def test_another_store_is_refused(whole, store, tmp_path):
    corpus = synthetic.read(store.path.parent / "corpus", seed=0, speakers=5, clips_per_emotion=1)
    other = build(corpus, tmp_path / "o.arrow", SMALL, Augmentation(), 1, 1, strict=True, progress=lambda *_: None)
    words = whole.words(GRID, "four", "--resume")
    words[1] = other.path
    assert f"store was {store.fingerprint}, is now {other.fingerprint}" in error_line(job_here("sweep.py", *words))


def test_failed_trials_stay_failed_until_told_and_trials_may_be_raised(home_at, tmp_path):
    home = home_at(tmp_path)
    first = home.run(FAILING, "bad", "--trials", 1)
    assert "no trial finished" in first.stderr
    second = home.run(FAILING, "bad", "--resume", "--trials", 2)
    assert "going on: 1 failed, 0 taken up again" in second.stderr
    assert "no trial finished" in second.stderr
    third = home.run(FAILING, "bad", "--resume", "--retry-failed", "--trials", 2)
    assert "2 taken up again" in third.stderr
    assert [run.info.status for run in home.runs("trial", "bad")] == ["FAILED"] * 2
    states = [trial.state.name for trial in open_study(home.root / "studies" / "bad.journal", "bad").get_trials()]
    assert states == ["FAIL"] * 4


def test_more_trials_may_be_asked_for_and_one_is_the_winner(home_at, tmp_path):
    home = home_at(tmp_path)
    preset = merged(GRID, {"chain.teacher.epochs": 2})
    home.sweep(preset, "more", "--trials", 1)
    assert "going on: 1 finished, 0 taken up again" in home.sweep(preset, "more", "--trials", 4, "--resume").stderr
    trials = home.runs("trial", "more")
    assert [run.info.status for run in trials] == ["FINISHED"] * 4
    (winner,) = [run for run in trials if run.data.tags.get("ser.winner") == "true"]
    assert winner.data.metrics["val_uar"] == max(run.data.metrics["val_uar"] for run in trials)
    (parent,) = home.runs("sweep", "more")
    assert parent.data.tags["ser.winner_run"] == winner.info.run_id
    assert parent.data.metrics["val_uar"] == winner.data.metrics["val_uar"]


def test_fresh_puts_the_earlier_sweep_aside(whole):
    before = whole.scores("four")
    done = whole.sweep(merged(GRID, {"space.alpha": [0]}), "four", "--fresh")
    assert "the earlier one is now called four.2" in done.stderr
    assert len(whole.runs("sweep", "four")) == 2
    assert {run.info.status for run in whole.runs("sweep", "four")} == {"FINISHED"}
    for run in whole.runs("trial", "four"):
        where = run.data.params.get("alpha", "fixed")
        assert where == "fixed" or before[run.data.params["encoding"], where][0] == run.data.metrics["val_uar"]
    assert len(list((whole.root / "studies").glob("four.2*.journal"))) == 1


def test_without_a_tracker_a_sweep_runs_offline_and_is_sent_later(store, ray_address, tmp_path):
    home = Home(tmp_path, store, ray_address)
    preset = merged(GRID, {"chain.teacher.epochs": 2, "space.alpha": [0]})
    nobody = ["--tracking-uri", "http://user:s3cret@127.0.0.1:9"]
    assert "--offline" in error_line(home.run(preset, "off", *nobody))
    assert not home.root.exists()
    done = home.sweep(preset, "off", *nobody, "--offline")
    assert f"python jobs/sync_tracking.py --home {home.root} --sweep off" in done.stderr
    assert "#/experiments" not in done.stdout, "no page to show yet"
    assert not (home.root / "mlflow.db").exists()
    texts = [done.stdout, done.stderr, *(p.read_text(errors="replace") for p in home.root.rglob("*") if p.is_file())]
    assert not any("s3cret" in text for text in texts)
    sent = job_here("sync_tracking.py", "--home", home.root, "--sweep", "off")
    assert sent.returncode == 0, sent.stderr
    assert {run.info.status for run in home.runs("trial", "off")} == {"FINISHED"}
    (parent,) = home.runs("sweep", "off")
    assert {"config.yaml", "model.safetensors"} <= {
        file.path.rpartition("/")[2] for file in home.client.list_artifacts(parent.info.run_id, "best")
    }
    again = job_here("sync_tracking.py", "--home", home.root)
    assert "off: 0 bytes sent" in again.stderr
    out = home.root.parent / "best"
    assert job_here("export_best.py", "--sweep", "off", "--home", home.root, "--out", out).returncode == 0


def test_a_home_without_sweeps_has_nothing_to_send(tmp_path):
    assert "nothing logged by any sweep" in error_line(job_here("sync_tracking.py", "--home", tmp_path))
