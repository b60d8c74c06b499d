"""The Tune trainable: one configuration → one chain of stages, in a process that serves one trial after another."""

import faulthandler
import gc
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ray import tune

from search.space.outcome import Outcome
from search.space.trial_config import TrialConfig
from search.space.trial_result import TrialResult
from search.space.trial_spec import TrialSpec
from sermodels.config.settings import ChainConfig
from sermodels.errors import UserError
from sermodels.memory import give_back, keep_freed, memory_used
from sermodels.networks.cost import costs
from sermodels.store.fetch import local_store
from sermodels.store.open import open_store
from sermodels.training.cache import BusyError, StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData
from sermodels.training.epoch_report import EpochReport

logger = logging.getLogger(__name__)


def run_trial(config: dict[str, Any], spec: TrialSpec) -> None:
    """Train one configuration and report to Tune.

    Whatever the chain raises ends the trial as failed, with the reason in its result: a configuration that failed
    once would fail again, so it is not retried. Only a dead process or node is, and a node that cannot get the store.

    Args:
        config: of Tune, see TrialConfig.
        spec: what the trials share.
    """
    # Ray reads it in this process, before the next trial: how long this one's thread may take to end.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "120"
    torch.set_num_threads(spec.threads)
    keep_freed()
    if not gc.get_freeze_count():
        gc.freeze()  # modules outlive all trials: to look for garbage among them takes longer than the rest
    store = local_store(spec.store, fingerprint=spec.fingerprint)  # if that fails, the node is at fault: Tune retries
    watch = _Watchdog(spec.hang_s)
    try:
        tune.report(_train(TrialConfig.from_tune(config), spec, store, watch).to_tune())
    except BusyError as busy:
        watch.pause()
        tune.report(TrialResult(outcome=Outcome.WAITING, awaits=busy.stage.key).to_tune())
    except Exception as error:
        watch.pause()
        logger.exception("trial failed")
        tune.report(TrialResult(outcome=Outcome.FAILED, reason=f"{type(error).__name__}: {error}").to_tune())
    finally:
        watch.pause()
        _free_memory()


class Reporter:
    """Epochs of a chain → results of a trial. What came from the cache is one result a stage, carrying its history."""

    def __init__(self, config: ChainConfig, send: Callable[[TrialResult], None], *, judged: bool):
        self.held: list[EpochReport] = []  # not sent yet
        self._config, self._send, self._judged = config, send, judged

    def __call__(self, report: EpochReport) -> None:
        """Take an epoch as `Chain.run` reports it. The student's last epoch is held for the final result."""
        student = report.stage == "student"
        last = report.epoch == self._config.settings(report.stage).epochs
        trained = report.reused < 1
        self.held.append(replace(report, metrics={**report.metrics, **memory_used()}) if trained else report)
        if student and last:
            return
        if last or trained:
            result = TrialResult(epochs=tuple(self.held))
            if student and self._judged:
                result = replace(result, student_epoch=report.epoch, score=report.metrics["val_uar"])
            self._send(result)
            self.held = []


def _train(trial: TrialConfig, spec: TrialSpec, file: Path, watch: "_Watchdog") -> TrialResult:
    began = time.time()
    if trial.chain is None:
        raise UserError(trial.impossible)
    store = open_store(file)
    if store.fingerprint != spec.fingerprint:
        raise ValueError(f"{file} on this node is not the store of this sweep: delete it, or copy the right one there")
    data = TrialData(store, trial.chain, spec.device)
    chain = Chain(trial.chain, data, StageCache(Path(spec.stages)), owner=f"{spec.sweep}/{trial.key}")

    def send(result: TrialResult) -> None:
        watch.pause()  # how long Tune takes to answer is not ours
        # If Tune stops the trial, this does not return until the process has another one to serve.
        with chain.released("student") if result.student_epoch is not None else nullcontext():
            tune.report(result.to_tune())
        watch()

    reporter = Reporter(trial.chain, send, judged=trial.kind == "trial")
    watch()
    result = chain.run(reporter, watch, _give_up)
    watch.pause()
    figures = result.summary() | costs(trial.chain, data.image, data.classes)
    return TrialResult(
        epochs=tuple(reporter.held),
        score=figures["val_uar"],
        outcome=Outcome.FINISHED,
        figures=figures | {"duration_s": time.time() - began},
        lanes=dict(zip(trial.chain.lanes, result.val_uar, strict=True)),
    )


def _give_up(busy: BusyError) -> None:
    """Rather than sit on a core until another process has trained the stage."""
    raise busy


def _free_memory() -> None:
    """The process lives on and serves other trials, whose memory this one's garbage would take."""
    gc.collect()
    give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Watchdog:
    """Called after every step; ends the process, with a traceback on its standard error, when the calls stop."""

    def __init__(self, hang_s: int):
        self._hang_s, self._armed = hang_s, -math.inf

    def __call__(self) -> None:
        if time.monotonic() - self._armed > self._hang_s / 20:  # arming starts a thread: not at every step
            self._armed = time.monotonic()
            faulthandler.dump_traceback_later(self._hang_s, exit=True, file=sys.__stderr__ or sys.stderr)

    def pause(self) -> None:
        """Expect no calls until the next one."""
        self._armed = -math.inf
        faulthandler.cancel_dump_traceback_later()
