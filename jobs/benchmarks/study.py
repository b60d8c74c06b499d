"""The small search that `reuse` and `sweep` measure: 2 teachers × 3 students × 4 values of α = 24 configurations.

The networks have the paper's sizes: its teacher with and without positional encoding, and students around its depth of
three blocks, whose mean cost is that of its student. Recordings and epochs are few, so that it takes minutes; how much
of the work a search can share depends on neither.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from sermodels.config.parsing import flatten, merged, parse
from sermodels.config.settings import STAGES, Augmentation, ChainConfig, FrontEnd, StageName
from sermodels.corpora import synthetic
from sermodels.store.build import build
from sermodels.store.open import Store

SPACE: Mapping[str, list[Any]] = {
    "encoding": ["ice", "none"],  # of the teacher
    "student": [{"depth": depth, "heads": 5} for depth in (2, 3, 4)],
    "alpha": [1.0, 3.0, 10.0, 30.0],
}
DISTINCT: Mapping[StageName, int] = {"teacher": 2, "match": 6, "student": 24}  # stages of the space


@dataclass(frozen=True, kw_only=True)
class Study:
    """What all 24 configurations share, and the recordings they are trained on."""

    chain: Mapping[str, Any]  # settings of ChainConfig, nested; the others are the paper's
    frontend: FrontEnd = field(default_factory=FrontEnd)

    def params(self) -> Iterator[dict[str, Any]]:
        """What each configuration has of its own, by dotted keys of ChainConfig; neighbours share most."""
        for values in product(*SPACE.values()):
            yield flatten(dict(zip(SPACE, values, strict=True)))

    def configurations(self) -> list[ChainConfig]:
        """All 24, in the order of `params`."""
        return [parse(ChainConfig, merged(self.chain, params), "study") for params in self.params()]

    def store(self, scratch: Path) -> Store:
        """Write recordings and build their store: 3 speakers, one each to train, validate and test, 7 clips of each.

        The recordings lie in scratch/recordings, below which a clip's id is its path; the store is study.arrow.
        """
        corpus = synthetic.read(scratch / "recordings", speakers=3, clips_per_emotion=1)
        out, augmentation = scratch / "study.arrow", Augmentation()
        return build(corpus, out, self.frontend, augmentation, 0, workers=1, strict=True, progress=lambda *_: None)


def paper_sized(epochs: int) -> Study:
    """The study with the paper's networks, batches and learning rate, and so many epochs of every stage."""
    return Study(chain={stage: {"epochs": epochs} for stage in STAGES})
