"""Write a sweep to a tracker, as a driver does: `writing.py HOME ADDRESS TRIALS EPOCHS`; its name is the home's."""

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
    write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
