"""Which configurations, on which store, stand for the systems of the tables; and which of them a run is to train."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.reproduction.systems import PROTOCOLS, Book, Size, System
from search.run.stage_graph import Wanted
from sermodels.errors import UserError
from sermodels.networks.network import require_fit
from sermodels.networks.peers.ast import width_of_deit
from sermodels.store.open import Store
from sermodels.store.shuffle import shuffled, shuffled_fingerprint
from sermodels.store.splits import FOLDS, count_folds, split


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the tables ask for."""

    book: Book
    store: Store
    address: str | None  # that the store was fetched from; None: all nodes find it at its path
    stores: Path  # folder for the store with shuffled columns
    protocol: str  # as a person types it, of PROTOCOLS
    size: Size
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    ast_weights: Path | None  # that the AST of its width starts from at full size
    gpu: bool  # systems that need one are trained

    def check(self) -> None:
        """Make sure that the store offers what is asked for, before anything is trained.

        Raises:
            UserError: a fold or seed twice, a fold that there is not, or images that the patches do not fit.
        """
        for flag, values in (("--folds", self.folds), ("--seeds", self.seeds)):
            if len(set(values)) < len(values) or min(values) < 0:
                raise UserError(f"{flag} {' '.join(map(str, values))}: expected distinct numbers, 0 or more")
        for fold in self.folds:
            split(self.store, PROTOCOLS[self.protocol], fold, 0)
        require_fit((128, 1), self.store.pixels.shape[1:])

    def to_train(self, tables: Sequence[str], only: Sequence[str]) -> dict[str, Wanted]:
        """The systems of some tables that are to be trained here, by name.

        Args:
            tables: their names.
            only: systems, if not all of the tables'.

        Raises:
            UserError: a system that is unknown, in none of the tables, or not to be trained without a GPU; a library
                that is not installed; weights that none of them starts from.
        """
        rows = dict.fromkeys(row for name in tables if name != "complexity" for row in self.book.tables[name].rows)
        for name in only:
            self.book.system(name, "--systems")
            if name not in rows:
                raise UserError(f"--systems {name}: is in none of the tables asked for")
            if not self._is_trained(name):
                raise UserError(f"--systems {name}: takes hours an epoch on a CPU: give --gpus")
        chosen = [name for name in only or rows if self._is_trained(name)]
        if any(map(self._is_ast, chosen)) and not importlib.util.find_spec("transformers"):
            raise UserError("AST needs transformers: pip install '.[peers]', or name other --systems")
        if self.ast_weights and not any(map(self._weights, chosen)):
            raise UserError(f"--ast-weights {self.ast_weights}: no AST of this width is to be trained, at --size full")
        return {name: self.wanted(name) for name in chosen}

    def wanted(self, name: str) -> Wanted:
        """What stands for a system, on the folds and seeds asked for."""
        system = self.book.system(name)
        changes = {"protocol": PROTOCOLS[self.protocol], "folds": list(self.folds), "seeds": list(self.seeds)}
        if weights := self._weights(name):
            changes["teacher.weights"] = str(weights.absolute())
        copy = self._shuffled_copy()
        return Wanted(
            config=self.book.config(name, self.size, changes),
            stage=system.stage,
            store=str(copy) if system.shuffled else self.address or str(self.store.path.absolute()),
            fingerprint=shuffled_fingerprint(self.store) if system.shuffled else self.store.fingerprint,
        )

    def prepare(self, names: Sequence[str]) -> None:
        """Write the store with shuffled columns, if one of some systems needs it."""
        if any(self.book.system(name).shuffled for name in names):
            shuffled(self.store, self._shuffled_copy())

    def _is_trained(self, name: str) -> bool:
        return self.gpu or self.size not in self.book.system(name).needs_gpu

    def _weights(self, name: str) -> Path | None:
        """The folder that a system starts from."""
        if not self.ast_weights or self.size != "full" or not self._is_ast(name):
            return None
        fits = self.book.system(name).settings["dim"] == width_of_deit(self.ast_weights)
        return self.ast_weights if fits else None

    def _is_ast(self, name: str) -> bool:
        return is_ast(self.book.system(name))

    def _shuffled_copy(self) -> Path:
        return (self.stores / f"shuffled-{self.store.fingerprint[:12]}.arrow").absolute()


def is_ast(system: System) -> bool:
    """Whether a system is built by the library transformers."""
    return system.settings.get("teacher.network") == "ast"


def usual_folds(store: Store, protocol: str) -> tuple[int, ...]:
    """The folds of a protocol, as a person types it; of speaker-sentence those that hear every speaker once."""
    offered = count_folds(store, PROTOCOLS[protocol])
    if protocol == "speaker-sentence":
        offered = min(len(np.unique(store.speaker)), FOLDS)
    return tuple(range(offered))
