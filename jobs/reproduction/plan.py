"""Which configurations, on which store, a run of jobs/paper.py has to train."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reproduction.systems import PROTOCOLS, Book, Size
from search.stage_graph import Wanted
from sermodels.networks import require_fit
from sermodels.splits import FOLDS, count_folds, split
from sermodels.store import Store
from sermodels.store_shuffle import shuffled


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the tables ask for."""

    book: Book
    store: Store
    address: str | None  # that the store was fetched from; None: all nodes find it at its path
    stores: Path  # folder for the store with shuffled columns
    protocol: str  # as a person types it, of PROTOCOLS
    size: Size
    folds: tuple[int, ...]  # empty: those that are usual
    seeds: tuple[int, ...]
    ast_weights: Path | None  # that AST starts from at full size
    gpu: bool  # systems that need one are trained

    def wanted(self, tables: Sequence[str], only: Sequence[str]) -> dict[str, Wanted]:
        """The systems of some tables that are to be trained, by name; only those named, if any are.

        Raises:
            UserError: an unknown name, images that the patches do not fit, or a protocol or fold that the store
            does not offer.
        """
        for name in only:
            self.book.system(name)
        names = dict.fromkeys(row for table in tables if table != "complexity" for row in self.book.tables[table].rows)
        return {name: self._wanted(name) for name in names if self._is_trained(name) and (not only or name in only)}

    def starts_from_weights(self, name: str) -> bool:
        """Whether a system starts from the weights that were given."""
        is_ast = self.book.system(name).settings.get("teacher.network") == "ast"
        return is_ast and self.ast_weights is not None and self.size == "full"

    def _is_trained(self, name: str) -> bool:
        return self.gpu or self.size not in self.book.system(name).needs_gpu

    def _wanted(self, name: str) -> Wanted:
        system, protocol = self.book.system(name), PROTOCOLS[self.protocol]
        offered = count_folds(self.store, protocol)
        usual = range(FOLDS if protocol == "speaker_sentence_folds" and offered > FOLDS else offered)
        changes = {"protocol": protocol, "folds": list(self.folds or usual), "seeds": list(self.seeds)}
        if self.starts_from_weights(name):
            changes["teacher.weights"] = str(self.ast_weights.absolute())
        store, where = self.store, self.address
        if system.shuffled:
            copy = self.stores / f"shuffled-{store.fingerprint[:12]}.arrow"
            store, where = shuffled(store, copy), None
        config = self.book.config(name, self.size, changes)
        require_fit(config.patch_shape, self.store.pixels.shape[1:])
        for fold in config.folds:
            split(self.store, protocol, fold, config.split_seed)
        return Wanted(
            config=config,
            stage=system.stage,
            store=where or str(store.path.absolute()),
            fingerprint=store.fingerprint,
        )
