"""The training log: one line for each epoch of each lane of each stage that was trained, appended and never changed.

It lies beside the checkpoints, one file a lane, which only the process that holds the lane's claim writes. Pruning the
cache leaves it. A line is written when an epoch's arithmetic is done and before its checkpoint is: a process killed
between the two trains that epoch again, and the log says so. So it does when an epoch was pruned and is needed again,
and when a key is trained for fewer epochs than it already was, of which only the last is kept.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

FILE = "training.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An epoch that was trained."""

    stage: str
    key: str  # of the lane
    epoch: int  # 1 is the first
    fold: int
    seed: int
    seconds: float  # it took
    owner: str  # the trial, or what else trained it
    host: str = field(default_factory=platform.node)
    pid: int = field(default_factory=os.getpid)
    time_s: float = field(default_factory=time.time)  # its end, since 1970


def append(folder: Path, entry: Entry) -> None:
    """Add a line to the log of the lane whose files lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(entry)) + "\n")


def read(folder: Path) -> Iterator[Entry]:
    """The entries of one lane, in order; a line that a full disk cut short is passed over with a warning."""
    path = folder / FILE
    if not path.exists():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            logger.warning("%s, line %d: not an entry, passed over", path, number)


def read_all(root: Path) -> list[Entry]:
    """The entries of all lanes of the stage cache at `root`, in order of time."""
    folders = (path.parent for path in root.glob(f"*/*/{FILE}"))
    return sorted((entry for folder in folders for entry in read(folder)), key=lambda entry: entry.time_s)
