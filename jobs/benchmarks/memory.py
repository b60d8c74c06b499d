"""What memory is a process's own."""

import re
from pathlib import Path


def private_mb() -> float:
    """Unique set size of this process, in MB: without pages that it shares with others."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+) kB", rollup, re.MULTILINE)) * 1024 / 1e6
