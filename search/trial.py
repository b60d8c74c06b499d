"""The Tune trainable: one configuration → one chain of stages, in a process of its own.

A result that it reports to Tune holds
    epochs         the metrics of one or more epochs of a stage, each with its number: for the tracker
    student_epoch  the last of them, and `score`, its mean validation UAR: in the student stage only, for the scheduler
    outcome        at the end: "finished" with the final figures, or "failed" with the `reason`
"""

import faulthandler
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from search.space import configure
from sermodels.cache import StageCache
from sermodels.chain import Chain
from sermodels.config import ChainConfig
from sermodels.data import TrialData
from sermodels.profile import count_macs, count_parameters
from sermodels.stages import Builder, settings_of, stage_of
from sermodels.store import open_store

logger = logging.getLogger(__name__)

FINISHED, FAILED = "finished", "failed"


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """What all trials of a sweep share. Plain values: it travels to other nodes."""

    store: str  # absolute path, the same on every node
    fingerprint: str  # of the store that the sweep was planned on
    stages: str  # absolute path of the stage cache
    chain: Mapping[str, Any]  # the preset's fixed settings
    threads: int
    device: str  # "cpu" or "cuda"
    hang_s: int  # seconds without a finished step after which the process ends itself


def run_trial(config: dict[str, Any], spec: TrialSpec) -> None:
    """Train one configuration and report to Tune.

    Whatever the chain raises ends the trial as failed, with the reason in its result: a configuration that failed
    once would fail again, so it is not retried. Only a dead process or node is.

    Args:
        config: the trial's params, dotted keys of ChainConfig → values.
        spec: what the trials share.
    """
    torch.set_num_threads(spec.threads)
    try:
        tune.report(_train(configure(spec.chain, config), spec))
    except Exception as error:
        logger.exception("trial failed")
        tune.report({"outcome": FAILED, "reason": f"{type(error).__name__}: {error}"})
    finally:
        faulthandler.cancel_dump_traceback_later()


def confirm_trial(config: dict[str, Any], spec: TrialSpec) -> None:
    """Train again one of several given configurations: config["params"]."""
    run_trial(config["params"], spec)


class Reporter:
    """Epochs of a chain → Tune's results. What came from the cache is one result a stage, carrying its history."""

    def __init__(self, config: ChainConfig, send: Callable[[dict[str, Any]], None]):
        self.held: list[dict[str, float]] = []  # not sent yet
        self._config, self._send = config, send

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take an epoch as `Chain.run` reports it. The student's last epoch is held for the final result."""
        stage = stage_of(metrics)
        last = epoch == settings_of(stage, self._config).epochs
        self.held.append({"epoch": epoch, **metrics})
        if stage == "student" and last:
            return
        if last or metrics[f"{stage}/reused"] < 1:
            judged = {"student_epoch": epoch, "score": metrics["student/val_uar"]} if stage == "student" else {}
            self._send({"epochs": tuple(self.held), **judged})
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


def _train(config: ChainConfig, spec: TrialSpec) -> dict[str, Any]:
    began = time.time()
    store = open_store(Path(spec.store))
    if store.fingerprint != spec.fingerprint:
        raise ValueError(f"{spec.store} on this node is not the store of this sweep: copy it to every node")
    data = TrialData(store, config, spec.device)
    reporter = Reporter(config, tune.report)
    watch = _Watchdog(spec.hang_s)
    watch()
    result = Chain(config, data, StageCache(Path(spec.stages))).run(reporter, watch)
    figures = result.summary() | costs(config, data.image, data.classes) | {"duration_s": time.time() - began}
    return {
        "outcome": FINISHED,
        "finished": True,
        "score": figures["val_uar"],
        "epochs": tuple(reporter.held),
        **figures,
    }


class _Watchdog:
    """Called after every step; ends the process, with a traceback on its standard error, when the calls stop."""

    def __init__(self, hang_s: int):
        self._hang_s, self._armed = hang_s, 0.0

    def __call__(self) -> None:
        if time.monotonic() - self._armed > self._hang_s / 20:  # arming starts a thread: not at every step
            self._armed = time.monotonic()
            faulthandler.dump_traceback_later(self._hang_s, exit=True, file=sys.__stderr__)
