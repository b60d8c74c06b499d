"""The Optuna study: the ledger of what was proposed and what came of it, in a journal file.

Every proposal is a trial of the study, in one of Optuna's states: RUNNING, COMPLETE (finished, its value the score),
PRUNED (stopped by the scheduler, its value the last score reported) or FAIL. Its user attributes: `params` (dotted keys
of ChainConfig → values), `trial_id` (Tune's), `copy_of` (number of the trial that was trained in its place, having the
same params), `interrupted` (its driver died), and of its last result `key` and `val_uar_std`.
"""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from search.preset import Preset
from search.space import Space
from sermodels.errors import UserError

MAX_ASKS = 50  # proposals in a row that are known already before the grid is asked instead
NOTED = ("val_uar_std", "key")  # of a trial's last result


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


class StudySearcher(Searcher):
    """Proposes configurations to Tune and writes down what came of them; the journal alone holds the truth.

    A proposal that is known already is told its outcome at once; one that equals a running trial is told that trial's
    outcome when it is there. Neither is trained again. The search ends when the preset's number of configurations has
    been given out, or a finite space is used up.
    """

    def __init__(self, *, path: Path, name: str, space: Space, preset: Preset):
        """Search `space` in the way of `preset`, in the study `name` of the journal at `path`; it must exist."""
        super().__init__(metric="score", mode="max")
        self._path, self._name, self._space, self._preset = path, name, space, preset
        self._live: _Ledger | None = None
        self._running: dict[str, int] = {}  # Tune's trial id → number in the study
        self._copies: dict[int, list[int]] = {}  # number of a running trial → numbers that wait for its outcome
        self._held_back = False  # until a trial ends: Tune asks many times a second, and each asking is written down

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The params of a new trial; None: ask again when another has ended; FINISHED: there are no more."""
        if self._held_back:
            return None
        size = self._space.size()
        if len(self._known()) >= min(self._preset.trials, size or math.inf):
            return Searcher.FINISHED
        for asked in range(MAX_ASKS + 1):
            from_grid = self._preset.sampler == "grid" or asked == MAX_ASKS
            if from_grid and not self._enqueue_untried():
                break
            if (params := self._ask(trial_id)) is not None:
                return params
        self._held_back = bool(self._running) and size is None
        return None if self._held_back else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note the score of an epoch of the student stage; other results say nothing of it."""
        if trial_id in self._running:
            self._ledger.note(self._running[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study what came of a trial, and of its copies; Tune gives the last result to this method alone."""
        number = self._running.pop(trial_id, None)
        if number is None:
            return
        self._held_back = False
        result = result or {}
        self._ledger.note(number, result)
        self._ledger.annotate(number, {name: result[name] for name in NOTED if name in result})
        state, score = _verdict(result, error)
        self._ledger.study.tell(number, score, state)
        for copy in self._copies.pop(number, []):
            self._ledger.tell_copy(copy, number)

    def requeue_interrupted(self) -> int:
        """Have the trials that a dead driver left running proposed again; returns how many.

        They are told FAIL; a chain proposed again goes on from its cached epochs. Call it before the search starts.
        """
        left = self._ledger.study.get_trials(states=(TrialState.RUNNING,))
        for trial in left:
            self._ledger.annotate(trial.number, {"interrupted": True})
            self._ledger.study.tell(trial.number, state=TrialState.FAIL)
        again = [trial for trial in left if "params" in trial.user_attrs and "copy_of" not in trial.user_attrs]
        for trial in again:
            self._ledger.study.enqueue_trial(trial.params)
        return len(again)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal holds the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the journal holds the truth."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_live": None}

    @property
    def _ledger(self) -> "_Ledger":
        """The study, opened at first use and again after pickling."""
        if self._live is None:
            self._live = _Ledger(self._path, self._name)
            # A seed of its own for each opening: a search that goes on must not repeat its first proposals.
            seed = self._preset.search_seed + len(self._live.study.get_trials(deepcopy=False))
            self._live.study.sampler = _sampler(self._preset, seed)
        return self._live

    def _known(self) -> dict[str, FrozenTrial]:
        """Key → trial of each configuration that is running here or has ended; not what a dead driver left."""
        given = {}
        for trial in self._ledger.study.get_trials(deepcopy=False):
            ours = trial.state.is_finished() or trial.number in self._running.values()
            if ours and not {"copy_of", "interrupted"} & trial.user_attrs.keys():
                given[Space.key(params_of(trial))] = trial
        return given

    def _ask(self, trial_id: str) -> dict[str, Any] | None:
        """Ask Optuna; None if the answer is known, which is then told, or kept until the outcome is there."""
        known = self._known()
        trial = self._ledger.study.ask()
        params = self._space.suggest(trial)
        trial.set_user_attr("params", params)
        if (twin := known.get(Space.key(params))) is None:
            trial.set_user_attr("trial_id", trial_id)
            self._running[trial_id] = trial.number
            return params
        trial.set_user_attr("copy_of", twin.number)
        if twin.state.is_finished():
            self._ledger.tell_copy(trial.number, twin.number)
        else:
            self._copies.setdefault(twin.number, []).append(trial.number)
        return None

    def _enqueue_untried(self) -> bool:
        """Have Optuna ask for the first point of the grid that is not known; False if there is none."""
        if self._space.size() is None:
            return False
        if self._ledger.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return True
        known = self._known()
        untried = (p for p in self._space.points() if Space.key(self._space.params(p)) not in known)
        if (point := next(untried, None)) is not None:
            self._ledger.study.enqueue_trial(point)
        return point is not None


class _Ledger:
    """A study with what Optuna offers on its storage alone: writing to a trial known by its number."""

    def __init__(self, path: Path, name: str):
        self._storage = _journal(path)
        self.study = _load(self._storage, path, name)

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

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        """Numbers count within a study, ids over all studies of a journal."""
        study = self._storage.get_study_id_from_name(self.study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)


def _verdict(result: Mapping[str, Any], error: bool) -> tuple[TrialState, float | None]:
    """What a trial's last result says became of it: its state, and its score if it finished."""
    score = float(result.get("score", math.nan))
    if error or result.get("outcome") == "failed":
        return TrialState.FAIL, None
    if not result.get("finished"):
        return TrialState.PRUNED, None  # Optuna takes the last score noted
    return (TrialState.COMPLETE, score) if math.isfinite(score) else (TrialState.FAIL, None)


def _sampler(preset: Preset, seed: int) -> BaseSampler:
    if preset.sampler != "tpe":
        return RandomSampler(seed=seed)  # under grid every trial is enqueued, so nothing is drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group`: conditional axes are modelled apart
        return TPESampler(
            seed=seed,
            n_startup_trials=preset.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,  # running trials count as poor ones: parallel proposals spread out
        )


def _journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _load(storage: JournalStorage, path: Path, name: str) -> optuna.Study:
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = ", ".join(study.study_name for study in storage.get_all_studies())
        raise UserError(f"{path}: no sweep named {name!r}; it holds {names or 'none'}") from None
