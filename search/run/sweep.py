"""A sweep from start to end: schedule trials on Ray Tune, confirm the best on fresh seeds, bundle the winner."""

import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from ray import tune

from search.home import Home
from search.report.description import describe_sweep
from search.report.outcome import read_outcome
from search.run.cache_limit import CacheLimit
from search.run.cluster import ray_session, slots
from search.run.plan import Plan
from search.run.progress import Progress
from search.run.pruning import SCORE, scheduler
from search.run.resume import Beginning, Mode, begin, exists, put_aside, require_mode
from search.run.sweep_log import begin_run
from search.run.trial import run_trial
from search.run.winner import crown
from search.scheduling.ledger import open_study
from search.scheduling.searcher import StudySearcher
from search.space.outcome import Outcome
from search.space.trial_spec import RETRIES, TrialSpec
from search.tracking.runs import OUTCOME, Runs
from search.tracking.spool import Spool
from search.tracking.sync import settle, tracked
from search.tracking.tracker import Tracker
from search.tracking.trial_logger import TrialLogger
from sermodels.errors import UserError
from sermodels.training.cache import StageCache


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep found."""

    key: str  # of its run
    params: Mapping[str, Any]  # the winner's: dotted keys of ChainConfig → values
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
    resume: Mode = "no",
    fresh: bool = False,
    retry_failed: bool = False,
    offline: bool = False,
    address: str | None = None,
    cache_gb: float | None = None,
) -> SweepResult:
    """Run a planned sweep, or go on with it.

    Args:
        plan: checked input.
        name: of the sweep: letters, digits, dots, dashes, underscores.
        home: where state is kept.
        tracker: where runs are logged.
        resume: whether a sweep of this name is gone on with.
        fresh: put a sweep of this name aside first.
        retry_failed: train configurations again that failed.
        offline: do without the tracker; the runs stay in the spool until they are sent (sync.py).
        address: of a Ray cluster; None: RAY_ADDRESS if set (as in a Ray job), else a Ray of our own on this machine.
        cache_gb: size in GB that the stage cache is kept below; None: it grows.

    Raises:
        UserError: the name is taken, missing, in use or not a name; the sweep was begun with other settings; a new
            sweep without a tracker; no trial finished.
    """
    began = time.time()
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"--name {name!r}: use letters, digits, dots, dashes and underscores only")
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own progress says what is asked and told
    require_mode(home, name, resume, fresh=fresh)
    if not offline:
        _connect(tracker, going_on=exists(home, name) and not fresh)
    if fresh and exists(home, name):
        with Spool(home.spools / name) as spool:
            settle(spool, None if offline else tracker)
        _say(f"sweep {name}: the earlier one is now called {put_aside(home, name)}")
    with tracked(home, name, None if offline else tracker) as runs:
        beginning = begin(home, name, plan, retry_failed=retry_failed)
        sweep = _Sweep(plan=plan, name=name, home=home, runs=runs, beginning=beginning, cache_gb=cache_gb)
        _say(sweep.greeting(tracker))
        outcome = Outcome.INTERRUPTED
        try:
            sweep.start()
            with ray_session(address):
                seconds = sweep.search()
            winner, metrics = crown(plan, name, home, runs, sweep.id)
            outcome = Outcome.FINISHED
        except UserError:
            outcome = Outcome.FAILED
            raise
        finally:
            runs.end_open(but=sweep.id)
            runs.log(sweep.id, tags={OUTCOME: outcome})
            runs.end(sweep.id, outcome)
            sweep.present(pictures=outcome == Outcome.FINISHED)
            if outcome == Outcome.INTERRUPTED:
                _say(f"sweep {name} is interrupted; the same command goes on with it, with --name {name} --resume")
    return SweepResult(
        key=sweep.id,
        params=winner,
        metrics=metrics,
        seconds=time.time() - began,
        trained_seconds=seconds["trained_seconds"],
        reused_seconds=seconds["reused_seconds"],
    )


def _connect(tracker: Tracker, *, going_on: bool) -> None:
    """Find the tracker there; a sweep that goes on does so without it, too."""
    try:
        tracker.connect()
    except UserError as error:
        if not going_on:
            raise UserError(f"{error}; or begin without one: --offline") from None
        _say(f"{error}; the sweep goes on, its runs wait in the spool")


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """A sweep under way."""

    plan: Plan
    name: str
    home: Home
    runs: Runs
    beginning: Beginning
    cache_gb: float | None

    @property
    def id(self) -> str:
        """Key of its run."""
        return self.beginning.id

    def greeting(self, tracker: Tracker) -> str:
        """What is about to be done."""
        text = f"sweep {self.name}: {self.plan.preset.trials} trials"
        if self.beginning.resumed:
            told = ", ".join(f"{count} {outcome}" for outcome, count in self.beginning.ended.items())
            text += f", going on: {told or 'none has ended'}, {self.beginning.requeued} taken up again"
        return f"{text}; runs at {tracker.uri}"

    def start(self) -> None:
        """Begin its run, or go on with it; what a driver that died left open is closed."""
        self.runs.end_open()
        begin_run(self.plan, self.name, self.runs, self.id)
        self.present(pictures=False)

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
        study = open_study(self.home.study(self.name), self.name)
        logger = TrialLogger(self.runs, self.id, spec)
        progress = Progress(wanted, self.name, confirm=min(preset.confirm, wanted), ended=self.beginning.ended)
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
            tune.Tuner(trainable, tune_config=self._tune_config(study), run_config=run).fit()
        finally:
            progress.close()
        self.runs.log(self.id, figures=self.runs.seconds)
        return self.runs.seconds

    def present(self, *, pictures: bool) -> None:
        """Describe the sweep as it stands; with pictures, in a report, too."""
        try:
            self.runs.describe(self.id, describe_sweep(read_outcome(self.home, self.name)))
            if pictures:
                from search.report.page import write_report  # draws with matplotlib, which takes a second to import

                file = self.home.report(self.name)
                write_report(self.home, self.name, file)
                self.runs.folder(self.id, file.parent, "report")
        except Exception as error:  # no picture is worth a sweep's end
            _say(f"the report cannot be written: {type(error).__name__}: {error}")

    def _tune_config(self, study: optuna.Study) -> tune.TuneConfig:
        plan = self.plan
        searcher = StudySearcher(
            path=self.home.study(self.name),
            name=self.name,
            space=plan.space,
            preset=plan.preset,
            fingerprint=plan.store.fingerprint,
            fresh_seeds=plan.fresh_seeds(),
            stages=self.home.stages,
            slots=partial(slots, plan.preset.cpus, plan.preset.gpus),
        )
        return tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler(plan, study),
            metric=SCORE,
            mode="max",
            num_samples=-1,  # the searcher says when it is enough: a trial that waited is one more for Tune
            reuse_actors=True,  # starting a process with PyTorch takes longer than a short trial
        )


def _spec(plan: Plan, name: str, home: Home) -> TrialSpec:
    return TrialSpec(
        sweep=name,
        store=plan.address or str(plan.store.path.absolute()),
        corpus=plan.store.corpus,
        fingerprint=plan.store.fingerprint,
        stages=str(home.stages),
        threads=plan.threads(),
        device=plan.device(),
        hang_s=plan.preset.hang_s,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # a job's log
