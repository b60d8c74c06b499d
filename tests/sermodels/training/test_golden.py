"""The arithmetic of the stages against stored figures, so that it does not change without its number being raised.

Finished stages are reused by key, and a key holds STAGE_VERSION: figures that change under the same number would
be mixed with figures of before, in silence.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sermodels.config.parsing import merged, parse
from sermodels.config.settings import STAGES, ChainConfig
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport
from sermodels.training.stage import STAGE_VERSION

FILE = Path(__file__).with_name("golden_chain.json")
REGENERATE = "python tests/sermodels/training/test_golden.py"
SMALL = {
    "patch": "8x2",
    "dim": 8,
    "mlp": 6,
    "head_dim": 3,
    "alpha": 2,
    "precision": "float64",
    "folds": [0, 1],
    "teacher": {"epochs": 3, "batch": 10, "lr": 0.01, "halve_every": 2, "depth": 1, "heads": 2, "stem": [2, 1]},
    "match": {"epochs": 2, "batch": 10, "lr": 0.02, "halve_every": 1},
    "student": {"epochs": 3, "batch": 7, "lr": 0.01, "halve_every": 2, "depth": 2, "heads": 2},
}
CHAINS = {
    "ice, class token": {},
    "sinusoidal, mean": {"encoding": "sinusoidal", "pooling": "mean", "teacher.stem": []},
    "learned, by utterance": {"encoding": "learned", "protocol": "utterance", "patch": "4x4"},
    "no encoding, as in the paper": {"encoding": "none", "protocol": "paper", "seeds": [7]},
}


@dataclass(frozen=True)
class FixedStore:
    """The columns of a store that a trial reads, computed in whole numbers: 20 clips × 4 views of 8 × 8 pixels."""

    pixels: np.ndarray
    speaker: np.ndarray
    emotion: np.ndarray
    clip: np.ndarray
    view: np.ndarray
    emotions: tuple[str, ...] = ("a", "b", "c", "d")
    fingerprint: str = "fixed arrays"


def fixed_store() -> FixedStore:
    clip = np.repeat(np.arange(20), 4)
    emotion, view = clip % 4, np.tile(np.arange(4), 20)
    image, height, width = np.meshgrid(np.arange(80), np.arange(8), np.arange(8), indexing="ij")
    wave = (31 * (emotion[image] + 1) * height + 7 * clip[image] * width + 13 * view[image]) % 251
    return FixedStore(
        pixels=(wave / 256).astype(np.float16),  # exact
        speaker=np.array([f"s{number}" for number in clip // 4]),
        emotion=emotion,
        clip=clip,
        view=np.array(["original", "noise", "shift", "speed"])[view],
    )


def figures(changes: dict, root: Path) -> dict[str, list[float]]:
    """Of every stage the training losses and validation figures, epoch after epoch."""
    config = parse(ChainConfig, merged(SMALL, changes), "golden")
    found: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def report(done: EpochReport) -> None:
        for name, value in done.metrics.items():
            if name in ("loss", "val_loss", "val_l1", "val_cosine", "val_uar", "val_uar_std"):
                found[done.stage].append(value)

    Chain(config, TrialData(fixed_store(), config), StageCache(root)).run(report)
    return found


@pytest.mark.parametrize("name", CHAINS)
def test_figures_change_only_with_the_version_of_their_stage(tmp_path, name):
    stored = json.loads(FILE.read_text())
    assert stored["STAGE_VERSION"] == STAGE_VERSION, (
        f"{FILE.name} was made with STAGE_VERSION {stored['STAGE_VERSION']}, now it is {STAGE_VERSION}: "
        f"regenerate it with {REGENERATE}"
    )
    found = figures(CHAINS[name], tmp_path)
    for stage in STAGES:
        assert found[stage] == pytest.approx(stored["figures"][name][stage], rel=0, abs=1e-6), (
            f"the numbers of the {stage} stage changed: if that is meant, raise STAGE_VERSION[{stage!r}] in "
            f"sermodels/training/stage.py and regenerate {FILE.name} with {REGENERATE}"
        )


def regenerate() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {name: figures(changes, Path(folder) / name) for name, changes in CHAINS.items()}
    FILE.write_text(json.dumps({"STAGE_VERSION": STAGE_VERSION, "figures": found}, indent=1) + "\n")


if __name__ == "__main__":
    regenerate()
