"""The score of each lane, and its form in JSON: in tags, studies and bundles."""

import re
from collections.abc import Mapping
from typing import Any

from sermodels.config.settings import Lane

LaneScores = Mapping[Lane, float]  # validation UAR of the student's last epoch


def to_json(scores: LaneScores) -> list[list[float]]:
    """Return `[fold, seed, score]` of each lane."""
    return [[lane.fold, lane.seed, score] for lane, score in scores.items()]


def from_json(found: Any) -> LaneScores:
    """Read what `to_json` returned, or the form of earlier versions: `{"fold 0, seed 1": score}`.

    Raises:
        ValueError: neither of these.
    """
    try:
        if isinstance(found, Mapping):
            return {_lane_of_earlier(name): float(score) for name, score in found.items()}
        return {Lane(int(fold), int(seed)): float(score) for fold, seed, score in found}
    except (TypeError, ValueError) as error:
        raise ValueError(f"not the scores of lanes: {found!r}") from error


def _lane_of_earlier(name: str) -> Lane:
    if (found := re.fullmatch(r"fold (\d+), seed (\d+)", name)) is None:
        raise ValueError(f"not a lane: {name!r}")
    return Lane(int(found[1]), int(found[2]))
