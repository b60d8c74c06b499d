"""`reuse`: training seconds of a search with and without sharing stages between its trials.

The 24 configurations of study.py are trained one after the other, by one process with one thread: each once with a
stage cache that all share, and once with an empty cache of its own, as if it were alone. The two take turns, and turns
in who begins, so that a noisy machine hits both. Both do the same otherwise: the same chain, the same store, every
checkpoint written. Scores and the parameters of every trained student must be equal to the bit, or there is no result.

The limit is what remains if finding a stage in the cache costs nothing. With T, F, M, S the seconds of a teacher, of
its features, of a match and of a student, each the mean over the configurations trained alone,

    24 · (T + F + M + S) / (2 · (T + F) + 6 · M + 24 · S)

Paper-size networks on one core: about 6 minutes and 1 GB of disk.
"""

import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from jobs.benchmarks.result import Result
from jobs.benchmarks.study import DISTINCT, Study, paper_sized
from jobs.shared.progress import counted
from sermodels.config.settings import STAGES, ChainConfig
from sermodels.memory import keep_freed
from sermodels.store.open import Store
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport

EPOCHS = 2  # of every stage
PARTS = ("teacher", "features", "match", "student")  # of a run, in their order


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A configuration after its training."""

    seconds: Mapping[str, float]  # of each stage, and of the features between teacher and match: by PARTS
    val_uar: tuple[float, ...]  # of each lane
    student: Mapping[str, torch.Tensor]  # parameters of the first lane

    @property
    def total_s(self) -> float:
        """Seconds of the whole run."""
        return sum(self.seconds.values())


def measure(scratch: Path, study: Study | None = None) -> Result:
    """Train all configurations both ways.

    Args:
        scratch: an empty folder.
        study: what to train; None: paper-size networks.

    Raises:
        RuntimeError: sharing changed a score or a parameter.
    """
    torch.set_num_threads(1)
    keep_freed()
    study = study or paper_sized(EPOCHS)
    store, configs = study.store(scratch), study.configurations()
    shared: list[Trained] = []
    alone: list[Trained] = []
    with counted("configurations, both ways") as progress:
        for number, config in enumerate(configs, start=1):
            ways = [(shared, scratch / "shared"), (alone, scratch / "alone")]
            for trained, cache in ways if number % 2 else reversed(ways):
                trained.append(_train(config, store, cache))
            shutil.rmtree(scratch / "alone")
            _require_equal(config, shared[-1], alone[-1])
            progress(number, len(configs))
    return _result(configs[0], shared, alone)


def _train(config: ChainConfig, store: Store, cache: Path) -> Trained:
    data = TrialData(store, config)
    chain, clock = Chain(config, data, StageCache(cache)), _StageClock(config)
    result = chain.run(clock)
    return Trained(seconds=clock.finish(), val_uar=result.val_uar, student=chain.network("student", 0).state_dict())


class _StageClock:
    """Wall seconds of the stages of one run, from its reports: together they are the whole run."""

    def __init__(self, config: ChainConfig):
        self._config = config
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._last = time.perf_counter()

    def __call__(self, report: EpochReport) -> None:
        """An epoch has ended. Before the first one of match the features are computed or loaded."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        if report.stage == "match" and report.epoch == 1:
            trained = report.metrics["seconds"] * len(self._config.lanes) * (1 - report.reused)
            self._seconds["features"] = elapsed - trained
            elapsed = trained
        self._seconds[report.stage] += elapsed

    def finish(self) -> dict[str, float]:
        """The run has ended."""
        self._seconds["student"] += time.perf_counter() - self._last
        return self._seconds


def _require_equal(config: ChainConfig, shared: Trained, alone: Trained) -> None:
    same = shared.student.keys() == alone.student.keys() and all(
        torch.equal(tensor, alone.student[name]) for name, tensor in shared.student.items()
    )
    if shared.val_uar != alone.val_uar or not same:
        raise RuntimeError(f"sharing stages changed the result: UAR {shared.val_uar}, alone {alone.val_uar}: {config}")


def _result(config: ChainConfig, shared: list[Trained], alone: list[Trained]) -> Result:
    shared_s, alone_s = (sum(trained.total_s for trained in side) for side in (shared, alone))
    mean = {part: statistics.fmean(trained.seconds[part] for trained in alone) for part in PARTS}
    least_s = _shared_s(mean)
    long = {**mean, "features": 0.0}  # computed once, whatever the number of epochs
    return Result(
        name="reuse",
        compared=f"{len(alone)} configurations (2 teachers × 3 students × 4 α) with one shared stage cache, against "
        "each with an empty one of its own; one process, one thread; scores and parameters equal to the bit",
        value=alone_s / shared_s,
        unit="× fewer training seconds",
        required="≥ 4",
        limit=f"each distinct stage trained once and found for nothing: {_alone_s(mean) / least_s:.2f}×",
        parts={
            "alone_s": alone_s,
            "shared_s": shared_s,
            "finding_stages_s": shared_s - least_s,
            **{f"mean_{part}_s": seconds for part, seconds in mean.items()},
            **{f"{stage}_epochs": config.settings(stage).epochs for stage in STAGES},
            "limit_of_many_epochs": _alone_s(long) / _shared_s(long),
        },
    )


def _alone_s(mean: Mapping[str, float]) -> float:
    return DISTINCT["student"] * sum(mean.values())


def _shared_s(mean: Mapping[str, float]) -> float:
    teachers_s = DISTINCT["teacher"] * (mean["teacher"] + mean["features"])
    return teachers_s + DISTINCT["match"] * mean["match"] + DISTINCT["student"] * mean["student"]
