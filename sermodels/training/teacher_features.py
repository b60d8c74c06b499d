"""The finished teachers' features: computed once by each teacher, kept in the cache, read by match and student.

R rows of the trial, D feature size.
"""

import torch
from torch import Tensor

from sermodels.config.settings import Lane
from sermodels.training.batches import Source
from sermodels.training.chain_context import ChainContext
from sermodels.training.lanes import infer
from sermodels.training.stage import Stage


class TeacherFeatures:
    """The features of one chain's teachers, held in memory: no pruning of the cache takes them from a run."""

    def __init__(self, context: ChainContext):
        self._context = context
        self._held: dict[Lane, Tensor] = {}

    def of(self, teacher: Stage) -> Tensor:
        """Return a finished teacher's features at the rows of its fold, (rows, D); compute what the cache lacks.

        Raises:
            StageGoneError: neither the features nor the teacher are in the cache.
        """
        if teacher.lane not in self._held:
            self._held[teacher.lane] = self._loaded_or_computed(teacher).to(self._context.data.device)
        return self._held[teacher.lane]

    def table(self, teacher: Stage) -> Tensor:
        """Return the features at the place of their rows, zero elsewhere: (R, D)."""
        data = self._context.data
        table = torch.zeros(len(data), self._context.config.dim, dtype=data.dtype, device=data.device)
        table[self._context.rows(teacher)] = self.of(teacher)
        return table

    def clear(self) -> None:
        """Forget what is held."""
        self._held.clear()

    def _loaded_or_computed(self, teacher: Stage) -> Tensor:
        context = self._context
        features = context.cache.load_features(teacher)
        if features is None:
            source = Source(data=context.data, targets=torch.empty(0))
            features = infer(context.finished(teacher), source, context.rows(teacher)).features
            context.cache.save_features(teacher, features)
        return features
