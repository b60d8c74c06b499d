"""A sweep begins, goes on after its driver died, or begins anew under the same name.

What has to be the same when it goes on lies in the study; what is written here in `about`:
    id        names the sweep's run in the tracker
    settings  of preset and store, without those that may change: SETTINGS_FREE
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.trial import TrialState

from search.home import Home
from search.run.plan import Plan
from search.scheduling.ledger import Ledger, create_study, mend
from search.space.outcome import Outcome
from sermodels.config.parsing import flatten, to_plain
from sermodels.errors import UserError

Mode = Literal["no", "yes", "auto"]  # whether a sweep that exists is gone on with; auto: if it exists
SETTINGS_FREE = ("description", "trials", "confirm", "cpus", "gpus", "hang_s")
MOST_DIFFERENCES = 5  # told


@dataclass(frozen=True, kw_only=True)
class _About:
    """What a study keeps of its sweep's beginning, in its attribute `about`."""

    id: str
    settings: Mapping[str, Any]  # in the forms of JSON

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "settings": dict(self.settings)}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> "_About":
        return _About(id=found["id"], settings=found["settings"])


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """How a sweep stands when its driver starts."""

    id: str
    resumed: bool
    requeued: int = 0  # trials that a dead driver left, or that failed and are to be tried again
    ended: Mapping[Outcome, int] = field(default_factory=dict)  # finished, pruned, failed → trials


def exists(home: Home, name: str) -> bool:
    """Whether there is a sweep of this name."""
    return home.study(name).is_file()


def require_mode(home: Home, name: str, mode: Mode, *, fresh: bool) -> None:
    """Refuse to mix two sweeps.

    Raises:
        UserError: the sweep exists and nobody said what to do with it; or it does not, and is to be gone on with.
    """
    there = exists(home, name)
    if there and mode == "no" and not fresh:
        ended = Ledger(home.study(name), name).ended()
        raise UserError(
            f"sweep {name} exists in {home.root}, {len(ended)} trials of it have ended: go on with it (--resume), "
            "put it aside and begin anew (--fresh), or choose another --name"
        )
    if not there and mode == "yes":
        names = ", ".join(sorted(path.stem for path in home.study("x").parent.glob("*.journal"))) or "none"
        raise UserError(f"--resume: no sweep {name} in {home.root}; there are: {names}")


def begin(home: Home, name: str, plan: Plan, *, retry_failed: bool) -> Beginning:
    """Make the study of a sweep, or take it up where its last driver left it.

    Raises:
        UserError: it was begun with other settings (with each difference), or by a version that could not go on.
    """
    if not exists(home, name):
        about = _new(plan)
        create_study(home.study(name), name, about.to_json())
        return Beginning(id=about.id, resumed=False)
    mend(home.study(name))
    ledger = Ledger(home.study(name), name)
    if found := ledger.study.user_attrs.get("about"):
        about = _About.from_json(found)
    elif ledger.study.get_trials(deepcopy=False):
        raise UserError(f"sweep {name} was begun by an earlier version and cannot go on: use --fresh or another --name")
    else:  # killed before it had written it down
        about = _new(plan)
        ledger.study.set_user_attr("about", about.to_json())
    _require_same(name, about.settings, _settings(plan))
    requeued = ledger.requeue_interrupted() + (ledger.requeue_failed() if retry_failed else 0)
    return Beginning(id=about.id, resumed=True, requeued=requeued, ended=_ended(ledger))


def put_aside(home: Home, name: str) -> str:
    """Rename a sweep's study and spool, so that its name is free; returns the new name."""
    aside = f"{name}.{time.strftime('%Y%m%d-%H%M%S')}"
    for old, new in ((home.study(name), home.study(aside)), (home.spools / name, home.spools / aside)):
        if old.exists():
            old.rename(new)
    return aside


def _ended(ledger: Ledger) -> dict[Outcome, int]:
    """How many trials have ended in each way."""
    states = {
        TrialState.COMPLETE: Outcome.FINISHED,
        TrialState.PRUNED: Outcome.PRUNED,
        TrialState.FAIL: Outcome.FAILED,
    }
    trials = ledger.study.get_trials(deepcopy=False)
    return dict(Counter(states[trials[number].state] for number in ledger.ended().values()))


def _new(plan: Plan) -> _About:
    return _About(id=secrets.token_hex(8), settings=_settings(plan))


def _settings(plan: Plan) -> dict[str, Any]:
    preset = {name: value for name, value in to_plain(plan.preset).items() if name not in SETTINGS_FREE}
    settings: dict[str, Any] = json.loads(json.dumps(preset | {"store": plan.store.fingerprint}))
    return settings


def _require_same(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    old, new = flatten(there), flatten(here)
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if keys:
        told = [f"{key} was {old.get(key, 'absent')}, is now {new.get(key, 'absent')}" for key in keys]
        more = [f"and {len(told) - MOST_DIFFERENCES} more"] if len(told) > MOST_DIFFERENCES else []
        raise UserError(
            f"--resume: sweep {name} was begun with other settings: {'; '.join(told[:MOST_DIFFERENCES] + more)}. "
            "Give the same again; or use --fresh, or another --name: finished stages are used in any case"
        )
