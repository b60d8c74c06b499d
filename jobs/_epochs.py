"""How far a chain is: a line an epoch on standard error, and in a terminal a bar below them."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from sermodels.cache import BusyError
from sermodels.chain import POLL_S, Report, Wait
from sermodels.config import ChainConfig
from sermodels.data import TrialData
from sermodels.lanes import Tick
from sermodels.stages import STAGES, settings_of, stage_of


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
    waited: set[str] = set()
    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("chain", total=max(ends.values()))

        def report(epoch: int, metrics: Mapping[str, float]) -> None:
            stage = stage_of(metrics)
            epochs = settings_of(stage, config).epochs
            bar.update(task, completed=ends[stage, epoch])
            # Epochs from the cache come by the hundred: in a log, only the last of a stage has a line.
            if console.is_terminal or metrics[f"{stage}/reused"] < 1 or epoch == epochs:
                line = _line(stage, f"{epoch:{len(str(epochs))}}/{epochs}", len(config.lanes), metrics)
                console.print(line, soft_wrap=True, markup=False, highlight=False)

        def wait(busy: BusyError) -> None:
            if busy.key not in waited:
                console.print(f"{busy}: waiting for it", soft_wrap=True, markup=False, highlight=False)
            waited.add(busy.key)
            time.sleep(POLL_S)

        yield report, lambda: bar.advance(task), wait


def _ends(data: TrialData, config: ChainConfig, stacked: bool) -> dict[tuple[str, int], int]:
    """Steps of the whole run until the end of each (stage, epoch)."""
    ends, total = {}, 0
    for stage in STAGES:
        settings = settings_of(stage, config)
        steps = [-(-len(data.folds[fold].train) // settings.batch) for fold, _ in config.lanes]
        for epoch in range(1, settings.epochs + 1):
            total += max(steps) if stacked else sum(steps)
            ends[stage, epoch] = total
    return ends


def _line(stage: str, epoch: str, lanes: int, metrics: Mapping[str, float]) -> str:
    own = {name.removeprefix(f"{stage}/"): value for name, value in metrics.items()}
    parts = [f"{stage:7} {epoch}", f"loss {own['loss']:.4f}"]
    if "val_cosine" in own:
        parts.append(f"val cosine {own['val_cosine']:.3f}")
    if "val_uar" in own:
        spread = f" ± {own['val_uar_std']:.3f}" if lanes > 1 else ""
        parts.append(f"val UAR {own['val_uar']:.3f}{spread}")
    if own["reused"]:
        parts.append(f"{own['reused']:.0%} reused")
    return "  ".join(parts)
