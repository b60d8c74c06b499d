"""Sweeps in processes of their own, started fresh."""

import os
import subprocess
import sys
from pathlib import Path

JOBS = Path(__file__).parents[1]
STATE = ("RAY_ADDRESS", "SER_HOME", "MLFLOW_TRACKING_URI")  # of the user's environment: a benchmark is on its own


def run_python(title: str, *words: object) -> None:
    """Run Python with some words, its output on standard error.

    Raises:
        CalledProcessError: it failed.
    """
    print(title, file=sys.stderr, flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in STATE}
    subprocess.run([sys.executable, *map(str, words)], env=environment, stdout=sys.stderr, check=True)
