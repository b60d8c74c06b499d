"""Which configuration comes next: Optuna's proposals, without repetition, and without training a stage twice.

The ledger (study.py) holds the truth; what is kept here in memory concerns the trials of this process alone.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from search.preset import Preset
from search.space import Space
from search.study import Ledger, params_of
from sermodels.stages import STAGES, stage_of

MAX_ASKS = 50  # proposals in a row that are known already before the grid is asked instead
MOST_WAITING_OF_TPE = 4  # proposals that wait for a stage which another trial is training
NOTED = ("val_uar_std", "key")  # of a trial's last result


@dataclass(kw_only=True)
class _Proposal:
    """A trial of the study that is to be trained, or is being trained."""

    number: int  # in the study
    params: dict[str, Any]
    reached: int = 0  # place in STAGES of the stage it is in: those before it are in the cache


class StudySearcher(Searcher):
    """Proposes configurations to Tune and writes down what came of them.

    A proposal that is known already is told its outcome at once; one that equals a running trial is told that trial's
    outcome when it is there. Neither is trained again. One that needs a teacher or a match which a running trial is
    just training waits until that stage is in the cache, and others go first. The search ends when the preset's number
    of configurations has been given out, or a finite space is used up.
    """

    def __init__(self, *, path: Path, name: str, space: Space, preset: Preset):
        """Search `space` in the way of `preset`, in the study `name` of the journal at `path`; it must exist."""
        super().__init__(metric="score", mode="max")
        self._path, self._name, self._space, self._preset = path, name, space, preset
        self._live: Ledger | None = None
        self._running: dict[str, _Proposal] = {}  # by Tune's trial id
        self._ended: list[_Proposal] = []
        self._waiting: list[_Proposal] = []  # for a stage that a running trial is training
        self._copies: dict[int, list[int]] = {}  # number of a trial not ended → numbers that wait for its outcome
        self._held_back = False  # until a trial gets on: Tune asks many times a second, and each asking is written down

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The params of a new trial; None: ask again when another has got on; FINISHED: there are no more."""
        for place, proposal in enumerate(self._waiting):
            if not self._in_training(proposal):
                return self._give(trial_id, self._waiting.pop(place))
        if self._held_back:
            return None
        if (proposal := self._new()) is not None:
            return self._give(trial_id, proposal)
        repeating = self._running and self._space.size() is None and not self._all_given()
        self._held_back = bool(self._waiting or repeating)
        return None if self._held_back else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note which stage a trial has reached, and the score of an epoch of the student stage."""
        if (trial := self._running.get(trial_id)) is None:
            return
        if (reached := _place_of(result)) > trial.reached:
            trial.reached, self._held_back = reached, False
        self._ledger.note(trial.number, result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study what came of a trial, and of its copies; Tune gives the last result to this method alone."""
        if (trial := self._running.pop(trial_id, None)) is None:
            return
        self._ended.append(trial)
        self._held_back = False
        result = result or {}
        self._ledger.note(trial.number, result)
        self._ledger.annotate(trial.number, {name: result[name] for name in NOTED if name in result})
        state, score = _verdict(result, error)
        self._ledger.study.tell(trial.number, score, state)
        for copy in self._copies.pop(trial.number, []):
            self._ledger.tell_copy(copy, trial.number)

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
    def _ledger(self) -> Ledger:
        """The study, opened at first use and again after pickling."""
        if self._live is None:
            self._live = Ledger(self._path, self._name)
            # A seed of its own for each opening: a search that goes on must not repeat its first proposals.
            seed = self._preset.search_seed + len(self._live.study.get_trials(deepcopy=False))
            self._live.study.sampler = _sampler(self._preset, seed)
        return self._live

    def _new(self) -> _Proposal | None:
        """Ask for proposals until one can be trained now; those that cannot yet are put into the waiting list."""
        for asked in range(MAX_ASKS + 1):
            if self._all_given() or len(self._waiting) >= self._most_waiting():
                return None
            from_grid = self._preset.sampler == "grid" or asked == MAX_ASKS
            if from_grid and not self._enqueue_untried():
                return None
            if (proposal := self._ask()) is None:
                continue
            if not self._in_training(proposal):
                return proposal
            self._waiting.append(proposal)
        return None

    def _all_given(self) -> bool:
        return len(self._known()) >= min(self._preset.trials, self._space.size() or math.inf)

    def _most_waiting(self) -> int:
        """TPE learns from every outcome, so few are asked for ahead; the others know beforehand what they ask for."""
        return MOST_WAITING_OF_TPE if self._preset.sampler == "tpe" else self._preset.trials

    def _in_training(self, proposal: _Proposal) -> bool:
        """Whether a running trial is just training a teacher, or a match, that this proposal needs too."""
        return any(trial.reached < self._shared(proposal, trial) < len(STAGES) for trial in self._running.values())

    def _shared(self, one: _Proposal, other: _Proposal) -> int:
        return self._space.stages_shared(one.params, other.params)

    def _give(self, trial_id: str, proposal: _Proposal) -> dict[str, Any]:
        """Hand a proposal to Tune."""
        self._ledger.annotate(proposal.number, {"trial_id": trial_id})
        earlier = (*self._running.values(), *self._ended)
        shared = [min(other.reached, self._shared(proposal, other)) for other in earlier]
        proposal.reached = max(shared, default=0)
        self._running[trial_id] = proposal
        return proposal.params

    def _known(self) -> dict[str, FrozenTrial]:
        """Key → trial of each configuration that runs or waits here, or has ended; not what a dead driver left."""
        ours = {proposal.number for proposal in (*self._running.values(), *self._waiting)}
        given = {}
        for trial in self._ledger.study.get_trials(deepcopy=False):
            counts = trial.state.is_finished() or trial.number in ours
            if counts and not {"copy_of", "interrupted"} & trial.user_attrs.keys():
                given[Space.key(params_of(trial))] = trial
        return given

    def _ask(self) -> _Proposal | None:
        """Ask Optuna; None if the answer is known, whose outcome is then told, now or when it is there."""
        known = self._known()
        trial = self._ledger.study.ask()
        params = self._space.suggest(trial)
        trial.set_user_attr("params", params)
        if (twin := known.get(Space.key(params))) is None:
            return _Proposal(number=trial.number, params=params)
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


def _place_of(result: Mapping[str, Any]) -> int:
    """Place in STAGES of the stage that a result speaks of."""
    epochs = result.get("epochs")
    return STAGES.index(stage_of(epochs[-1])) if epochs else 0


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
