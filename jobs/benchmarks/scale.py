"""`scale`: how open time, memory and the time of a batch grow with rows, and the cost of a trial with their number.

Rows: generated stores of 10² to 10⁵, with images of 32 × 32 instead of 128 × 128, for opening reads none of them. Each
is opened by a process of its own; counted are its private memory (unique set size) and, as medians, the seconds of
opening and of a batch.

Trials: sweeps of 10 to 1000, each in a process of its own with a Ray of its own: the searcher with its journal, the
logger on SQLite and Tune as run_sweep sets them up, but trials that report an instant result, for training is not what
is measured. They have one slot: trials shorter than the start of a process would not let a second slot come to be.
Seconds are those from the first trial's start to the last one's end, memory is what the driver has gained in that time.

Each is fitted as seconds ~ size^exponent, a straight line through the logarithms: 1 is linear, for a sweep's seconds
it says that a trial costs as much as ever. What happens once hides growth among few, so the exponent of the last
decade alone is told as well. About five minutes and 1 GB of disk.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from ray import tune

from jobs.benchmarks.child import run_python
from jobs.benchmarks.inputs import generated_store
from jobs.benchmarks.memory import private_mb
from jobs.benchmarks.overhead import spans_of
from jobs.benchmarks.result import Result
from search.home import Home
from search.run.cluster import ray_session
from search.run.progress import Progress
from search.scheduling.ledger import create_study
from search.scheduling.searcher import StudySearcher
from search.space.outcome import Outcome
from search.space.preset import Preset, load
from search.space.trial_config import TrialConfig
from search.space.trial_result import TrialResult
from search.space.trial_spec import TrialSpec
from search.tracking.sync import tracked
from search.tracking.tracker import Tracker
from search.tracking.trial_logger import TrialLogger
from sermodels.config.parsing import dump_yaml
from sermodels.config.settings import STAGES, ChainConfig, FrontEnd, Lane
from sermodels.store.open import open_store
from sermodels.training.batches import Source, draw_order
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport

ROWS = (100, 1000, 10_000, 100_000)
TRIALS: Mapping[str, Sequence[int]] = {"random": (10, 100, 1000), "tpe": (10, 100, 1000)}
FRONTEND = FrontEnd(n_mels=32, width=32)
OPENINGS, BATCHES = 5, 200
CONFIG = ChainConfig(patch="32x1")
NAME = "scale"


def measure(scratch: Path, rows: Sequence[int] = ROWS, trials: Mapping[str, Sequence[int]] = TRIALS) -> Result:
    """Measure stores and sweeps of all sizes.

    Args:
        scratch: an empty folder.
        rows: of the stores, multiples of the four views.
        trials: sampler → sizes of its sweeps.
    """
    stores = [_open_apart(generated_store(scratch / f"{number}.arrow", number, FRONTEND)) for number in rows]
    exponents = {"open": _exponents(rows, [store["open_s"] for store in stores])}
    parts: dict[str, Any] = {"rows": list(rows), **_columns(stores)}
    parts["open_private_kb_a_row"] = _kb_each(rows, parts["open_private_mb"])
    for sampler, sizes in trials.items():
        sweeps = [_sweep_apart(scratch / f"{sampler}-{number}", sampler, number) for number in sizes]
        seconds = [sweep["trials_s"] for sweep in sweeps]
        exponents[sampler] = _exponents(sizes, seconds)
        parts[f"{sampler}_trials"] = list(sizes)
        parts[f"{sampler}_s_a_trial"] = [each / number for each, number in zip(seconds, sizes, strict=True)]
        parts |= {f"{sampler}_{name}": column for name, column in _columns(sweeps).items()}
        parts[f"{sampler}_driver_gains_kb_a_trial"] = _kb_each(sizes, parts[f"{sampler}_driver_gains_mb"])
    for name, (fitted, last) in exponents.items():
        parts |= {f"{name}_exponent": fitted, f"{name}_exponent_of_last_decade": last}
    return Result(
        name="scale",
        compared=f"seconds to open a store of {rows[0]} to {rows[-1]} rows, and seconds of a whole sweep of "
        f"{' or '.join(f'{min(sizes)} to {max(sizes)} trials by {sampler}' for sampler, sizes in trials.items())} that "
        "train nothing, each fitted as size^exponent; the largest exponent",
        value=max(fitted for fitted, _ in exponents.values()),
        unit="as exponent (1: each row, and each trial, costs the same however many there are)",
        required="≤ 1.1",
        limit="1: every row's identity is checked, and every trial is asked for, told and logged",
        parts=parts,
    )


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _exponents(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Over all sizes, and over the last two."""
    return exponent(sizes, seconds), exponent(sizes[-2:], seconds[-2:])


