"""A sweep from start to end: schedule trials on Ray Tune, confirm the best on fresh seeds, bundle the winner."""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from optuna.trial import FrozenTrial
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from search.cluster import ray_session
from search.export import bundle_winner, log_bundle
from search.home import Home
from search.plan import Plan
from search.progress import Progress
from search.searcher import StudySearcher
from search.space import Space, configure
from search.study import best, create_study, open_study, params_of
from search.tracking import Tracker, TrialLogger, label
from search.trial import FINISHED, TrialSpec, confirm_trial, run_trial
from sermodels.errors import UserError
from sermodels.evaluate import sides
from sermodels.provenance import provenance
from sermodels.settings import dump_yaml, merged

RETRIES = 3  # of a trial whose process or node died
Params = Mapping[str, Any]  # dotted keys of ChainConfig → values


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep found."""

    run_id: str  # of the parent run
    params: Params  # the winner's
    metrics: Mapping[str, Any]  # of its bundle: validation, selection, test
    seconds: float


def run_sweep(plan: Plan, name: str, home: Home, tracker: Tracker, address: str | None = None) -> SweepResult:
    """Run a planned sweep.

    Args:
        plan: checked input.
        name: of the sweep: letters, digits, dots, dashes, underscores.
        home: where state is kept.
        tracker: where runs are logged.
        address: of a Ray cluster; None: RAY_ADDRESS if set (as in a Ray job), else a Ray of our own on this machine.

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
    sweep = _Sweep(plan=plan, name=name, home=home, tracker=tracker, run_id=run_id)
    outcome = "interrupted"
    try:
        with ray_session(address):
            finalists = sweep.search()
            confirmed = sweep.confirm(finalists) if plan.preset.confirm else {}
        winner, metrics = sweep.crown(finalists, confirmed)
        outcome = FINISHED
    except UserError:
        outcome = "failed"
        raise
    finally:
        tracker.end(run_id, outcome)
    return SweepResult(run_id=run_id, params=winner, metrics=metrics, seconds=time.time() - began)


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """A sweep under way."""

    plan: Plan
    name: str
    home: Home
    tracker: Tracker
    run_id: str  # of the parent run

    def search(self) -> list[FrozenTrial]:
        """Run the trials of the preset; returns the best of the finished ones, as many as are to be confirmed."""
        preset, size, journal = self.plan.preset, self.plan.space.size(), self.home.study(self.name)
        wanted = min(preset.trials, size or preset.trials)
        if wanted < preset.trials:
            _say(f"the space holds {wanted} configurations, fewer than {preset.trials} trials: all will be tried")
        config = tune.TuneConfig(
            search_alg=StudySearcher(path=journal, name=self.name, space=self.plan.space, preset=preset),
            scheduler=_scheduler(self.plan),
            metric="score",
            mode="max",
            num_samples=preset.trials,
        )
        self._fit(run_trial, _spec(self.plan, self.home), config, Progress(wanted, self.name), kind="trial")
        finalists = best(open_study(journal, self.name), max(1, preset.confirm))
        if not finalists:
            raise UserError(f"sweep {self.name}: no trial finished; their runs at {self.tracker.uri} say why")
        return finalists

    def confirm(self, finalists: Sequence[FrozenTrial]) -> dict[str, float]:
        """Train the best again on seeds that took no part in choosing them: key of the params → mean validation UAR."""
        spec, params = _spec(self.plan, self.home), [params_of(trial) for trial in finalists]
        seeds = configure(spec.chain, params[0]).seeds
        fresh = [max(seeds) + 1 + place for place in range(len(seeds))]
        grid = self._fit(
            confirm_trial,
            replace(spec, chain=merged(spec.chain, {"seeds": fresh})),
            tune.TuneConfig(metric="score", mode="max"),
            Progress(len(params), f"{self.name}, confirming on fresh seeds"),
            kind="confirmation",
            space={"params": tune.grid_search(params)},
        )
        finished = [result for result in grid if (result.metrics or {}).get("outcome") == FINISHED]
        return {Space.key(result.config["params"]): result.metrics["score"] for result in finished}

    def crown(
        self, finalists: Sequence[FrozenTrial], confirmed: Mapping[str, float]
    ) -> tuple[Params, Mapping[str, Any]]:
        """Choose the winner, bundle and log it; returns its params and the bundle's metrics. Reads the test side."""
        chosen = max(finalists, key=lambda trial: confirmed.get(Space.key(params_of(trial)), -1.0))
        winner = params_of(chosen)
        figures = {"val_uar": chosen.value}
        if (again := confirmed.get(Space.key(winner))) is not None:
            figures["confirmed_val_uar"] = again
        selection = {"sweep": self.name, "params": winner, **figures}
        metrics = self._bundle(winner, selection)
        child = self.tracker.trial_run(self.run_id, self.name, winner, kind="trial")
        self.tracker.tag(child, {"ser.winner": "true"})
        self.tracker.tag(self.run_id, {"ser.winner": label(winner), "ser.winner_run": child})
        test = {"test_uar": metrics["test"]["uar"], "test_wa": metrics["test"]["wa"]}
        self.tracker.log_figures(self.run_id, figures | test)
        return winner, metrics

    def _bundle(self, winner: Params, selection: Mapping[str, Any]) -> Mapping[str, Any]:
        torch.set_num_threads(self.plan.threads())
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "bundle"
            config = configure(self.plan.preset.chain, winner)
            metrics = bundle_winner(folder, config, self.plan.store, self.home.stages, selection)
            log_bundle(self.tracker, self.run_id, folder)
        return metrics

    def _fit(
        self,
        function: Callable[..., None],
        spec: TrialSpec,
        config: tune.TuneConfig,
        progress: Progress,
        *,
        kind: str,
        space: Mapping[str, Any] | None = None,
    ) -> tune.ResultGrid:
        """Run trials on Tune, logged as runs of a kind."""
        callbacks = [TrialLogger(self.tracker, self.run_id, self.name, spec.chain, kind=kind), progress]
        resources = {"cpu": self.plan.preset.cpus, "gpu": self.plan.preset.gpus}
        run = tune.RunConfig(
            name=f"{self.name}-{kind}",
            storage_path=str(self.home.tune),
            callbacks=list(callbacks),  # Tune puts its own into the list
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            verbose=0,
        )
        trainable = tune.with_resources(tune.with_parameters(function, spec=spec), resources)
        try:
            return tune.Tuner(trainable, param_space=dict(space or {}), tune_config=config, run_config=run).fit()
        finally:
            for callback in callbacks:
                callback.close()


def _spec(plan: Plan, home: Home) -> TrialSpec:
    return TrialSpec(
        store=str(plan.store.path.absolute()),
        fingerprint=plan.store.fingerprint,
        stages=str(home.stages),
        chain=plan.preset.chain,
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
