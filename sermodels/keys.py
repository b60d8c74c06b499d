"""What determines a finished lane of a stage: the keys of the stage cache.

Not in a key: how many epochs the stage itself is trained (20 epochs are a prefix of 50), commit, device, thread count.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from sermodels.config import ChainConfig, Stage, Teacher
from sermodels.peers.ast import weights_sha256
from sermodels.settings import to_plain
from sermodels.stages import STAGE_VERSION, StageName


def stage_material(config: ChainConfig, fingerprint: str, lane: tuple[int, int], stage: StageName) -> dict[str, Any]:
    """Everything that determines one lane of one stage, as plain JSON values.

    Args:
        config: of the trial.
        fingerprint: of the store.
        lane: its fold and seed.
        stage: which; a later stage contains the key, and the epochs, of the one before it.
    """
    material: dict[str, Any] = {"stage": stage, "version": STAGE_VERSION[stage]}
    if stage == "teacher":
        fold, seed = lane
        material |= {
            "store": fingerprint,
            "split": {"protocol": config.protocol, "seed": config.split_seed, "fold": fold} | _sides(config),
            "seed": seed,
            "precision": config.precision,
            "shape": _shared(config) | {"encoding": config.encoding},
            "settings": _without_epochs(config.teacher) | _architecture(config.teacher),
        }
    elif stage == "match":
        before = stage_key(config, fingerprint, lane, "teacher")
        material |= {
            "teacher": [before, config.teacher.epochs],
            "shape": {"depth": config.student.depth, "heads": config.student.heads},
            "settings": _without_epochs(config.match),
        }
    else:
        before = stage_key(config, fingerprint, lane, "match")
        training = _without_epochs(config.student)
        material |= {"match": [before, config.match.epochs], "alpha": float(config.alpha), "settings": training}
    return material


def stage_key(config: ChainConfig, fingerprint: str, lane: tuple[int, int], stage: StageName) -> str:
    """Sha256 of the canonical JSON of `stage_material`, in hex."""
    canonical = json.dumps(stage_material(config, fingerprint, lane, stage), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _sides(config: ChainConfig) -> dict[str, Any]:
    """Nothing for the usual sides: keys of before there were others stay what they were."""
    return {"all_data": True} if config.all_data else {}


def _shared(config: ChainConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("patch", "dim", "mlp", "head_dim", "pooling")}


def _without_epochs(settings: Stage) -> dict[str, Any]:
    left_out = ("epochs", "network", "weights")
    return {k: v for k, v in to_plain(dataclasses.asdict(settings)).items() if k not in left_out}


def _architecture(teacher: Teacher) -> dict[str, Any]:
    """Nothing for the paper's own network: keys of before there were others stay what they were."""
    described = {} if teacher.network == "vit" else {"network": teacher.network}
    return described | ({"weights": weights_sha256(Path(teacher.weights))} if teacher.weights else {})
