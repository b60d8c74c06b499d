"""Keeping the stage cache below a size while a sweep runs."""

from typing import Any

from ray.tune import Callback

from sermodels.training.cache import StageCache
from sermodels.training.cache_pruning import prune


class CacheLimit(Callback):
    """Prunes the cache before the first trial and after each."""

    def __init__(self, cache: StageCache, gigabytes: float):
        """Keep `cache` below so many GB (1e9 bytes); what is just being trained stays in any case."""
        self._cache, self._most = cache, gigabytes * 1e9

    def setup(self, *_: Any, **__: Any) -> None:
        """Prune before the first trial."""
        prune(self._cache, self._most)

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        """Prune after a trial."""
        prune(self._cache, self._most)
