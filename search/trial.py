"""The Tune trainable: one configuration → one chain of stages, in a process that serves one trial after another.

What Tune gives to a trial holds its `kind` ("trial", or "confirmation" on fresh seeds) and its `params`. A result that
it reports to Tune holds
    epochs         the metrics of one or more epochs of a stage, each with its number: for the tracker
    student_epoch  the last of them, and `score`, its mean validation UAR, for the scheduler: in the student stage only,
                   and not of a confirmation, which is not to be stopped
    outcome        at the end: "finished" with the final figures, "failed" with the `reason`, or "waiting" for a stage
                   (`awaits_stage`, `awaits_key`) that another process has claimed: the trial is to be started again
"""

import faulthandler
import gc
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from search.space import Space, configure
from sermodels.build import Builder
from sermodels.cache import BusyError, StageCache
from sermodels.chain import Chain
from sermodels.config import ChainConfig
from sermodels.data import TrialData
from sermodels.memory import give_back, keep_freed, memory_used
from sermodels.profile import count_macs, count_parameters
from sermodels.settings import merged
from sermodels.stages import STAGES, StageName, settings_of, stage_of
from sermodels.store import open_store
from sermodels.store_fetch import local_store

logger = logging.getLogger(__name__)

FINISHED, FAILED, WAITING = "finished", "failed", "waiting"  # outcomes
RETRIES = 3  # of a trial whose process or node died


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """What all trials of a sweep share. Plain values: it travels to other nodes."""

    sweep: str  # its name
    store: str  # absolute path, the same on every node; or an address, to fetch it from once a node
    corpus: str  # that the store was built from
    fingerprint: str  # of the store that the sweep was planned on
    stages: str  # absolute path of the stage cache
    chain: Mapping[str, Any]  # the preset's fixed settings
    fresh_seeds: tuple[int, ...]  # of confirmations, in place of the chain's
    threads: int
    device: str  # "cpu" or "cuda"
    hang_s: int  # seconds without a finished step after which the process ends itself


def run_trial(config: dict[str, Any], spec: TrialSpec) -> None:
    """Train one configuration and report to Tune.

    Whatever the chain raises ends the trial as failed, with the reason in its result: a configuration that failed
    once would fail again, so it is not retried. Only a dead process or node is, and a node that cannot get the store.

    Args:
        config: the trial's `kind` and `params`.
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
        tune.report(_train(config, spec, store, watch))
    except BusyError as busy:
        watch.pause()
        tune.report({"outcome": WAITING, "awaits_stage": busy.stage, "awaits_key": busy.key})
    except Exception as error:
        watch.pause()
        logger.exception("trial failed")
        tune.report({"outcome": FAILED, "reason": f"{type(error).__name__}: {error}"})
    finally:
        watch.pause()
        _free_memory()


def configuration(config: Mapping[str, Any], chain: Mapping[str, Any], fresh_seeds: tuple[int, ...]) -> ChainConfig:
    """What a trial trains.

    Args:
        config: its `kind` and `params`.
        chain: the preset's fixed settings.
        fresh_seeds: of a confirmation.
    """
    if config["kind"] == "confirmation":
        chain = merged(chain, {"seeds": list(fresh_seeds)})
    return configure(chain, config["params"])


def epochs_of(spec: TrialSpec, config: Mapping[str, Any]) -> dict[StageName, int]:
    """How many epochs each stage of a trial has."""
    whole = configuration(config, spec.chain, spec.fresh_seeds)
    return {stage: settings_of(stage, whole).epochs for stage in STAGES}


class Reporter:
    """Epochs of a chain → Tune's results. What came from the cache is one result a stage, carrying its history."""

    def __init__(self, config: ChainConfig, send: Callable[[dict[str, Any]], None], *, judged: bool):
        self.held: list[dict[str, float]] = []  # not sent yet
        self._config, self._send, self._judged = config, send, judged

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take an epoch as `Chain.run` reports it. The student's last epoch is held for the final result."""
        stage = stage_of(metrics)
        last = epoch == settings_of(stage, self._config).epochs
        trained = metrics[f"{stage}/reused"] < 1
        used = {f"{stage}/{name}": value for name, value in memory_used().items()} if trained else {}
        self.held.append({"epoch": epoch, **metrics, **used})
        if stage == "student" and last:
            return
        if last or trained:
            result: dict[str, Any] = {"epochs": tuple(self.held)}
            if stage == "student" and self._judged:
                result |= {"student_epoch": epoch, "score": metrics["student/val_uar"]}
            self._send(result)
            self.held = []


def costs(config: ChainConfig, image: tuple[int, int], classes: int) -> dict[str, int]:
    """Parameters, and MACs of one image, of the teacher and the student of a configuration."""
    figures = {}
    build = Builder(config=config, image=image, classes=classes)
    for stage in ("teacher", "student"):
        network = build(stage, seed=0)
        figures[f"{stage}/parameters"] = count_parameters(network)
        figures[f"{stage}/macs"] = count_macs(network, image)
    return figures


def _train(config: Mapping[str, Any], spec: TrialSpec, file: Path, watch: "_Watchdog") -> dict[str, Any]:
    began = time.time()
    store = open_store(file)
    if store.fingerprint != spec.fingerprint:
        raise ValueError(f"{file} on this node is not the store of this sweep: delete it, or copy the right one there")
    chain_config = configuration(config, spec.chain, spec.fresh_seeds)
    data = TrialData(store, chain_config, spec.device)

    owner = f"{spec.sweep}/{config['kind']}/{Space.key(config['params'])}"
    chain = Chain(chain_config, data, StageCache(Path(spec.stages)), owner=owner)

    def send(result: dict[str, Any]) -> None:
        watch.pause()  # how long Tune takes to answer is not ours
        # If Tune stops the trial, this does not return until the process has another one to serve.
        with chain.released("student") if "student_epoch" in result else nullcontext():
            tune.report(result)
        watch()

    reporter = Reporter(chain_config, send, judged=config["kind"] == "trial")
    watch()
    result = chain.run(reporter, watch, _give_up)
    watch.pause()
    figures = result.summary() | costs(chain_config, data.image, data.classes) | {"duration_s": time.time() - began}
    return {
        "outcome": FINISHED,
        "finished": True,
        "score": figures["val_uar"],
        "epochs": tuple(reporter.held),
        "lanes": {f"fold {f}, seed {s}": uar for (f, s), uar in zip(chain_config.lanes, result.val_uar, strict=True)},
        **figures,
    }


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
            faulthandler.dump_traceback_later(self._hang_s, exit=True, file=sys.__stderr__)

    def pause(self) -> None:
        """Expect no calls until the next one."""
        self._armed = -math.inf
        faulthandler.cancel_dump_traceback_later()
