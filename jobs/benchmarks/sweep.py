"""`sweep`: trials an hour of this system, against a plain Ray Tune script for the same trials.

Both sweeps train the 24 configurations of study.py, from the same recordings, one after the other, each started fresh
as a user starts it: `jobs/sweep.py` with a preset whose sampler is `grid`, and plain_tune.py. Networks, epochs, batches
and their order, learning rates, rows that train and validate, threads of a trial, trials at once and scheduler are the
same; so must be the score of each trial, or there is no result. The seconds are those of the whole command, from its
start to its end. The store is built before; once for all sweeps, so its seconds are told beside.

The limit is Amdahl's: what remains of the plain sweep if everything that this system saves cost nothing at all. Of the
plain sweep's core-seconds, C cores × its wall seconds W, these can be saved:

    images           decoding, views and log-mel images in every access, and in a new process loading what they need:
                     they are in the store
    teacher forward  in every step and validation of match and student: its features are in a table
    repeats          of stages that another trial trains, too: 22 of 24 teachers and 18 of 24 matches
    start-up         of Ray, and of a process for each trial; cores that wait for the last trial

    limit = C · W / (C · W − images − teacher forward − repeats − start-up)

Each alone gives `limit_of_…` in the same way. Images and forward passes within repeats are counted as images and
forward passes alone. On two idle cores about 16 minutes.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from jobs.benchmarks.child import JOBS, run_python
from jobs.benchmarks.result import Result
from jobs.benchmarks.study import DISTINCT, SPACE, Study, paper_sized
from search.home import Home
from sermodels.config.parsing import dump_yaml, to_plain
from sermodels.config.settings import STAGES, ChainConfig, StageName
from sermodels.store.open import Store
from sermodels.store.splits import split
from sermodels.training.batches import draw_order
from sermodels.training.data import TrialData

EPOCHS = 8  # of every stage; the fewer, the more of the time is start-up
SAME = 1e-4  # relative: networks may round otherwise on batches of another size, and Adam magnifies it
Scores = Mapping[str, tuple[float, float]]  # params of a trial, as text → validation UAR and loss of its last epoch


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The plain sweep after its end. Seconds of trials are summed over all, by stage."""

    wall_s: float
    scores: Scores
    all_s: Mapping[str, float]
    images_s: Mapping[str, float]
    teacher_forward_s: Mapping[str, float]

    def saved(self, core_s: float) -> dict[str, float]:
        """What of its core-seconds this system would save, by the parts of the module's docstring."""
        repeats_s = 0.0
        for stage, distinct in DISTINCT.items():
            needed_s = self.all_s[stage] - self.images_s[stage] - self.teacher_forward_s[stage]
            repeats_s += needed_s * (1 - distinct / len(self.scores))
        return {
            "images": sum(self.images_s.values()),
            "teacher_forward": sum(self.teacher_forward_s.values()),
            "repeats": repeats_s,
            "start_up": core_s - sum(self.all_s.values()),
        }


@dataclass(frozen=True, kw_only=True)
class Ours:
    """This system's sweep after its end."""

    wall_s: float
    scores: Scores
    training_s: float  # of all stages, each epoch with its validation


def measure(scratch: Path, study: Study | None = None) -> Result:
    """Run both sweeps.

    Args:
        scratch: an empty folder.
        study: what to search; None: paper-size networks.

    Raises:
        RuntimeError: the scores of the two sides differ, so that the times compare nothing.
        CalledProcessError: a sweep failed; it said why on standard error.
    """
    study = study or paper_sized(EPOCHS)
    began = time.perf_counter()
    store = study.store(scratch)
    store_s = time.perf_counter() - began
    plain, ours = _run_plain(study, store, scratch), _run_ours(study, store, scratch)
    difference = _require_same(plain.scores, ours.scores)
    return _result(plain, ours, store_s, difference)


def _run_plain(study: Study, store: Store, scratch: Path) -> Plain:
    task, results = scratch / "task.json", scratch / "plain.json"
    task.write_text(json.dumps(task_of(study, store, scratch)))
    wall_s = _seconds_of("plain Ray Tune", "-m", "jobs.benchmarks.plain_tune", task, results)
    trials = json.loads(results.read_text())

    def summed(part: str) -> dict[str, float]:
        return {stage: sum(trial["seconds"][stage].get(part, 0.0) for trial in trials) for stage in STAGES}

    return Plain(
        wall_s=wall_s,
        scores={_name(trial["params"]): (trial["val_uar"], trial["val_loss"]) for trial in trials},
        all_s=summed("all"),
        images_s=summed("images"),
        teacher_forward_s=summed("teacher_forward"),
    )


