"""Whose turn it is: which proposals run, and which wait because the stage they need next is being trained.

No stage is trained twice at the same time. What the trials of this sweep train is known here, from what they report;
what other processes train shows in the stage cache, where a trial that meets it gives its place up and says so.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.space.trial_config import Kind, TrialConfig
from sermodels.config.settings import STAGES, StageName
from sermodels.training.cache import StageCache
from sermodels.training.stage import Stage

LOOK_EVERY_S = 1.0  # at a stage that another process is training


@dataclass(kw_only=True)
class Proposal:
    """A configuration that is to be trained, or is being trained."""

    number: int | None  # of its trial in the study; a confirmation has none
    trial: TrialConfig
    stages: Mapping[StageName, tuple[Stage, ...]]  # of each lane
    reached: int = 0  # place in STAGES of the stage it is in: those before it are in the cache
    awaits: Stage | None = None  # in training by another process
    looked_s: float = 0.0  # monotonic time of the last look whether `awaits` is still in training

    @property
    def params(self) -> Mapping[str, Any]:
        """Dotted keys of ChainConfig → values."""
        return self.trial.params

    @property
    def kind(self) -> Kind:
        """What it is trained for."""
        return self.trial.kind


class Turns:
    """The proposals of one sweep that are not finished."""

    def __init__(self, cache: StageCache):
        self.running: dict[str, Proposal] = {}  # by Tune's trial id
        self.waiting: list[Proposal] = []
        self._cache = cache
        self._trained: set[Stage] = set()  # that trials of this sweep got through

    def next(self) -> Proposal | None:
        """Take the first waiting proposal that may start now."""
        for place, proposal in enumerate(self.waiting):
            if self.may_start(proposal):
                return self.waiting.pop(place)
        return None

    def may_start(self, proposal: Proposal) -> bool:
        """Return whether no stage that a proposal needs is being trained elsewhere."""
        if any(self._must_wait(proposal, other) for other in self.running.values()):
            return False
        return proposal.awaits is None or not self._still_busy(proposal, proposal.awaits)

    def start(self, trial_id: str, proposal: Proposal) -> None:
        """Note that a proposal is handed to Tune; it begins behind the stages that trials of this sweep got through."""
        proposal.awaits = None
        proposal.reached = next(
            (place for place, name in enumerate(STAGES) if not self._trained.issuperset(proposal.stages[name])),
            len(STAGES) - 1,
        )
        self.running[trial_id] = proposal

    def advance(self, trial_id: str, stage: StageName) -> bool:
        """Note that a running trial is in a stage; return whether that is further than was known."""
        proposal, place = self.running[trial_id], STAGES.index(stage)
        if place <= proposal.reached:
            return False
        for name in STAGES[proposal.reached : place]:
            self._trained.update(proposal.stages[name])
        proposal.reached = place
        return True

    def end(self, trial_id: str) -> Proposal | None:
        """Forget a trial that is over; return it, or None if it is not one of ours."""
        return self.running.pop(trial_id, None)

    def give_up(self, trial_id: str, key: str) -> None:
        """Note that a trial met a stage that another process is training, and waits until that is done.

        Args:
            trial_id: Tune's.
            key: of the stage.
        """
        proposal = self.running.pop(trial_id)
        stages = (stage for lanes in proposal.stages.values() for stage in lanes)
        proposal.awaits = next((stage for stage in stages if stage.key == key), None)
        self.waiting.append(proposal)

    def _must_wait(self, proposal: Proposal, other: Proposal) -> bool:
        """Return whether another one is training, or is yet to train, a stage that a proposal needs."""
        # All trials of a sweep have the same lanes, in one order; those of confirmations have other seeds.
        pairs = (zip(proposal.stages[n], other.stages[n], strict=False) for n in STAGES[other.reached :])
        return any(
            mine.shares_with(theirs) and mine not in self._trained for of_stage in pairs for mine, theirs in of_stage
        )

    def _still_busy(self, proposal: Proposal, stage: Stage) -> bool:
        if time.monotonic() - proposal.looked_s < LOOK_EVERY_S:
            return True
        proposal.looked_s = time.monotonic()
        return self._cache.is_busy(stage)
