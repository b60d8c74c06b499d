"""Chains on the small store, and whether two of them came to the same.

A module of tests takes the fixtures as its own, `train = chains.train`, and has a `finished` chain for itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sermodels.config.settings import STAGES, ChainConfig
from sermodels.store.open import Store
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.chain_result import ChainResult
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport

State = Mapping[str, torch.Tensor]
TWO_LANES = {  # of 88 and 92 rows: 3 and 4 steps an epoch, all with a part of a batch at the end
    "protocol": "utterance",
    "folds": [0, 4],
    **{f"{stage}.batch": 30 for stage in STAGES},
}


class InterruptedHereError(Exception):
    """As if the process had been killed, at a place of the test's choosing."""


@dataclass
class Trained:
    """What came of a chain: its figures without seconds, and its students."""

    result: ChainResult
    reports: list[EpochReport]
    students: list[State]

    @property
    def scores(self) -> tuple[tuple[float, ...], ...]:
        return (self.result.val_uar, self.result.val_wa, self.result.val_macro_f1, self.result.best_val_uar)

    @property
    def figures(self) -> list[tuple[int, dict[str, float]]]:
        """The reports, without what depends on the clock and on the cache."""
        dropped = ("/seconds", "/reused")
        return [(r.epoch, {k: v for k, v in r.figures().items() if not k.endswith(dropped)}) for r in self.reports]

    @property
    def trained_s(self) -> float:
        return sum(self.result.trained_seconds.values())

    def reused(self, stage: str) -> list[float]:
        return [report.reused for report in self.reports if report.stage == stage]


@pytest.fixture(scope="module")
def train(store: Store) -> Callable[..., Trained]:
    def run(config, cache, of=store, stacked=None, report=lambda *_: None, tick=lambda: None) -> Trained:
        cache = StageCache(cache) if isinstance(cache, Path) else cache
        chain = Chain(config, TrialData(of, config), cache, stacked=stacked)
        reports = []

        def keep_and_report(done: EpochReport) -> None:
            reports.append(done)
            report(done)

        result = chain.run(keep_and_report, tick)
        return Trained(
            result, reports, [chain.network("student", lane).state_dict() for lane in range(len(config.lanes))]
        )

    return run


@pytest.fixture(scope="module")
def config(tiny_config) -> ChainConfig:
    return tiny_config(**TWO_LANES)


@pytest.fixture(scope="module")
def finished(train, config, tmp_path_factory) -> tuple[Trained, Path]:
    """A chain that nothing disturbed, and its cache. Read-only."""
    root = tmp_path_factory.mktemp("finished")
    return train(config, root), root


def assert_same(one: Trained, other: Trained) -> None:
    assert one.scores == other.scores
    assert one.figures == other.figures
    assert_same_students(one.students, other.students)


def assert_same_students(one: list[State], other: list[State]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def tensors(root: Path) -> dict[str, State]:
    """Every checkpoint and table of features below a cache's folder."""
    return {path.relative_to(root).as_posix(): load_file(path) for path in root.rglob("*.safetensors")}


def assert_same_caches(one: Path, other: Path) -> None:
    a, b = tensors(one), tensors(other)
    assert a.keys() == b.keys()
    assert_same_students([a[name] for name in sorted(a)], [b[name] for name in sorted(b)])
