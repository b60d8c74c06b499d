"""A sweep's traces without its training: the study and the spool of as many trials as one likes, with known effects."""

import json
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from search.home import Home
from search.publish.export import BUNDLE
from search.scheduling.ledger import create_study, open_study
from search.space.label import label
from search.space.lane_scores import to_json
from search.space.outcome import Outcome
from search.tracking.records import Dataset
from search.tracking.runs import LANES, OUTCOME, REASON, Runs, run_key
from search.tracking.spool import Spool
from sermodels.config.parsing import dump_yaml
from sermodels.config.settings import Lane
from sermodels.files import replacing
from sermodels.training.bundle import METRICS
from sermodels.training.epoch_report import EpochReport

EPOCHS = {"teacher": 4, "match": 3, "student": 5}
SPACE = {
    "patch": CategoricalDistribution(("128x1", "16x16", "32x4")),
    "encoding": CategoricalDistribution(("ice", "none")),
    "alpha": FloatDistribution(0.1, 100, log=True),
    "student.depth": CategoricalDistribution((1, 2, 3)),
    "student.heads": CategoricalDistribution((2, 4)),
}
LANES_OF = [Lane(fold, seed) for fold in (0, 1) for seed in (0, 1)]
EMOTIONS = ["anger", "boredom", "happiness"]


def generate(root: Path, name: str, trials: int, *, failed: int = 1, pruned: int = 1, winner: bool = True) -> Home:
    """Write a sweep whose columns of time and deep students do best; its encoding means nothing."""
    home, draw = Home(root=root), np.random.default_rng(0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    create_study(home.study(name), name, {"id": name})
    study = open_study(home.study(name), name)
    with Spool(home.spools / name) as spool:
        runs, done = Runs(spool), []
        dataset = Dataset(name="generated", digest="0123456789abcdef" * 4)
        tags = {"ser.protocol": "speaker", "ser.corpus": "generated", "ser.store": dataset.digest}
        runs.begin(name, name=name, kind="sweep", sweep=name, tags=tags, dataset=dataset)
        space = {"alpha": {"log_uniform": [0.1, 100]}}
        preset = {"description": "Generated: nothing was trained.", "space": space, "gpus": 0.5}
        runs.text(name, "preset.yaml", dump_yaml(preset))
        side = {"rows": 40, "clips": 10, "speakers": ["a", "b"]}
        sides = dict.fromkeys(("train", "valid", "test"), side)
        runs.text(name, "sides.json", json.dumps({"fold 0": sides, "fold 1": sides}))
        runs.view(name, name, list(SPACE))
        for number in range(trials):
            params = {key: _drawn(axis, draw) for key, axis in SPACE.items()}
            outcome = Outcome.FINISHED
            if number < failed + pruned:
                outcome = Outcome.FAILED if number < failed else Outcome.PRUNED
            done.append(_trial(runs, name, params, outcome, dataset, draw))
            state = {"failed": TrialState.FAIL, "pruned": TrialState.PRUNED, "finished": TrialState.COMPLETE}[outcome]
            value = done[-1][1] if outcome == Outcome.FINISHED else None
            attributes = {"params": params}
            study.add_trial(
                create_trial(params=params, distributions=SPACE, value=value, state=state, user_attrs=attributes)
            )
        if winner:
            best = max(done, key=lambda trial: trial[1])[0]
            again = _trial(runs, name, best, Outcome.FINISHED, dataset, draw, kind="confirmation")
            chosen = run_key(name, "trial", best)
            runs.crown(chosen)
            _write_bundle_metrics(home, name)
            runs.log(name, figures={"val_uar": again[1]}, links={"ser.winner_run": chosen})
            runs.end(name, Outcome.FINISHED)
    return home


def _drawn(axis, draw):
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[draw.integers(len(axis.choices))]
    return float(np.exp(draw.uniform(np.log(axis.low), np.log(axis.high))))


def _trial(runs, sweep, params, outcome, dataset, draw, kind="trial"):
    """Tell of one trial; returns its params and score."""
    run = run_key(sweep, kind, params)
    about = {"name": label(params), "kind": kind, "sweep": sweep, "params": params, "dataset": dataset}
    runs.begin(run, **about, parent=sweep)
    skill = 0.3 + 0.2 * (params["patch"] == "128x1") + 0.05 * params["student.depth"]
    lanes = {lane: float(np.clip(skill + draw.normal(0, 0.05), 0, 1)) for lane in LANES_OF}
    score = float(np.mean(list(lanes.values())))
    if outcome == Outcome.FAILED:
        runs.log(run, tags={REASON: "NonFiniteLossError: <script>alert(1)</script>", OUTCOME: outcome})
        runs.end(run, outcome)
        return params, -1.0
    for stage, epochs in EPOCHS.items():
        figure = "val_l1" if stage == "match" else "val_uar"
        for epoch in range(1, epochs + 1):
            metrics = {figure: score * epoch / epochs, "loss": 2 / epoch, "val_cosine": 0.5}
            runs.log(run, epochs=[EpochReport(stage=stage, epoch=epoch, metrics=metrics, reused=0.0)])
    if outcome == Outcome.FINISHED:
        size = params["student.depth"] * params["student.heads"]
        figures = {"val_uar": score, "val_uar_std": float(np.std(list(lanes.values()), ddof=1)), "val_wa": score}
        figures |= {"student/parameters": 1e5 * size, "student/macs": 2e7 * size, "duration_s": 40.0}
        figures |= {"trained_seconds": 30.0, "reused_seconds": 10.0}
        runs.log(run, figures=figures, tags={LANES: json.dumps(to_json(lanes)), OUTCOME: outcome})
    runs.end(run, outcome)
    return params, score if outcome == Outcome.FINISHED else -1.0


def _write_bundle_metrics(home, name):
    counts = [[8, 1, 1], [2, 7, 1], [0, 3, 7]]
    speaker = {"clips": 15, "wa": 0.7, "uar": 0.72}
    test = {
        "uar": 0.73,
        "wa": 0.73,
        "chance": 1 / 3,
        "caveat": None,
        "confusion_all_lanes": counts,
        "emotions": EMOTIONS,
    }
    test |= {"by_speaker": {"a": speaker, "b": speaker | {"uar": 0.4}}, "speakers": ["a", "b"], "clips": 30, "rows": 30}
    with replacing(home.spools / name / BUNDLE / METRICS) as unfinished:
        unfinished.write_text(json.dumps({"test": test}))
