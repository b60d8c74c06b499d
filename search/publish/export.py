"""The best configuration leaves the system: as a bundle among the sweep's artifacts, and from there as a folder."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from search.space.outcome import Outcome
from search.tracking.runs import OUTCOME
from search.tracking.tracker import Tracker
from sermodels.config.settings import ChainConfig
from sermodels.credentials import without_credentials
from sermodels.errors import UserError
from sermodels.evaluation.evaluate import run_figures, test_report
from sermodels.store.open import Store
from sermodels.training.bundle import Bundle, check_replaceable, load_bundle, write_bundle
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData

BUNDLE = "best"  # the artifact folder of the sweep's run


def bundle_winner(
    out: Path, config: ChainConfig, store: Store, stages: Path, selection: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Write the bundle of a configuration whose chain is finished; the only place where test rows are read.

    The exported network is the one of the first fold and first seed, never that of the best lane.

    Args:
        out: the folder to make.
        config: the winner's.
        store: that it was trained on.
        stages: the stage cache.
        selection: how it was chosen; goes into the bundle's metrics as it is.

    Returns:
        The bundle's metrics.
    """
    data = TrialData(store, config)
    chain = Chain(config, data, StageCache(stages))
    result = chain.run()
    networks = [chain.network("student", lane) for lane in range(len(config.lanes))]
    metrics = run_figures(result, store, config)
    metrics |= {"selection": dict(selection), "test": test_report(networks, store, config)}
    write_bundle(
        out, config=config, emotions=store.emotions, frontend=store.frontend, network=networks[0], metrics=metrics
    )
    return metrics


def export_best(
    tracker: Tracker, sweep: str, out: Path, finish: Callable[[Path], None] = lambda _: None
) -> tuple[Bundle, Run]:
    """Fetch a finished sweep's bundle from its run, check it, and put it at `out` as a whole.

    Args:
        tracker: where the sweep was logged.
        sweep: its name.
        out: a folder that does not exist, or holds an earlier bundle.
        finish: called with the folder before it takes its place, to add to it; if it raises, `out` stays as it is.

    Returns:
        The bundle, and the sweep's run.

    Raises:
        UserError: no such sweep; one without a winner; a bundle that is not whole; an `out` that is something else.
    """
    check_replaceable(out)
    run = tracker.find_sweep(sweep)
    if run.data.tags.get(OUTCOME) != Outcome.FINISHED:
        state = run.data.tags.get(OUTCOME, "still running")
        raise UserError(f"--sweep {sweep}: has no winner, it is {state}; a sweep exports its best when it has finished")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # five small files
    with tempfile.TemporaryDirectory() as scratch:
        try:
            fetched = download_artifacts(
                run_id=run.info.run_id, artifact_path=BUNDLE, dst_path=scratch, tracking_uri=tracker.address
            )
        except (MlflowException, OSError) as error:
            raise UserError(
                f"--sweep {sweep}: its bundle cannot be fetched from {tracker.uri}: {without_credentials(str(error))}"
            ) from None
        bundle = load_bundle(Path(fetched))
        write_bundle(
            out,
            config=bundle.config,
            emotions=bundle.emotions,
            frontend=bundle.frontend,
            network=bundle.network,
            metrics=bundle.metrics,
            finish=finish,
        )
    return load_bundle(out), run
