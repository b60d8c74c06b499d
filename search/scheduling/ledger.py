"""The Optuna study: the ledger of what was proposed and what came of it, in a journal file.

Every proposal is a trial of the study, in one of Optuna's states: RUNNING, COMPLETE (finished, its value the score),
PRUNED (stopped by the scheduler, its value the last score reported) or FAIL. Its user attributes: `params` (dotted keys
of ChainConfig → values), `trial_id` (Tune's), `copy_of` (number of the trial that was trained in its place, having the
same params), `interrupted` (its driver died), and `val_uar_std` of its last result. Attributes of the study itself:
`about` (how it began, see resume.py), `confirmed` and `confirmed_lanes` (scores of the best on fresh seeds), `retried`
(numbers of failed trials whose configurations were proposed again).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from search.library_internals import NumberedTrials, journal_lock
from search.space.lane_scores import LaneScores, from_json, to_json
from search.space.space import Space
from sermodels.errors import UserError
from sermodels.files import whole_lines


def create_study(path: Path, name: str, about: Mapping[str, Any] | None = None) -> optuna.Study:
    """Begin the ledger of a sweep.

    Args:
        path: of the journal; made with its folder if missing.
        name: of the study.
        about: what a sweep that goes on has to know of its beginning, in the forms of JSON.

    Raises:
        UserError: the journal holds a study of this name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(study_name=name, storage=_journal(path), direction="maximize")
    except DuplicatedStudyError:
        raise UserError(f"{path}: a sweep named {name!r} is already there: choose another name") from None
    study.set_user_attr("about", dict(about or {}))
    return study


def open_study(path: Path, name: str) -> optuna.Study:
    """Open the ledger of a sweep.

    Raises:
        UserError: there is no such journal, or no study of this name in it.
    """
    if not path.is_file():  # or Optuna would make an empty one
        raise UserError(f"{path}: no such file, so no sweep named {name!r}")
    return _load(_journal(path), path, name)


def mend(path: Path) -> None:
    """Take away what a killed process may have left of a journal: a line without its end, a lock.

    Only for the one process that may write it.
    """
    journal_lock(path).unlink(missing_ok=True)
    with path.open("r+b") as file:
        file.truncate(whole_lines(file.fileno()))


def best(study: optuna.Study, n: int) -> list[FrozenTrial]:
    """Return the n finished trials with the highest scores, best first, one of each configuration; none pruned."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    distinct: dict[str, FrozenTrial] = {}
    for trial in sorted(finished, key=lambda trial: (-score_of(trial), trial.number)):
        distinct.setdefault(Space.key(params_of(trial)), trial)
    return list(distinct.values())[:n]


def score_of(trial: FrozenTrial) -> float:
    """Return the score of a finished trial of the ledger.

    Raises:
        ValueError: it has none: it has not finished.
    """
    if trial.value is None:
        raise ValueError(f"trial {trial.number} has no score, it is {trial.state.name}")
    return trial.value


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial of the ledger was asked to train: dotted keys of ChainConfig → values."""
    params: dict[str, Any] = trial.user_attrs["params"]
    return params


def confirmed(study: optuna.Study) -> dict[str, float]:
    """Return key of the params → mean validation UAR on fresh seeds, of each configuration that was confirmed."""
    scores: dict[str, float] = study.user_attrs.get("confirmed", {})
    return scores


def confirmed_lanes(study: optuna.Study) -> dict[str, LaneScores]:
    """Key of the params → score of each lane on fresh seeds, of each configuration that was confirmed."""
    return {key: from_json(scores) for key, scores in study.user_attrs.get("confirmed_lanes", {}).items()}


def failures(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that failed by themselves and were not proposed again since."""
    retried = set(study.user_attrs.get("retried", ()))
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        if trial.number not in retried and not {"copy_of", "interrupted"} & trial.user_attrs.keys()
    ]


class Ledger:
    """A study whose trials are written to by number."""

    def __init__(self, path: Path, name: str):
        """Open the study `name` of the journal at `path`."""
        storage = _journal(path)
        self.study = _load(storage, path, name)
        self._trials = NumberedTrials(storage, name)

    def ended(self) -> dict[str, int]:
        """Key of the params → number of each trial that has ended; not of copies, nor of those to be trained again."""
        retried = set(self.study.user_attrs.get("retried", ()))
        finished = (trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished())
        own = (
            trial
            for trial in finished
            if trial.number not in retried and not {"copy_of", "interrupted"} & trial.user_attrs.keys()
        )
        return {Space.key(params_of(trial)): trial.number for trial in own}

    def note(self, number: int, student_epoch: int, score: float) -> None:
        """Record the score of a student epoch, once: a restarted trial reports epochs again."""
        if student_epoch not in self._trials[number].intermediate_values:
            self._trials.note(number, student_epoch, score)

    def annotate(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Add user attributes to a trial that has not ended."""
        for name, value in attributes.items():
            self._trials.annotate(number, name, value)

    def tell_copy(self, copy: int, number: int) -> None:
        """Tell of a copy what was told of the trial `number`."""
        original = self._trials[number]
        if (step := original.last_step) is not None:
            self.note(copy, step, original.intermediate_values[step])
        self.study.tell(copy, original.value if original.state == TrialState.COMPLETE else None, original.state)

    def requeue_interrupted(self) -> int:
        """Have the trials that a dead driver left running proposed again; returns how many.

        Their chains go on from their cached epochs. Call it before the search goes on.
        """
        left = self.study.get_trials(states=(TrialState.RUNNING,))
        again = [trial for trial in left if "params" in trial.user_attrs and "copy_of" not in trial.user_attrs]
        for trial in again:
            self.study.enqueue_trial(trial.params)
        for trial in left:
            self.annotate(trial.number, {"interrupted": True})
            self.study.tell(trial.number, state=TrialState.FAIL)
        return len(again)

    def requeue_failed(self) -> int:
        """Have the configurations that failed proposed again; returns how many."""
        failed = failures(self.study)
        for trial in failed:
            self.study.enqueue_trial(trial.params)
        retried = [*self.study.user_attrs.get("retried", ()), *(trial.number for trial in failed)]
        self.study.set_user_attr("retried", retried)
        return len(failed)

    def confirm(self, params: Mapping[str, Any], score: float, lanes: LaneScores) -> None:
        """Record what a configuration reached on fresh seeds: the mean, and each lane's."""
        key = Space.key(params)
        all_lanes = confirmed_lanes(self.study) | {key: lanes}
        self.study.set_user_attr("confirmed_lanes", {key: to_json(scores) for key, scores in all_lanes.items()})
        self.study.set_user_attr("confirmed", {**confirmed(self.study), key: score})


def _journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _load(storage: JournalStorage, path: Path, name: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = ", ".join(optuna.get_all_study_names(storage))
        raise UserError(f"{path}: no sweep named {name!r}; it holds {names or 'none'}") from None
