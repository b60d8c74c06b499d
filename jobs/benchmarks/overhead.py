"""`overhead`: what Tune and tracking cost a trial beyond its training.

A real sweep, started fresh as jobs/sweep.py starts it: a Ray of its own with one slot a core, TPE, the journal, MLflow
on SQLite, the stage cache. 100 trials share as many teachers as there are slots, so each trains a student of one tiny
block for some tenths of a second; everything else is what a trial of any size does, too. From the moment when all slots
first work,

    overhead of a trial = (wall seconds · slots − Σ seconds of epochs) / trials

Opening the store, finding stages, writing checkpoints, counting operations, Tune, Optuna, MLflow and slots that wait
are all overhead. What happens once, however many trials there are, is told beside: the start of Ray, and of a process
with PyTorch for each slot.

The second requirement is arithmetic: the overhead of the `cpu` preset's trials, against the time in which they train,
by the estimate of `--dry-run` on a generated store with as many clips as EmoDB. About a minute and a half.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from jobs.benchmarks.child import run_python
from jobs.benchmarks.inputs import generated_store
from jobs.benchmarks.result import Result
from search.home import Home
from search.run.estimate import count_stages, distinct_stages, estimate_seconds
from search.run.plan import Plan, make_plan
from search.run.sweep import run_sweep
from search.tracking.tracker import Tracker
from sermodels.config.parsing import dump_yaml

TRIALS = 100
ROWS = 280  # 7 clips of each of 10 speakers
EMODB_ROWS = 4 * 535
NAME = "overhead"
TEACHER = {"depth": 2, "heads": 2, "stem": [4, 4, 1], "epochs": 5, "batch": 8}  # while it is trained, all slots start
MATCH = {"epochs": 3, "batch": 8}
STUDENT = {"depth": 1, "heads": 2, "epochs": 3, "batch": 8}
SIZES = {"dim": 64, "mlp": 64, "head_dim": 32}


@dataclass(frozen=True, kw_only=True)
class Span:
    """A trial, from the time when a process took it up to its end. Seconds; times since 1970."""

    start: float
    end: float
    trained_s: float  # its epochs, each with its validation
    duration_s: float  # of its own function: what is left is Tune's and tracking's

    def within(self, since: float) -> float:
        """Share of it that came after some time."""
        return min(1.0, max(0.0, (self.end - since) / (self.end - self.start)))


def measure(scratch: Path, trials: int = TRIALS, emodb_rows: int = EMODB_ROWS) -> Result:
    """Run the sweep and see where its time went.

    Args:
        scratch: an empty folder.
        trials: of the sweep; more than there are cores.
        emodb_rows: of the generated store on which the `cpu` preset's training is estimated.

    Raises:
        CalledProcessError: the sweep failed; it said why on standard error.
    """
    slots = len(os.sched_getaffinity(0))
    store, home = generated_store(scratch / "small.arrow", ROWS), Home(root=scratch / "home")
    preset, figures = scratch / "preset.yaml", scratch / "figures.json"
    preset.write_text(dump_yaml(preset_of(trials, slots)))
    run_python(f"a sweep of {trials} trials", "-m", "jobs.benchmarks.overhead", store, preset, home.root, figures)
    told = json.loads(figures.read_text())
    spans = spans_of(MlflowClient(home.tracking_uri))
    plan = make_plan(generated_store(scratch / "emodb-sized.arrow", emodb_rows), "cpu")
    return _result(spans, slots, told, plan)


def preset_of(trials: int, slots: int) -> dict[str, Any]:
    """The sweep: a teacher for each slot, so that all have something to do from the start, and many students."""
    return {
        "description": "benchmark",
        "chain": {**SIZES, "teacher": TEACHER, "match": MATCH, "student": STUDENT},
        "space": {
            "teacher.lr": [1e-4 * (1 + slot) for slot in range(slots)],
            "alpha": {"log_uniform": [1, 100]},
            "student.lr": {"log_uniform": [1e-4, 1e-2]},
        },
        "trials": trials,
    }


def main(store: Path, preset: Path, home_folder: Path, figures: Path) -> None:
    """In a process of its own: sweep, and write how long that took and how much of it MLflow."""
    home = Home(root=home_folder)
    tracker = _TimedTracker(home.tracking_uri, home.artifacts)
    plan = make_plan(store, str(preset))
    began = time.time()
    run_sweep(plan, NAME, home, tracker)
    figures.write_text(json.dumps({"began": began, "ended": time.time(), "mlflow_s": tracker.timed.seconds}))


class _TimedTracker(Tracker):
    """A tracker whose client adds up the seconds of its calls."""

    @cached_property
    def timed(self) -> "_TimedClient":
        """In the place of MLflow's client."""
        return _TimedClient(super().client)

    @property
    def client(self) -> "_TimedClient":
        return self.timed


