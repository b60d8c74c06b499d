"""Which configuration comes next: Optuna's proposals, without repetition, and without training a stage twice.

The ledger (ledger.py) holds the truth; what is kept here in memory concerns the trials of this process alone, and whose
turn it is among them (turns.py).
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.scheduling.ledger import Ledger, best, params_of
from search.scheduling.turns import Proposal, Turns
from search.space.outcome import Outcome
from search.space.preset import Preset
from search.space.space import Space
from search.space.trial_config import Kind, resolve
from search.space.trial_result import TrialResult
from sermodels.config.settings import STAGES
from sermodels.training.cache import StageCache
from sermodels.training.stage import stages_of

MAX_ASKS = 50  # proposals in a row that are known already before the grid is asked instead
MOST_WAITING_OF_TPE = 4  # proposals that wait for a stage which another trial is training


class StudySearcher(Searcher):
    """Proposes configurations to Tune and writes down what came of them.

    A proposal that is known already is told its outcome at once; one that equals a running trial is told that trial's
    outcome when it is there. Neither is trained again. One that needs a teacher or a match which is just being trained
    waits until that stage is in the cache, and others go first. When the preset's number of configurations has been
    given out, or a finite space is used up, and all have ended, the best are proposed again as confirmations; then the
    search ends.
    """

    def __init__(
        self,
        *,
        path: Path,
        name: str,
        space: Space,
        preset: Preset,
        fingerprint: str,
        fresh_seeds: tuple[int, ...],
        stages: Path,
        slots: Callable[[], int],
    ):
        """Search a space.

        Args:
            path: of the journal.
            name: of the study in it; it must exist.
            space: to propose from.
            preset: says how.
            fingerprint: of the store.
            fresh_seeds: of confirmations, in place of the chain's.
            stages: folder of the stage cache.
            slots: how many trials the cluster can hold at once now.
        """
        super().__init__(metric="score", mode="max")
        self._path, self._name, self._space, self._preset = path, name, space, preset
        self._fingerprint, self._fresh_seeds = fingerprint, fresh_seeds
        self._turns = Turns(StageCache(stages))
        self._copies: dict[int, list[int]] = {}  # number of a trial not ended → numbers that wait for its outcome
        self._slots, self._known_slots = slots, 0
        self._confirming = False
        self._held_back = False  # until a trial gets on: Tune asks many times a second, and each asking is written down
        self._live: Ledger | None = None
        self._given: dict[str, int] | None = None  # see `_known`
        self._untried: Iterator[dict[str, Any]] | None = None  # points of the grid not looked at yet

    # Ray's annotation leaves out FINISHED, a text, which its docstring offers as an answer.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the configuration of a new trial; None: ask again when another has got on; FINISHED: no more."""
        if self._is_full():
            return None
        if (proposal := self._turns.next()) is None and not self._held_back:
            proposal = self._new()
        if proposal is not None:
            return self._give(trial_id, proposal)
        if self._turns.running or self._turns.waiting:
            self._held_back = True
            return None
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note which stage a trial has reached, and the score of an epoch of the student stage."""
        if (trial := self._turns.running.get(trial_id)) is None:
            return
        reported = TrialResult.from_tune(result)
        if reported.stage and self._turns.advance(trial_id, reported.stage):
            self._held_back = False
        if trial.number is not None:
            self._note(trial.number, reported)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study what came of a trial, and of its copies; Tune gives the last result to this method alone."""
        last = TrialResult.from_tune(result)
        self._held_back = False
        if last.outcome == Outcome.WAITING and not error:
            self._turns.give_up(trial_id, last.awaits)
        elif (trial := self._turns.end(trial_id)) is None:
            return
        elif trial.number is not None:
            self._tell(trial.number, last, error)
        elif last.outcome == Outcome.FINISHED and last.score is not None:
            self._ledger.confirm(trial.params, last.score, last.lanes)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the journal holds the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the journal holds the truth."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_live": None, "_untried": None}

    @property
    def _ledger(self) -> Ledger:
        """The study, opened at first use and again after pickling."""
        if self._live is None:
            self._live = Ledger(self._path, self._name)
            # A seed of its own for each opening: a search that goes on must not repeat its first proposals.
            seed = self._preset.search_seed + len(self._live.study.get_trials(deepcopy=False))
            self._live.study.sampler = _sampler(self._preset, seed)
        return self._live

    @property
    def _known(self) -> dict[str, int]:
        """Key of the params → number of each trial that ended, runs or waits; kept up here, not read again."""
        if self._given is None:
            self._given = self._ledger.ended()
        return self._given

    def _is_full(self) -> bool:
        """Whether every slot has its trial, and one more is there to follow at once in the process of one that ends."""
        if len(self._turns.running) > self._known_slots and not self._held_back:
            self._known_slots = self._slots()  # again: nodes come and go
            self._held_back = len(self._turns.running) > self._known_slots
        return len(self._turns.running) > self._known_slots

    def _new(self) -> Proposal | None:
        """Ask for proposals until one can be trained now; those that cannot yet are put into the waiting list."""
        for asked in range(MAX_ASKS + 1):
            if self._all_given():
                return self._confirmation()
            if len(self._turns.waiting) >= self._most_waiting():
                return None
            from_grid = self._preset.sampler == "grid" or asked == MAX_ASKS
            if from_grid and not self._enqueue_untried():
                return self._confirmation()
            if (proposal := self._ask()) is None:
                continue
            if self._turns.may_start(proposal):
                return proposal
            self._turns.waiting.append(proposal)
        return self._confirmation()

    def _all_given(self) -> bool:
        return len(self._known) >= min(self._preset.trials, self._space.size() or math.inf)

    def _most_waiting(self) -> int:
        """TPE learns from every outcome, so few are asked for ahead; the others know beforehand what they ask for."""
        return MOST_WAITING_OF_TPE if self._preset.sampler == "tpe" else self._preset.trials

    def _give(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        """Hand a proposal to Tune."""
        if proposal.number is not None:
            self._ledger.annotate(proposal.number, {"trial_id": trial_id})
        self._turns.start(trial_id, proposal)
        return proposal.trial.to_tune()

    def _proposal(self, number: int | None, kind: Kind, params: Mapping[str, Any]) -> Proposal:
        """Resolve what is to be trained. What cannot be becomes a trial that fails and says why."""
        trial = resolve(kind, params, self._preset.chain, self._fresh_seeds)
        stages = stages_of(trial.chain, self._fingerprint) if trial.chain else dict.fromkeys(STAGES, ())
        return Proposal(number=number, trial=trial, stages=stages)

    def _ask(self) -> Proposal | None:
        """Ask Optuna; None if the answer is known, whose outcome is then told, now or when it is there."""
        trial = self._ledger.study.ask()
        params = self._space.suggest(trial)
        trial.set_user_attr("params", params)
        twin = self._known.setdefault(Space.key(params), trial.number)
        if twin == trial.number:
            return self._proposal(trial.number, "trial", params)
        trial.set_user_attr("copy_of", twin)
        if any(proposal.number == twin for proposal in (*self._turns.running.values(), *self._turns.waiting)):
            self._copies.setdefault(twin, []).append(trial.number)
        else:
            self._ledger.tell_copy(trial.number, twin)
        return None

    def _note(self, number: int, result: TrialResult) -> None:
        if result.student_epoch is not None and result.score is not None:
            self._ledger.note(number, result.student_epoch, result.score)

    def _tell(self, number: int, result: TrialResult, error: bool) -> None:
        self._note(number, result)
        if "val_uar_std" in result.figures:
            self._ledger.annotate(number, {"val_uar_std": result.figures["val_uar_std"]})
        state, score = _verdict(result, error)
        self._ledger.study.tell(number, score, state)
        for copy in self._copies.pop(number, []):
            self._ledger.tell_copy(copy, number)

    def _enqueue_untried(self) -> bool:
        """Have Optuna ask for the first point of the grid that is not known; False if there is none."""
        if self._space.size() is None:
            return False
        if self._ledger.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return True
        self._untried = self._untried or self._space.points()
        for point in self._untried:
            if Space.key(self._space.params(point)) not in self._known:
                self._ledger.study.enqueue_trial(point)
                return True
        return False

    def _confirmation(self) -> Proposal | None:
        """The first of the best to be trained again, once all trials have ended; the others then wait."""
        if self._confirming or self._turns.running or self._turns.waiting:
            return None
        self._confirming = True
        for trial in best(self._ledger.study, self._preset.confirm):
            self._turns.waiting.append(self._proposal(None, "confirmation", params_of(trial)))
        return self._turns.next()


def _verdict(result: TrialResult, error: bool) -> tuple[TrialState, float | None]:
    """Return the state that a trial's last result leaves it in, and its score if it finished."""
    if error or result.outcome == Outcome.FAILED:
        return TrialState.FAIL, None
    if result.outcome != Outcome.FINISHED:
        return TrialState.PRUNED, None  # Optuna takes the last score noted
    finite = result.score is not None and math.isfinite(result.score)
    return (TrialState.COMPLETE, result.score) if finite else (TrialState.FAIL, None)


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
