"""How a trial or a sweep ends."""

from enum import StrEnum


class Outcome(StrEnum):
    """Recorded as text: in the tag `ser.outcome` of a run, and in the records of a sweep."""

    FINISHED = "finished"
    PRUNED = "pruned"  # stopped by the scheduler
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # its driver ended before it did
    WAITING = "waiting"  # no end: a stage that it needs is being trained by another process, and it is started again
    UNDER_WAY = "under way"  # no end yet
