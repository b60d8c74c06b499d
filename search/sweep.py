"""A sweep from start to end: schedule trials on Ray Tune, confirm the best on fresh seeds, bundle the winner."""

import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from search.cache_limit import CacheLimit
from search.cluster import ray_session, slots
from search.export import bundle_winner, log_bundle
from search.home import Home
from search.plan import Plan
from search.progress import Progress
from search.searcher import StudySearcher
from search.space import Space, configure
from search.study import best, confirmed, create_study, open_study, params_of
from search.tracking import Tracker, TrialLogger, label
from search.trial import FINISHED, TrialSpec, run_trial
from sermodels.cache import StageCache
from sermodels.errors import UserError
from sermodels.evaluate import sides
from sermodels.provenance import provenance
from sermodels.settings import dump_yaml

RETRIES = 3  # of a trial whose process or node died
Params = Mapping[str, Any]  # dotted keys of ChainConfig → values


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep found."""

    run_id: str  # of the parent run
    params: Params  # the winner's
    metrics: Mapping[str, Any]  # of its bundle: validation, selection, test
    seconds: float
    trained_seconds: float  # that the finished trials spent on epochs
    reused_seconds: float  # that they would have spent in addition, had they shared nothing


def run_sweep(
    plan: Plan,
    name: str,
    home: Home,
    tracker: Tracker,
    *,
    address: str | None = None,
    cache_gb: float | None = None,
) -> SweepResult:
    """Run a planned sweep.

    Args:
        plan: checked input.
        name: of the sweep: letters, digits, dots, dashes, underscores.
        home: where state is kept.
        tracker: where runs are logged.
        address: of a Ray cluster; None: RAY_ADDRESS if set (as in a Ray job), else a Ray of our own on this machine.
        cache_gb: size in GB that the stage cache is kept below; None: it grows.

    Raises:
        UserError: the name is taken or not a name; no trial finished.
    """
    began = time.time()
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"--name {name!r}: use letters, digits, dots, dashes and underscores only")
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own progress says what is asked and told
    create_study(home.study(name), name)
    run_id = tracker.start_sweep(name, _tags(plan), _texts(plan))
    _say(f"sweep {name}: {plan.preset.trials} trials, runs at {tracker.uri}")
    sweep = _Sweep(plan=plan, name=name, home=home, tracker=tracker, run_id=run_id, cache_gb=cache_gb)
    outcome = "interrupted"
    try:
        with ray_session(address):
            seconds = sweep.search()
        winner, metrics = sweep.crown()
        outcome = FINISHED
    except UserError:
        outcome = "failed"
        raise
    finally:
        tracker.end(run_id, outcome)
    return SweepResult(run_id=run_id, params=winner, metrics=metrics, seconds=time.time() - began, **seconds)


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """A sweep under way."""

    plan: Plan
    name: str
    home: Home
    tracker: Tracker
    run_id: str  # of the parent run
    cache_gb: float | None

    def search(self) -> dict[str, float]:
        """Run the trials of the preset, and then the best of them again on fresh seeds.

        Returns:
            `trained_seconds` and `reused_seconds`, summed over those that finished.
        """
        preset, size = self.plan.preset, self.plan.space.size()
        wanted = min(preset.trials, size or preset.trials)
        if wanted < preset.trials:
            _say(f"the space holds {wanted} configurations, fewer than {preset.trials} trials: all will be tried")
        spec = _spec(self.plan, self.name, self.home)
        logger = TrialLogger(self.tracker, self.run_id, spec)
        progress = Progress(wanted, self.name, confirm=min(preset.confirm, wanted))
        limit = [] if self.cache_gb is None else [CacheLimit(StageCache(self.home.stages), self.cache_gb)]
        resources = {"cpu": preset.cpus, "gpu": preset.gpus}
        trainable = tune.with_resources(tune.with_parameters(run_trial, spec=spec), resources)
        run = tune.RunConfig(
            name=self.name,
            storage_path=str(self.home.tune),
            callbacks=[logger, progress, *limit],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            verbose=0,
        )
        try:
            tune.Tuner(trainable, tune_config=self._tune_config(), run_config=run).fit()
        finally:
            logger.close()
            progress.close()
        self.tracker.log(self.run_id, figures=logger.seconds)
        return logger.seconds

    def crown(self) -> tuple[Params, Mapping[str, Any]]:
        """Choose the winner, bundle and log it; returns its params and the bundle's metrics. Reads the test side.

        Raises:
            UserError: no trial finished.
        """
        study = open_study(self.home.study(self.name), self.name)
        again = confirmed(study)
        finalists = best(study, max(1, self.plan.preset.confirm))
        if not finalists:
            raise UserError(f"sweep {self.name}: no trial finished; their runs at {self.tracker.uri} say why")
        chosen = max(finalists, key=lambda trial: again.get(Space.key(params_of(trial)), -1.0))
        winner = params_of(chosen)
        figures = {"val_uar": chosen.value}
        if (score := again.get(Space.key(winner))) is not None:
            figures["confirmed_val_uar"] = score
        metrics = self._bundle(winner, {"sweep": self.name, "params": winner, **figures})
        child = self.tracker.trial_run(self.run_id, self.name, winner, kind="trial")
        self.tracker.log(child, tags={"ser.winner": "true"})
        figures |= {"test_uar": metrics["test"]["uar"], "test_wa": metrics["test"]["wa"]}
        tags = {"ser.winner": label(winner), "ser.winner_run": child}
        self.tracker.log(self.run_id, figures=figures, tags=tags)
        return winner, metrics

    def _tune_config(self) -> tune.TuneConfig:
        plan = self.plan
        searcher = StudySearcher(
            path=self.home.study(self.name),
            name=self.name,
            space=plan.space,
            preset=plan.preset,
            stages=self.home.stages,
            slots=partial(slots, plan.preset.cpus, plan.preset.gpus),
        )
        return tune.TuneConfig(
            search_alg=searcher,
            scheduler=_scheduler(plan),
            metric="score",
            mode="max",
            num_samples=-1,  # the searcher says when it is enough: a trial that waited is one more for Tune
            reuse_actors=True,  # starting a process with PyTorch takes longer than a short trial
        )

    def _bundle(self, winner: Params, selection: Mapping[str, Any]) -> Mapping[str, Any]:
        torch.set_num_threads(self.plan.threads())
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "bundle"
            config = configure(self.plan.preset.chain, winner)
            metrics = bundle_winner(folder, config, self.plan.store, self.home.stages, selection)
            log_bundle(self.tracker, self.run_id, folder)
        return metrics


def _spec(plan: Plan, name: str, home: Home) -> TrialSpec:
    used = [config.seeds for config in plan.configurations()]
    fresh = max(map(max, used)) + 1
    return TrialSpec(
        sweep=name,
        store=str(plan.store.path.absolute()),
        fingerprint=plan.store.fingerprint,
        stages=str(home.stages),
        chain=plan.preset.chain,
        fresh_seeds=tuple(range(fresh, fresh + max(map(len, used)))),
        threads=plan.threads(),
        device=plan.device(),
        hang_s=plan.preset.hang_s,
    )


def _scheduler(plan: Plan) -> TrialScheduler:
    if plan.preset.scheduler == "none":
        return FIFOScheduler()
    longest = max(config.student.epochs for config in plan.configurations())
    return ASHAScheduler(
        time_attr="student_epoch",
        max_t=max(longest - 1, plan.preset.grace_epochs),  # after the last epoch there is nothing left to save
        grace_period=plan.preset.grace_epochs,
        reduction_factor=plan.preset.reduction_factor,
        stop_last_trials=False,  # the trial itself says when it has finished
    )


def _tags(plan: Plan) -> dict[str, str]:
    config = plan.configurations()[0]
    leaks = " (leaks: views of test clips are trained on)" if config.protocol == "paper" else ""
    return {
        "ser.protocol": config.protocol + leaks,
        "ser.corpus": plan.store.corpus,
        "ser.store": plan.store.fingerprint,
        "ser.sampler": plan.preset.sampler,
    }


def _texts(plan: Plan) -> dict[str, str]:
    """What a person may want to know of a sweep, as artifacts of its run."""
    versions = provenance() | {"ray": ray.__version__, "command": " ".join(sys.argv)}
    return {
        "preset.yaml": dump_yaml(plan.preset),
        "sides.json": json.dumps(sides(plan.store, plan.configurations()[0]), indent=1),
        "store.yaml": dump_yaml({"fingerprint": plan.store.fingerprint, "frontend": plan.store.frontend}),
        "environment.json": json.dumps(versions, indent=1),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # a job's log