class _TimedClient:
    """An MLflow client that adds up the seconds of its calls, by name."""

    def __init__(self, client: MlflowClient):
        self.seconds: Counter[str] = Counter()
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - began

        return timed


def spans_of(client: MlflowClient) -> list[Span]:
    """The trials in a database, in the order of their ends; at most 10,000."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`ser.kind` = 'trial'", max_results=10_000)
    return sorted(map(_span, runs), key=lambda span: span.end)


def _span(run: Run) -> Span:
    return Span(
        start=run.info.start_time / 1e3,
        end=run.info.end_time / 1e3,
        trained_s=run.data.metrics["trained_seconds"],
        duration_s=run.data.metrics["duration_s"],
    )


def all_work_from(spans: list[Span], slots: int) -> float:
    """When as many trials as there are slots were first under way at once.

    Raises:
        RuntimeError: they never were, so that the sweep was too short to measure anything.
    """
    for span in sorted(spans, key=lambda span: span.start):
        if sum(other.start <= span.start < other.end for other in spans) >= slots:
            return span.start
    raise RuntimeError(f"never were {slots} trials under way at once: too few trials")


def _result(spans: list[Span], slots: int, told: dict[str, Any], plan: Plan) -> Result:
    warm, ended = all_work_from(spans, slots), spans[-1].end
    late = [(span, span.within(warm)) for span in spans]
    trials, trained_s = sum(share for _, share in late), sum(span.trained_s for span in spans)
    warm_trained_s = sum(share * span.trained_s for span, share in late)
    inside_s = sum(share * (span.duration_s - span.trained_s) for span, share in late)
    overhead_s = ((ended - warm) * slots - warm_trained_s) / trials
    return Result(
        name="overhead",
        compared=f"slot-seconds of a sweep of {len(spans)} short trials, against the seconds of their epochs, from the "
        "moment when all slots first work: without the start of Ray and of the slots' processes, which is beside it",
        value=overhead_s,
        unit="s a trial",
        required="≤ 0.5",
        limit="0 s: nothing but training",
        parts={
            "slots": slots,
            "trials_counted": trials,
            "wall_counted_s": ended - warm,
            "trained_counted_s": warm_trained_s,
            "inside_the_trial_s_a_trial": inside_s / trials,
            "outside_the_trial_s_a_trial": overhead_s - inside_s / trials,
            "once_until_all_slots_work_s": warm - told["began"],
            "once_at_the_end_s": told["ended"] - ended,
            "sweep_wall_s": told["ended"] - told["began"],
            "trained_s": trained_s,
            "with_what_is_once_s_a_trial": ((told["ended"] - told["began"]) * slots - trained_s) / len(spans),
            "mlflow_s_a_trial": sum(told["mlflow_s"].values()) / len(spans),
            **{f"mlflow_{name}_s_a_trial": seconds / len(spans) for name, seconds in told["mlflow_s"].items()},
        },
        further=(_share_of_cpu_sweep(overhead_s, plan),),
    )


def _share_of_cpu_sweep(overhead_s: float, plan: Plan) -> Result:
    """Derived: what the overhead comes to in the `cpu` preset."""
    configs = plan.configurations()
    chosen = configs[:: -(-len(configs) // plan.preset.trials)]  # spread evenly, as TPE's first proposals are
    training_s = estimate_seconds(plan.store, chosen, "cpu", plan.threads())
    counts = count_stages(distinct_stages(chosen, plan.store.fingerprint))
    return Result(
        name="overhead, share of the cpu sweep",
        compared=f"the overhead above, times the {len(chosen)} trials of the preset `cpu`, against the seconds in "
        "which they train; derived: these are estimated from steps timed on a generated store of "
        f"{len(plan.store.view)} rows",
        value=100 * overhead_s * len(chosen) / training_s,
        unit="% of the training",
        required="≤ 3",
        limit="0 %: nothing but training",
        parts={
            "trials": len(chosen),
            "training_estimated_s": training_s,
            **{f"distinct_{stage}": number for stage, number in counts.items()},
        },
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
