"""The store named on a command line, fetched first if it lies elsewhere."""

from pathlib import Path

from jobs.shared.progress import counted
from sermodels.store.fetch import local_store


def found(where: str) -> Path:
    """The file of a store on this machine; see `local_store`. Shows how far fetching is."""
    with counted("MB of the store fetched") as progress:
        return local_store(where, progress)
