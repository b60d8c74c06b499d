"""What a trial receives of a store: images, labels and, by fold, its rows. Test rows are not in it.

R rows of the trial (all but the test side), n rows asked for, H × W pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sermodels.config.settings import ChainConfig
from sermodels.store.open import Store
from sermodels.store.splits import Split, split


@dataclass(frozen=True, kw_only=True)
class FoldRows:
    """Rows of one fold, as numbers into the trial's R rows."""

    train: Tensor  # int64, every view; with `all_data` of the validation side, too
    valid: Tensor  # int64, original views (any view under `paper`)

    @property
    def rows(self) -> Tensor:
        """Both sides, in order."""
        both: Tensor = torch.cat([self.train, self.valid]).unique()
        return both


class TrialData:
    """The rows of a store that a trial may see.

    On a CPU the images stay in the memory-mapped store, shared by all trials of a node; on another device they
    are copied there once.
    """

    def __init__(self, store: Store, config: ChainConfig, device: str = "cpu"):
        splits = {fold: _sides(store, config, fold) for fold in config.folds}
        rows = np.unique(np.concatenate([np.concatenate([s.train, s.valid]) for s in splits.values()]))
        self.fingerprint = store.fingerprint
        self.classes = len(store.emotions)
        self.image: tuple[int, int] = store.pixels.shape[1:]
        self.device, self.dtype = device, getattr(torch, config.precision)
        self.labels = torch.from_numpy(store.emotion[rows].astype(np.int64)).to(device)
        self.folds = {fold: _fold_rows(rows, s.train, s.valid, device) for fold, s in splits.items()}
        self._rows, self._pixels = rows, store.pixels
        self._resident = None if device == "cpu" else torch.from_numpy(store.pixels[rows]).to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, rows: Tensor) -> Tensor:
        """The images of some rows, (n,) or (lanes, n): (…, n, 1, H, W) in the trial's precision, within 0…1."""
        if self._resident is None:
            pixels = torch.from_numpy(self._pixels[self._rows[rows.numpy()]])
        else:
            pixels = self._resident[rows]
        return pixels.to(self.dtype).unsqueeze(-3)


def _sides(store: Store, config: ChainConfig, fold: int) -> Split:
    return split(store, config.protocol, fold, config.split_seed, all_data=config.all_data)


def _fold_rows(rows: np.ndarray, train: np.ndarray, valid: np.ndarray, device: str) -> FoldRows:
    place = {"train": np.searchsorted(rows, train), "valid": np.searchsorted(rows, valid)}
    return FoldRows(**{side: torch.from_numpy(numbers).to(device) for side, numbers in place.items()})