def _run_ours(study: Study, store: Store, scratch: Path) -> Ours:
    preset, home = scratch / "preset.yaml", Home(root=scratch / "home")
    sweep = {"description": "benchmark", "chain": study.chain, "space": SPACE}
    preset.write_text(dump_yaml(sweep | {"trials": DISTINCT["student"], "sampler": "grid"}))
    words = ("--store", store.path, "--preset", preset, "--name", "benchmark", "--home", home.root)
    wall_s = _seconds_of("this system", JOBS / "sweep.py", *words)
    client = MlflowClient(home.tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`ser.kind` = 'trial'")
    metrics = {_name(run.data.params): run.data.metrics for run in runs}
    return Ours(
        wall_s=wall_s,
        scores={name: (figures["val_uar"], figures["student/val_loss"]) for name, figures in metrics.items()},
        training_s=sum(figures["trained_seconds"] for figures in metrics.values()),
    )


def _seconds_of(title: str, *words: object) -> float:
    began = time.perf_counter()
    run_python(f"sweep: {title}", *words)
    return time.perf_counter() - began


def task_of(study: Study, store: Store, scratch: Path) -> dict[str, Any]:
    """What the plain script needs to know of the task: recordings, rows of each side, batches of each epoch."""
    config = study.configurations()[0]
    (lane,), data = config.lanes, TrialData(store, config)
    side = split(store, config.protocol, lane[0], config.split_seed)
    rows = np.union1d(side.train, side.valid)  # as TrialData numbers them
    ids = [store.clip_id[clip] for clip in store.clip[rows]]
    paths = [str(scratch / "recordings" / name) for name in ids]
    return {
        "chain": study.chain,
        "frontend": to_plain(store.frontend),
        "image": data.image,
        "classes": data.classes,
        "rows": list(zip(paths, ids, store.view[rows].tolist(), store.emotion[rows].tolist(), strict=True)),
        "valid": data.folds[lane[0]].valid.tolist(),
        "batches": {stage: _batches(data, config, stage) for stage in STAGES},
    }


def _batches(data: TrialData, config: ChainConfig, stage: StageName) -> list[list[list[int]]]:
    """The rows of each batch of each epoch."""
    settings, epochs = config.settings(stage), []
    for epoch in range(1, settings.epochs + 1):
        order = draw_order(data, config.lanes, stage=stage, epoch=epoch, batch=settings.batch)
        pairs = zip(order.rows[0], order.weights[0], strict=True)
        epochs.append([rows[weights > 0].tolist() for rows, weights in pairs])
    return epochs


def _name(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={params[key]}" for key in sorted(params))


def _require_same(plain: Scores, ours: Scores) -> float:
    """Every score of one side is on the other; the largest relative difference of losses is returned."""
    if plain.keys() != ours.keys():
        raise RuntimeError(f"trials of one side alone: {', '.join(sorted(plain.keys() ^ ours.keys()))}")
    for name, (uar, loss) in plain.items():
        if not (math.isclose(uar, ours[name][0]) and math.isclose(loss, ours[name][1], rel_tol=SAME)):
            raise RuntimeError(f"{name}: UAR and loss {uar}, {loss} by the plain script, {ours[name]} by this system")
    return max(abs(loss / ours[name][1] - 1) for name, (_, loss) in plain.items())


def _result(plain: Plain, ours: Ours, store_s: float, difference: float) -> Result:
    trials, cores = len(plain.scores), len(os.sched_getaffinity(0))
    core_s = cores * plain.wall_s
    saved = plain.saved(core_s)
    uar = [score for score, _ in plain.scores.values()]
    limit = _limit(core_s, sum(saved.values()))
    return Result(
        name="sweep",
        compared=f"{trials} trials (2 teachers × 3 students × 4 α) by this system, against a plain Ray Tune script on "
        "the same recordings; whole commands, start-up included; every trial ends with the same UAR",
        value=plain.wall_s / ours.wall_s,
        unit="× more trials an hour",
        required="≥ 7",
        limit=f"Amdahl, if all that is saved cost nothing: {limit:.1f}×",
        parts={
            "plain_wall_s": plain.wall_s,
            "ours_wall_s": ours.wall_s,
            "plain_trials_per_h": 3600 * trials / plain.wall_s,
            "ours_trials_per_h": 3600 * trials / ours.wall_s,
            "cores": cores,
            "plain_core_s": core_s,
            **{f"plain_{part}_core_s": seconds for part, seconds in saved.items()},
            **{f"limit_of_{part}": _limit(core_s, seconds) for part, seconds in saved.items()},
            "ours_core_s": cores * ours.wall_s,
            "ours_training_core_s": ours.training_s,
            "store_build_s": store_s,
            "ratio_with_store_build": plain.wall_s / (ours.wall_s + store_s),
            "val_uar_lowest": min(uar),
            "val_uar_highest": max(uar),
            "largest_relative_difference_of_losses": difference,
        },
    )


def _limit(whole_s: float, saved_s: float) -> float:
    """Amdahl's law: how many times faster if a part cost nothing."""
    return whole_s / (whole_s - saved_s)
