"""What the three stages of one chain share: configuration, rows, cache, and the networks built or loaded from them."""

from dataclasses import dataclass

from torch import Tensor

from sermodels.config.settings import ChainConfig
from sermodels.networks.factory import AnyNetwork, Builder
from sermodels.training.cache import StageCache
from sermodels.training.data import TrialData
from sermodels.training.lanes import LoopedLanes, StackedLanes, network_state
from sermodels.training.stage import Stage


class StageGoneError(Exception):
    """A finished stage is no longer in the cache: somebody deleted or pruned it meanwhile."""


@dataclass(frozen=True, kw_only=True)
class ChainContext:
    """One configuration on one store, with the cache that its stages are kept in."""

    config: ChainConfig
    data: TrialData
    cache: StageCache
    build: Builder
    lanes_type: type[LoopedLanes] | type[StackedLanes]  # how lanes are trained together
    owner: str  # recorded in the training log

    def fresh(self, stage: Stage) -> AnyNetwork:
        """Return the network of a stage with the parameters that its seed gives."""
        return self.build(stage.name, stage.lane.seed).to(self.data.device)

    def finished(self, stage: Stage) -> AnyNetwork:
        """Return the network of a stage as the stage leaves it.

        Raises:
            StageGoneError: the stage is not, or no longer, in the cache.
        """
        network = self.fresh(stage)
        if stage.epochs == 0:
            return network
        checkpoint = self.cache.find(stage)
        if checkpoint is None or checkpoint.epoch != stage.epochs:
            raise StageGoneError(f"{stage} is not in {self.cache.root}")
        network.load_state_dict(network_state(checkpoint.load(self.data.device)))
        return network

    def rows(self, stage: Stage) -> Tensor:
        """Return the rows of a stage's fold, both sides, ascending: indices into the rows of TrialData."""
        return self.data.folds[stage.lane.fold].rows
