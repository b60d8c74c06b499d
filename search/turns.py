"""Whose turn it is: which proposals run, and which wait because the stage they need next is being trained.

No stage is trained twice at the same time. What the trials of this sweep train is known here, from what they report;
what other processes train shows in the stage cache, where a trial that meets it gives its place up and says so.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search.space import Space
from sermodels.cache import StageCache
from sermodels.stages import STAGES

Kind = Literal["trial", "confirmation"]
LOOK_EVERY_S = 1.0  # at a stage that another process is training


@dataclass(kw_only=True)
class Proposal:
    """A configuration that is to be trained, or is being trained."""

    number: int | None  # of its trial in the study; a confirmation has none
    params: Mapping[str, Any]  # dotted keys of ChainConfig → values
    kind: Kind = "trial"
    reached: int = 0  # place in STAGES of the stage it is in: those before it are in the cache
    awaits: tuple[str, str] | None = None  # stage and key that another process had claimed
    looked_s: float = 0.0  # when it was last looked whether it still does

    @property
    def config(self) -> dict[str, Any]:
        """What Tune gives to the trial."""
        return {"kind": self.kind, "params": dict(self.params)}


class Turns:
    """The proposals of one sweep that are not finished."""

    def __init__(self, cache: StageCache):
        self.running: dict[str, Proposal] = {}  # by Tune's trial id
        self.waiting: list[Proposal] = []
        self._cache = cache
        self._cached: set[tuple[Kind, int, str]] = set()  # stages that trials which have ended got through

    def next(self) -> Proposal | None:
        """Take the first of those that wait and need not wait any longer."""
        for place, proposal in enumerate(self.waiting):
            if self.may_start(proposal):
                return self.waiting.pop(place)
        return None

    def may_start(self, proposal: Proposal) -> bool:
        """Whether no stage that a proposal needs is being trained elsewhere."""
        shared = ((self._shared(proposal, other), other.reached) for other in self.running.values())
        # Only students of different numbers of epochs share all stages: equal configurations are not proposed twice.
        if any(reached < stages < len(STAGES) for stages, reached in shared):
            return False
        return proposal.awaits is None or not self._still_busy(proposal)

    def start(self, trial_id: str, proposal: Proposal) -> None:
        """A proposal is handed to Tune; the stages that it shares with others are in the cache as far as they got."""
        proposal.awaits = None
        others = [min(other.reached, self._shared(proposal, other)) for other in self.running.values()]
        before = [stages for stages in range(1, len(STAGES) + 1) if _prefix(proposal, stages) in self._cached]
        proposal.reached = max([*others, *before], default=0)
        self.running[trial_id] = proposal

    def end(self, trial_id: str) -> Proposal | None:
        """A trial is over; None if it is not one of ours."""
        if (proposal := self.running.pop(trial_id, None)) is not None:
            self._cached |= {_prefix(proposal, stages) for stages in range(1, proposal.reached + 1)}
        return proposal

    def give_up(self, trial_id: str, stage: str, key: str) -> None:
        """A trial met a stage that another process is training, and waits until that is done."""
        proposal = self.running.pop(trial_id)
        proposal.awaits = (stage, key)
        self.waiting.append(proposal)

    def _shared(self, one: Proposal, other: Proposal) -> int:
        """Confirmations have seeds of their own, and so stages of their own."""
        return Space.stages_shared(one.params, other.params) if one.kind == other.kind else 0

    def _still_busy(self, proposal: Proposal) -> bool:
        if time.monotonic() - proposal.looked_s < LOOK_EVERY_S:
            return True
        proposal.looked_s = time.monotonic()
        return self._cache.is_busy(*proposal.awaits)


def _prefix(proposal: Proposal, stages: int) -> tuple[Kind, int, str]:
    """What the first stages of a proposal have in common with those of others."""
    return proposal.kind, stages, Space.key_of_stages(proposal.params, stages)
