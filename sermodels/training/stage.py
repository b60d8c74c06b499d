"""The identity of a `Stage`: the teacher, the match or the student of one lane, and all that determines it.

A trained stage is a pure function of what determines it. Its key, a hash of that, says where it lies in the stage cache
and whether two configurations share it. Not in a key: how many epochs the stage itself is trained (20 epochs are a
prefix of 50), commit, device, thread count.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sermodels.config.parsing import flatten, merged, to_plain
from sermodels.config.settings import STAGES, ChainConfig, Lane, StageName
from sermodels.networks.peers.ast import weights_sha256

# Raise a stage's number when its arithmetic changes: finished stages of the old arithmetic are then not reused.
STAGE_VERSION: dict[StageName, int] = {"teacher": 2, "match": 2, "student": 2}

# Place in a key → the setting that stands there. Settings of earlier stages enter through the key of the parent.
KEYED: Mapping[StageName, Mapping[str, str]] = {
    "teacher": {
        "split.protocol": "protocol",
        "split.seed": "split_seed",
        "split.all_data": "all_data",
        "precision": "precision",
        "shape.patch": "patch",
        "shape.dim": "dim",
        "shape.mlp": "mlp",
        "shape.head_dim": "head_dim",
        "shape.pooling": "pooling",
        "shape.encoding": "encoding",
        "settings.batch": "teacher.batch",
        "settings.lr": "teacher.lr",
        "settings.halve_every": "teacher.halve_every",
        "settings.network": "teacher.network",
        "settings.weights": "teacher.weights",
        "settings.depth": "teacher.depth",
        "settings.heads": "teacher.heads",
        "settings.stem": "teacher.stem",
    },
    "match": {
        "shape.depth": "student.depth",
        "shape.heads": "student.heads",
        "settings.batch": "match.batch",
        "settings.lr": "match.lr",
        "settings.halve_every": "match.halve_every",
    },
    "student": {
        "alpha": "alpha",
        "settings.batch": "student.batch",
        "settings.lr": "student.lr",
        "settings.halve_every": "student.halve_every",
        "settings.depth": "student.depth",
        "settings.heads": "student.heads",
    },
}
# Settings younger than the first caches: left out while they have their default, so that older keys stay as they were.
YOUNGER = ("all_data", "teacher.network", "teacher.weights")
# A key holds the key of the stage before, and how many epochs the stage before was trained.
EPOCHS_KEYED: Mapping[str, StageName] = {f"{before}.epochs": stage for before, stage in pairwise(STAGES)}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of one lane, after its last epoch. Two are equal if their keys and their epochs are equal."""

    name: StageName
    lane: Lane
    epochs: int  # of the stage itself, 0 or more
    determined_by: Mapping[str, Any] = field(compare=False, repr=False)  # plain JSON values
    parent: "Stage | None" = field(default=None, compare=False, repr=False)  # the stage before; None of a teacher
    key: str = field(init=False)  # sha256 of the canonical JSON of `determined_by`, in hex

    def __post_init__(self) -> None:
        canonical = json.dumps(self.determined_by, sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "key", hashlib.sha256(canonical.encode()).hexdigest())

    @property
    def id(self) -> str:
        """Key and epochs as text: names the result of the stage."""
        return f"{self.key}-{self.epochs:04}"

    @property
    def teacher(self) -> "Stage":
        """The teacher that the lane began with."""
        return self if self.parent is None else self.parent.teacher

    def shares_with(self, other: "Stage") -> bool:
        """Return whether the keys are equal: the first epochs of both, as many as both have, are the same."""
        return self.key == other.key

    def __str__(self) -> str:
        return f"{self.name} {self.key[:12]}"


def stages_of(config: ChainConfig, fingerprint: str) -> dict[StageName, tuple[Stage, ...]]:
    """Return the stages of a configuration on a store, one for each of `config.lanes`, in their order.

    Args:
        config: of a trial.
        fingerprint: of the store.

    Raises:
        UserError: `teacher.weights` cannot be read.
    """
    lanes = [lane_stages(config, fingerprint, lane) for lane in config.lanes]
    return {name: tuple(lane[name] for lane in lanes) for name in STAGES}


def lane_stages(config: ChainConfig, fingerprint: str, lane: Lane) -> dict[StageName, Stage]:
    """Return the three stages of one lane, which need not be one of `config.lanes`.

    Raises:
        UserError: `teacher.weights` cannot be read.
    """
    values = _values(config)
    found: dict[StageName, Stage] = {}
    parent = None
    for name in STAGES:
        own = {place: values[setting] for place, setting in KEYED[name].items() if setting in values}
        if parent is None:
            own |= {"store": fingerprint, "split.fold": lane.fold, "seed": lane.seed}
        else:
            own[parent.name] = [parent.key, parent.epochs]
        material = merged({"stage": name, "version": STAGE_VERSION[name]}, own)
        epochs = config.settings(name).epochs
        parent = found[name] = Stage(name=name, lane=lane, epochs=epochs, determined_by=material, parent=parent)
    return found


def first_stage(setting: str) -> StageName:
    """Return the first stage whose key a setting is part of; "student" for a setting that is in no key.

    Args:
        setting: dotted key of ChainConfig, such as `teacher.lr`.
    """
    if setting in EPOCHS_KEYED:
        return EPOCHS_KEYED[setting]
    return next((name for name in STAGES if setting in KEYED[name].values()), STAGES[-1])


def _values(config: ChainConfig) -> dict[str, Any]:
    """Dotted key → value as it stands in a key, without younger settings that have their default."""
    values = flatten(to_plain(config)) | {"alpha": float(config.alpha)}
    for setting in YOUNGER:
        if values[setting] == _DEFAULTS[setting]:
            del values[setting]
    if "teacher.weights" in values:
        values["teacher.weights"] = weights_sha256(Path(values["teacher.weights"]))
    return values


_DEFAULTS = flatten(to_plain(ChainConfig()))
