"""What one trial trains, resolved once: by the searcher, which hands it to Tune."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search.space.space import Space, configure
from sermodels.config.parsing import merged
from sermodels.config.settings import STAGES, ChainConfig, StageName
from sermodels.errors import UserError

Kind = Literal["trial", "confirmation"]  # a confirmation trains one of the best again, on fresh seeds
_TUNE = "trial"  # key of Tune's configuration


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """A proposal and the configuration that it stands for."""

    kind: Kind
    params: Mapping[str, Any]  # what varies in the sweep: dotted keys of ChainConfig → values
    chain: ChainConfig | None  # None: there is no such configuration
    impossible: str = ""  # why

    @property
    def key(self) -> str:
        """Kind and params as text: the same for the same configuration."""
        return f"{self.kind}/{Space.key(self.params)}"

    def epochs(self) -> dict[StageName, int]:
        """Return how many epochs each stage has."""
        return {stage: self.chain.settings(stage).epochs if self.chain else 0 for stage in STAGES}

    def to_tune(self) -> dict[str, Any]:
        """Return what Tune takes for the configuration of a trial."""
        return {_TUNE: self}

    @staticmethod
    def from_tune(config: Mapping[str, Any]) -> "TrialConfig":
        """Read what `to_tune` returned."""
        trial: TrialConfig = config[_TUNE]
        return trial

    def __str__(self) -> str:
        return self.kind  # Tune names a folder of its scratch files by the text of a configuration


def resolve(
    kind: Kind, params: Mapping[str, Any], chain: Mapping[str, Any], fresh_seeds: tuple[int, ...]
) -> TrialConfig:
    """Return what a proposal stands for.

    Args:
        kind: of the trial.
        params: dotted keys of ChainConfig → values, as a Space proposes them.
        chain: the preset's fixed settings, nested.
        fresh_seeds: of a confirmation, in place of the chain's.
    """
    if kind == "confirmation":
        chain = merged(chain, {"seeds": list(fresh_seeds)})
    try:
        return TrialConfig(kind=kind, params=dict(params), chain=configure(chain, params))
    except UserError as error:
        return TrialConfig(kind=kind, params=dict(params), chain=None, impossible=str(error))
