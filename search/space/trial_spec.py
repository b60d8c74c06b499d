"""What all trials of a sweep share."""

from dataclasses import dataclass

RETRIES = 3  # of a trial whose process or node died


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """What all trials of a sweep share. Plain values: it travels to other nodes."""

    sweep: str  # its name
    store: str  # absolute path, the same on every node; or an address, to fetch it from once a node
    corpus: str  # that the store was built from
    fingerprint: str  # of the store that the sweep was planned on
    stages: str  # absolute path of the stage cache
    threads: int
    device: str  # "cpu" or "cuda"
    hang_s: int  # seconds without a finished step after which the process ends itself
