"""What trials report becomes records of their runs, in the driver's process."""

import json
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from search.tracking.runs import LANES, OUTCOME, REASON, Runs, run_key
from search.trial import FAILED, FINISHED, RETRIES, WAITING, TrialSpec, configuration
from sermodels.settings import dump_yaml
from sermodels.stages import STAGES


class TrialLogger(LoggerCallback):
    """Tells of each trial in a run of its own, below the sweep's."""

    def __init__(self, runs: Runs, sweep_id: str, spec: TrialSpec):
        """Tell `runs`; the run of the sweep has the key `sweep_id`."""
        self._runs, self._sweep_id, self._spec = runs, sweep_id, spec
        self._keys: dict[str, str] = {}  # Tune's trial id → key of its run
        self._outcomes: dict[str, str | None] = {}  # by Tune's trial id, of the last result

    def log_trial_start(self, trial: Trial) -> None:
        """Begin the run, or go on with it; the whole configuration is an artifact."""
        if trial.trial_id in self._keys:
            return
        kind, params = trial.config["kind"], trial.config["params"]
        self._keys[trial.trial_id] = run = run_key(self._sweep_id, kind, params)
        if run in self._runs.open:  # it waited for a stage
            return
        about = {"name": label(params), "kind": kind, "sweep": self._spec.sweep, "params": params}
        about["dataset"] = {"name": self._spec.corpus, "digest": self._spec.fingerprint}
        self._runs.begin(run, **about, parent=self._sweep_id)
        whole = configuration(trial.config, self._spec.chain, self._spec.fresh_seeds)
        self._runs.text(run, "config.yaml", dump_yaml(whole))

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Tell the epochs of a result; of the last one, the final figures or the reason of the failure."""
        outcome, figures, tags = result.get("outcome"), {}, {}
        if outcome == FINISHED:
            figures = final_figures(result)
            tags = {"ser.reused": reused_stages(result), LANES: json.dumps(result["lanes"])}
        if outcome == FAILED:
            tags = {REASON: result["reason"][:5000]}
        if outcome in (FINISHED, FAILED):
            tags[OUTCOME] = outcome
        self._outcomes[trial.trial_id] = outcome
        self._runs.log(self._keys[trial.trial_id], epochs=result.get("epochs", ()), figures=figures, tags=tags)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """End the run. A trial that ended without saying how was stopped by the scheduler."""
        if (run := self._keys.pop(trial.trial_id, None)) is None:
            return
        told = self._outcomes.get(trial.trial_id)
        if failed:
            reason = f"its process died {RETRIES + 1} times, the last time: {trial.get_error()}"
            self._runs.log(run, tags={REASON: reason[:5000]})
        if told != WAITING or failed:
            self._runs.end(run, FAILED if failed else told or "pruned")

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into files that are never read again; an open spool cannot go there.
        return {}


def final_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a finished trial's last result that belong into its run."""
    names = ("val_", "best_val_", *(f"{stage}/" for stage in STAGES), "trained_seconds", "reused_seconds", "duration_s")
    return {k: v for k, v in result.items() if k.startswith(names) and isinstance(v, int | float)}


def reused_stages(result: Mapping[str, Any]) -> str:
    """Which stages others had trained, and the share of their seconds: `teacher, match 50 %`; or `none`."""
    words = []
    for stage in STAGES:
        reused = result[f"{stage}/reused_seconds"]
        if reused:
            share = reused / (reused + result[f"{stage}/trained_seconds"])
            words.append(stage if share == 1 else f"{stage} {share:.0%}")
    return ", ".join(words) or "none"


def label(params: Mapping[str, Any]) -> str:
    """A configuration in few words: `128x1 ice t6h5 s3h5 α=10 student.lr=0.001`."""
    words = [str(params[key]) for key in ("patch", "encoding") if key in params]
    told = {"patch", "encoding"}
    for network in ("teacher", "student"):
        sizes = {f"{network}.depth": "", f"{network}.heads": "h"}
        size = "".join(f"{sign}{params[key]}" for key, sign in sizes.items() if key in params)
        words.append(f"{network[0]}{size}" if size else "")
        told |= sizes.keys()
    names = {"alpha": "α"}
    words += [f"{names.get(key, key)}={_short(value)}" for key, value in params.items() if key not in told]
    return " ".join(filter(None, words)) or "defaults"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
