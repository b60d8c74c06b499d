"""Writes sweeps to a tracker, as drivers do: `python writing.py ADDRESS TRIALS EPOCHS NAME...`, a process a sweep.

The processes are forked of one that has the modules, which take seconds to import. What each says on standard error is
in NAME.stderr.
"""

import gc
import os
import sys
from pathlib import Path

from search.home import Home
from search.space.outcome import Outcome
from search.tracking.runs import run_key
from search.tracking.sync import tracked
from search.tracking.tracker import Tracker
from sermodels.training.epoch_report import EpochReport


def write(home: Path, address: str, trials: int, epochs: int) -> None:
    """Write a sweep of the name of its home."""
    name = home.name
    with tracked(Home(root=home), name, Tracker(address, Home(root=home).artifacts)) as runs:
        runs.begin(name, name=name, kind="sweep", sweep=name)
        for trial in range(trials):
            params = {"alpha": float(trial)}
            run = run_key(name, "trial", params)
            runs.begin(run, name=str(trial), kind="trial", sweep=name, params=params, parent=name)
            for epoch in range(1, epochs + 1):
                metrics = dict.fromkeys(("loss", "l1", "val_uar", "val_wa"), epoch / 100)
                runs.log(run, epochs=[EpochReport(stage="student", epoch=epoch, metrics=metrics, reused=0.0)])
            runs.end(run, Outcome.FINISHED)
        runs.end(name, Outcome.FINISHED)


if __name__ == "__main__":
    address, trials, epochs, *names = sys.argv[1:]
    gc.freeze()  # or each fork looks through all that is imported
    for name in names:  # noqa: B007  # used in the fork
        if os.fork() == 0:
            break
    else:
        sys.exit(sum(os.wait()[1] != 0 for _ in names))
    os.dup2(os.open(f"{name}.stderr", os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    write(Path.cwd() / name, address, int(trials), int(epochs))
