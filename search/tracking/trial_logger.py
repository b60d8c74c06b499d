"""What trials report becomes records of their runs, in the driver's process."""

import json
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from search.space.label import label
from search.space.lane_scores import to_json
from search.space.outcome import Outcome
from search.space.trial_config import TrialConfig
from search.space.trial_result import TrialResult
from search.space.trial_spec import RETRIES, TrialSpec
from search.tracking.records import Dataset
from search.tracking.runs import LANES, OUTCOME, REASON, Runs, run_key
from sermodels.config.parsing import dump_yaml
from sermodels.config.settings import STAGES

MOST_REASON = 5000  # characters: as many as a tag of MLflow holds


class TrialLogger(LoggerCallback):
    """Tells of each trial in a run of its own, below the sweep's."""

    def __init__(self, runs: Runs, sweep_id: str, spec: TrialSpec):
        """Tell `runs`; the run of the sweep has the key `sweep_id`."""
        self._runs, self._sweep_id, self._spec = runs, sweep_id, spec
        self._keys: dict[str, str] = {}  # Tune's trial id → key of its run
        self._outcomes: dict[str, Outcome | None] = {}  # by Tune's trial id, of the last result

    def log_trial_start(self, trial: Trial) -> None:
        """Begin the run, or go on with it; the whole configuration is an artifact."""
        if trial.trial_id in self._keys:
            return
        config = TrialConfig.from_tune(trial.config)
        self._keys[trial.trial_id] = run = run_key(self._sweep_id, config.kind, config.params)
        if run in self._runs.open:  # it waited for a stage
            return
        self._runs.begin(
            run,
            name=label(config.params),
            kind=config.kind,
            sweep=self._spec.sweep,
            params=config.params,
            parent=self._sweep_id,
            dataset=Dataset(name=self._spec.corpus, digest=self._spec.fingerprint),
        )
        if config.chain:
            self._runs.text(run, "config.yaml", dump_yaml(config.chain))

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Tell the epochs of a result; of the last one, the final figures or the reason of the failure."""
        reported, tags = TrialResult.from_tune(result), dict[str, str]()
        if reported.outcome == Outcome.FINISHED:
            tags = {"ser.reused": reused_stages(reported.figures), LANES: json.dumps(to_json(reported.lanes))}
        elif reported.outcome == Outcome.FAILED:
            tags = {REASON: reported.reason[:MOST_REASON]}
        if reported.outcome in (Outcome.FINISHED, Outcome.FAILED):
            tags[OUTCOME] = reported.outcome
        self._outcomes[trial.trial_id] = reported.outcome
        self._runs.log(self._keys[trial.trial_id], epochs=reported.epochs, figures=reported.figures, tags=tags)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the run. A trial that ended without saying how was stopped by the scheduler."""
        if (run := self._keys.pop(trial.trial_id, None)) is None:
            return
        last = self._outcomes.get(trial.trial_id)
        if failed:
            reason = f"its process died {RETRIES + 1} times, the last time: {trial.get_error()}"
            self._runs.log(run, tags={REASON: reason[:MOST_REASON]})
        if last != Outcome.WAITING or failed:
            self._runs.end(run, Outcome.FAILED if failed else last or Outcome.PRUNED)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into files that are never read again; an open spool cannot go there.
        return {}


def reused_stages(figures: Mapping[str, float]) -> str:
    """Return which stages others had trained, and the share of their seconds: `teacher, match 50 %`; or `none`."""
    words = []
    for stage in STAGES:
        reused = figures[f"{stage}/reused_seconds"]
        if reused:
            share = reused / (reused + figures[f"{stage}/trained_seconds"])
            words.append(stage if share == 1 else f"{stage} {share:.0%}")
    return ", ".join(words) or "none"
