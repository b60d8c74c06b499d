"""One configuration trained: its rows, stages, lanes and losses, and the cache of finished stages."""
