"""The systems, tables and questions of systems.yaml, and the configurations that stand for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sermodels.config.constraints import checked
from sermodels.config.parsing import load_yaml, merged, parse, unknown
from sermodels.config.settings import ChainConfig, Protocol, StageName
from sermodels.errors import UserError

Size = Literal["full", "reduced"]
FILE = Path(__file__).with_name("systems.yaml")


@dataclass(frozen=True, kw_only=True)
class SizeSettings:
    """How large networks are, and how long they train."""

    about: str
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class System:
    """A row: a configuration, and what the paper prints of it."""

    title: str
    stage: StageName  # whose network is judged
    settings: dict[str, Any]  # laid over those of the size
    reduced: dict[str, Any] = field(default_factory=dict)  # laid over these, at the size `reduced`
    shuffled: bool = False  # on the store whose columns of time are in random order
    width: int | None = None  # of the images, for complexity alone
    needs_gpu: tuple[Size, ...] = ()  # sizes at which training on a CPU takes hours an epoch
    printed: dict[str, float] = field(default_factory=dict)  # corpus → accuracy in %
    printed_gmacs: float | None = None
    printed_mparameters: float | None = None


@dataclass(frozen=True, kw_only=True)
class Literature:
    """A row that is cited, not run."""

    title: str
    printed: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Systems that are shown together."""

    title: str
    rows: tuple[str, ...]
    literature: bool = False


@dataclass(frozen=True, kw_only=True)
class Question:
    """Is the first system better than the second?"""

    ask: str
    systems: tuple[str, str]


@checked
class Book:
    """All of systems.yaml."""

    sizes: dict[Size, SizeSettings]
    systems: dict[str, System]
    literature: tuple[Literature, ...]
    tables: dict[str, Table]
    questions: tuple[Question, ...]

    def system(self, name: str, where: str = FILE.name) -> System:
        """A system by its name; `where` says in an error who named it.

        Raises:
            UserError: there is none of this name.
        """
        if name not in self.systems:
            raise UserError(f"{where}: {unknown('system', name, self.systems)}")
        return self.systems[name]

    def config(self, name: str, size: Size, changes: Mapping[str, Any]) -> ChainConfig:
        """The configuration of a system.

        Args:
            name: of the system.
            size: of its networks.
            changes: dotted settings laid over all: protocol, folds, seeds.
        """
        system = self.system(name)
        settings = merged(self.sizes[size].settings, system.settings)
        if size == "reduced":
            settings = merged(settings, system.reduced)
        return parse(ChainConfig, merged(settings, changes), f"{FILE.name}: {name}")


def read_book() -> Book:
    """Read systems.yaml."""
    return parse(Book, load_yaml(FILE), FILE.name)


# What a person types → the protocol that judges a fixed configuration.
PROTOCOLS: dict[str, Protocol] = {
    "paper": "paper",
    "utterance": "utterance_folds",
    "speaker": "speaker_folds",
    "loso": "loso",
    "sentence": "sentence_folds",
    "speaker-sentence": "speaker_sentence_folds",
}
