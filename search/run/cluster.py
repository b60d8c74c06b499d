"""The connection to Ray: a cluster's, or a Ray of our own on this machine."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from search.library_internals import hush_tune, ray_on_loopback
from sermodels.errors import UserError

SETTINGS = {
    # Teacher and match epochs report no score, on purpose: Tune would end the sweep at the first of them.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Its own tables, which `verbose=0` does not silence in the newer form of output.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Its own files are scratch, never read again: neither its state, whose size grows with every trial, nor its tables.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The searcher says how many trials may wait for a process: Tune alone would start the processes one by one.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    # Ctrl-C reaches us as an exception, so that runs are closed on the way out.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


def living_nodes() -> list[Mapping[str, float]]:
    """Return what each node that is alive now has in all: `CPU`, `GPU` and others."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray leaves it without annotations
    return [node["Resources"] for node in nodes if node["Alive"]]


def slots(cpus: float, gpus: float) -> int:
    """Return how many trials the nodes that are alive now can hold at once; at least 1.

    Args:
        cpus: cores of a trial.
        gpus: GPUs, or a part of one, of a trial.
    """
    needs = {resource: need for resource, need in (("CPU", cpus), ("GPU", gpus)) if need > 0}
    return max(1, sum(min(int(node.get(name, 0) / need) for name, need in needs.items()) for node in living_nodes()))


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connect, and disconnect at the end.

    Args:
        address: of a cluster, or "auto" for the one on this machine; None: RAY_ADDRESS if it is set, as in a Ray job,
            else a Ray of our own, with all cores and a token that Ray makes, ended at the end.

    Raises:
        UserError: no cluster answers at the address.
    """
    os.environ.update(SETTINGS)
    hush_tune()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    address = address or os.environ.get("RAY_ADDRESS")
    if address:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except ConnectionError as error:
            raise UserError(
                f"--address {address}: no Ray cluster answers there: {str(error).splitlines()[0]}"
            ) from None
    else:
        with ray_on_loopback():
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would abort the process
    try:
        yield
    finally:
        ray.shutdown()
