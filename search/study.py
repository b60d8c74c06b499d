"""The Optuna study: the ledger of what was proposed and what came of it, in a journal file.

Every proposal is a trial of the study, in one of Optuna's states: RUNNING, COMPLETE (finished, its value the score),
PRUNED (stopped by the scheduler, its value the last score reported) or FAIL. Its user attributes: `params` (dotted keys
of ChainConfig → values), `trial_id` (Tune's), `copy_of` (number of the trial that was trained in its place, having the
same params), `interrupted` (its driver died), and `val_uar_std` of its last result. An attribute of the study itself,
`confirmed`, has the scores of the best on fresh seeds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from search.space import Space
from sermodels.errors import UserError


def create_study(path: Path, name: str) -> optuna.Study:
    """Begin the ledger of a sweep; `path` is the journal, made with its folder if missing.

    Raises:
        UserError: the journal holds a study of this name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return optuna.create_study(study_name=name, storage=_journal(path), direction="maximize")
    except DuplicatedStudyError:
        raise UserError(f"{path}: a sweep named {name!r} is already there: choose another name") from None


def open_study(path: Path, name: str) -> optuna.Study:
    """Open the ledger of a sweep.

    Raises:
        UserError: there is no such journal, or no study of this name in it.
    """
    if not path.is_file():  # or Optuna would make an empty one
        raise UserError(f"{path}: no such file, so no sweep named {name!r}")
    return _load(_journal(path), path, name)


def best(study: optuna.Study, n: int) -> list[FrozenTrial]:
    """The n finished trials with the highest scores, best first, one of each configuration; never a pruned one."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    distinct: dict[str, FrozenTrial] = {}
    for trial in sorted(finished, key=lambda trial: (-trial.value, trial.number)):
        distinct.setdefault(Space.key(params_of(trial)), trial)
    return list(distinct.values())[:n]


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial of the ledger was asked to train: dotted keys of ChainConfig → values."""
    return trial.user_attrs["params"]


def confirmed(study: optuna.Study) -> dict[str, float]:
    """Key of the params → mean validation UAR on fresh seeds, of each configuration that was confirmed."""
    return study.user_attrs.get("confirmed", {})


class Ledger:
    """A study with what Optuna offers on its storage alone: writing to a trial known by its number."""

    def __init__(self, path: Path, name: str):
        """Open the study `name` of the journal at `path`."""
        self._storage = _journal(path)
        self.study = _load(self._storage, path, name)

    def ended(self) -> dict[str, int]:
        """Key of the params → number of each trial that has ended; not of copies, nor of what a dead driver left."""
        finished = (trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished())
        own = (trial for trial in finished if not {"copy_of", "interrupted"} & trial.user_attrs.keys())
        return {Space.key(params_of(trial)): trial.number for trial in own}

    def note(self, number: int, result: Mapping[str, Any]) -> None:
        """Write down the score of a student epoch, if the result has one."""
        if not {"student_epoch", "score"} <= result.keys():
            return
        step = int(result["student_epoch"])
        if step not in self._trial(number).intermediate_values:  # a restarted trial reports epochs again
            self._storage.set_trial_intermediate_value(self._id(number), step, float(result["score"]))

    def annotate(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Add user attributes to a trial that has not ended."""
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(self._id(number), name, value)

    def tell_copy(self, copy: int, number: int) -> None:
        """Tell of a copy what was told of the trial `number`."""
        original = self._trial(number)
        if (step := original.last_step) is not None:
            self.note(copy, {"student_epoch": step, "score": original.intermediate_values[step]})
        self.study.tell(copy, original.value if original.state == TrialState.COMPLETE else None, original.state)

    def confirm(self, params: Mapping[str, Any], score: float) -> None:
        """Write down what a configuration reached on fresh seeds."""
        self.study.set_user_attr("confirmed", {**confirmed(self.study), Space.key(params): score})

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        """Numbers count within a study, ids over all studies of a journal."""
        study = self._storage.get_study_id_from_name(self.study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)


def _journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _load(storage: JournalStorage, path: Path, name: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = ", ".join(study.study_name for study in storage.get_all_studies())
        raise UserError(f"{path}: no sweep named {name!r}; it holds {names or 'none'}") from None