def _kb_each(sizes: Sequence[int], memory_mb: Sequence[float]) -> float:
    """What one more adds to memory, between the smallest size and the largest."""
    return 1e3 * (memory_mb[-1] - memory_mb[0]) / (sizes[-1] - sizes[0])


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _open_apart(path: Path) -> dict[str, float]:
    """What a process of its own finds out about a store."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_open, args=(path, there))
    process.start()
    found = here.recv()
    process.join()
    path.unlink()
    return found


def _open(path: Path, connection: Connection) -> None:
    torch.set_num_threads(1)
    before_mb, openings = private_mb(), []
    for _ in range(OPENINGS):
        began = time.perf_counter()
        store = open_store(path)
        openings.append(time.perf_counter() - began)
    memory_mb = private_mb() - before_mb
    data = TrialData(store, CONFIG)
    source = Source(data=data, targets=torch.empty(1, len(data), 0))
    order = draw_order(data, CONFIG.lanes, stage="teacher", epoch=1, batch=CONFIG.teacher.batch)
    batches = []
    for step in range(BATCHES):
        rows_B = order.rows[0, step % order.rows.shape[1]]
        began = time.perf_counter()
        source.of_lane(0, rows_B)
        batches.append(time.perf_counter() - began)
    connection.send({"open_s": median(openings), "batch_s": median(batches), "open_private_mb": memory_mb})


def _sweep_apart(folder: Path, sampler: str, trials: int) -> dict[str, float]:
    """A sweep in a process of its own."""
    folder.mkdir()
    run_python(f"{trials} trials by {sampler}", "-m", "jobs.benchmarks.scale", folder, sampler, trials)
    return json.loads((folder / "figures.json").read_text())


def main(folder: Path, sampler: str, trials: int) -> None:
    """Sweep, and write seconds and memory."""
    home, preset = Home(root=folder), folder / "preset.yaml"
    space = {"alpha": {"log_uniform": [1, 100]}, "student.lr": {"log_uniform": [1e-4, 1e-2]}}
    preset.write_text(dump_yaml({"description": "x", "space": space, "trials": trials, "sampler": sampler}))
    tracker = Tracker(home.tracking_uri, home.artifacts)
    with ray_session(None):
        before_mb = private_mb()
        _sweep(load(str(preset)), home, tracker)
        memory_mb = private_mb() - before_mb
    spans = spans_of(tracker.client)
    if len(spans) != trials:
        raise RuntimeError(f"{len(spans)} of {trials} trials are in the database")
    seconds = spans[-1].end - min(span.start for span in spans)
    (folder / "figures.json").write_text(json.dumps({"trials_s": seconds, "driver_gains_mb": memory_mb}))


def _sweep(preset: Preset, home: Home, tracker: Tracker) -> None:
    create_study(home.study(NAME), NAME)
    spec = TrialSpec(
        sweep=NAME,
        store="",
        corpus="none",
        fingerprint="none",
        stages=str(home.stages),
        threads=1,
        device="cpu",
        hang_s=60,
    )
    space = preset.parse_space()
    searcher = StudySearcher(
        path=home.study(NAME),
        name=NAME,
        space=space,
        preset=preset,
        fingerprint="none",
        fresh_seeds=(1,),
        stages=home.stages,
        slots=lambda: 1,
    )
    settings = tune.TuneConfig(search_alg=searcher, metric="score", mode="max", num_samples=-1, reuse_actors=True)
    with tracked(home, NAME, tracker) as runs:
        runs.begin(NAME, name=NAME, kind="sweep", sweep=NAME)
        callbacks = [TrialLogger(runs, NAME, spec), Progress(preset.trials, NAME)]
        tune.Tuner(
            tune.with_resources(instant_trial, {"cpu": len(os.sched_getaffinity(0))}),
            tune_config=settings,
            run_config=tune.RunConfig(name=NAME, storage_path=str(home.tune), callbacks=callbacks, verbose=0),
        ).fit()


def instant_trial(config: dict[str, Any]) -> None:
    """In the form of run_trial's: an epoch of each stage, then the final figures."""
    for stage in STAGES:
        metrics = dict.fromkeys(("loss", "lr", "val_uar", "seconds"), 0.5)
        result = TrialResult(epochs=(EpochReport(stage=stage, epoch=1, metrics=metrics, reused=0.5),))
        judged = {"student_epoch": 1, "score": 0.5} if stage == "student" else {}
        tune.report(replace(result, **judged).to_tune())
    score = 1 / (1 + abs(TrialConfig.from_tune(config).params["alpha"] - 10))
    seconds = {f"{stage}/{name}": 0.0 for stage in STAGES for name in ("trained_seconds", "reused_seconds")}
    seconds |= dict.fromkeys(("trained_seconds", "reused_seconds", "duration_s"), 0.0)
    final = {"score": score, "figures": {"val_uar": score, **seconds}, "lanes": {Lane(0, 0): score}}
    tune.report(TrialResult(outcome=Outcome.FINISHED, **final).to_tune())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
