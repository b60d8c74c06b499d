"""What a sweep's run says of its plan: tags, texts, dataset, and the view in which its trials are compared."""

import json
import sys

import ray

from search.run.plan import Plan
from search.tracking.records import Dataset
from search.tracking.runs import Runs
from sermodels.config.parsing import dump_yaml
from sermodels.credentials import without_credentials
from sermodels.evaluation.evaluate import sides
from sermodels.provenance import provenance


def begin_run(plan: Plan, name: str, runs: Runs, run: str) -> None:
    """Begin or resume the run of a sweep, and log what is planned.

    Args:
        plan: of the sweep.
        name: of the sweep.
        runs: where to log.
        run: key of the sweep's run.
    """
    dataset = Dataset(name=plan.store.corpus, digest=plan.store.fingerprint)
    runs.begin(run, name=name, kind="sweep", sweep=name, tags=_tags(plan), dataset=dataset)
    for file, text in _texts(plan).items():
        runs.text(run, file, text)
    runs.view(run, name, plan.space.names())


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
    versions = provenance() | {"ray": ray.__version__, "command": without_credentials(" ".join(sys.argv))}
    return {
        "preset.yaml": dump_yaml(plan.preset),
        "sides.json": json.dumps(sides(plan.store, plan.configurations()[0]), indent=1),
        "store.yaml": dump_yaml({"fingerprint": plan.store.fingerprint, "frontend": plan.store.frontend}),
        "environment.json": json.dumps(versions, indent=1),
    }
