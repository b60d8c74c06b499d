"""How far a chain is: a line an epoch on standard error, and in a terminal a bar below them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from sermodels.config.settings import STAGES, ChainConfig, StageName
from sermodels.training.cache import BusyError
from sermodels.training.chain import POLL_S, Wait
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport, Report
from sermodels.training.lanes import Tick
from sermodels.training.stage import Stage


@contextmanager
def shown(data: TrialData, config: ChainConfig, *, stacked: bool) -> Iterator[tuple[Report, Tick, Wait]]:
    """Yield what `Chain.run` takes.

    Args:
        data: of the chain.
        config: of the chain.
        stacked: a step is one of all lanes, not of a single lane.
    """
    console = Console(stderr=True)
    ends = _ends(data, config, stacked)
    waited: set[Stage] = set()
    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("chain", total=max(ends.values()))

        def report(done: EpochReport) -> None:
            epochs = config.settings(done.stage).epochs
            bar.update(task, completed=ends[done.stage, done.epoch])
            # Epochs from the cache come by the hundred: in a log, only the last of a stage has a line.
            if console.is_terminal or done.reused < 1 or done.epoch == epochs:
                console.print(_line(done, epochs, len(config.lanes)), soft_wrap=True, markup=False, highlight=False)

        def wait(busy: BusyError) -> None:
            if busy.stage not in waited:
                console.print(f"{busy}: waiting for it", soft_wrap=True, markup=False, highlight=False)
            waited.add(busy.stage)
            time.sleep(POLL_S)

        yield report, lambda: bar.advance(task), wait


def _ends(data: TrialData, config: ChainConfig, stacked: bool) -> dict[tuple[StageName, int], int]:
    """Steps of the whole run until the end of each (stage, epoch)."""
    ends, total = {}, 0
    for stage in STAGES:
        settings = config.settings(stage)
        steps = [-(-len(data.folds[fold].train) // settings.batch) for fold, _ in config.lanes]
        for epoch in range(1, settings.epochs + 1):
            total += max(steps) if stacked else sum(steps)
            ends[stage, epoch] = total
    return ends


def _line(done: EpochReport, epochs: int, lanes: int) -> str:
    metrics = done.metrics
    parts = [f"{done.stage:7} {done.epoch:{len(str(epochs))}}/{epochs}", f"loss {metrics['loss']:.4f}"]
    if "val_cosine" in metrics:
        parts.append(f"val cosine {metrics['val_cosine']:.3f}")
    if "val_uar" in metrics:
        spread = f" ± {metrics['val_uar_std']:.3f}" if lanes > 1 else ""
        parts.append(f"val UAR {metrics['val_uar']:.3f}{spread}")
    if done.reused:
        parts.append(f"{done.reused:.0%} reused")
    return "  ".join(parts)
