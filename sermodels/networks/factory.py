"""From a configuration to the networks of its stages, before their training."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sermodels.config.settings import ChainConfig, StageName
from sermodels.networks.network import Network
from sermodels.networks.peers.ast import Ast, start_from_deit
from sermodels.networks.peers.septr import SepTr
from sermodels.randomness import seeded


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds the networks of a chain on images of one shape."""

    config: ChainConfig
    image: tuple[int, int]  # H, W in pixels
    classes: int

    def __call__(self, stage: StageName, seed: int) -> nn.Module:
        """The network of a stage with fresh parameters; match and student train the same one."""
        build = build_teacher if stage == "teacher" else build_student
        return build(self.config, self.image, self.classes, seed)


def build_teacher(config: ChainConfig, image: tuple[int, int], classes: int, seed: int) -> nn.Module:
    """The teacher with fresh parameters, a function of the seed; image is (H, W) in pixels.

    A Network, or the peer that `teacher.network` names; all answer with an Output.

    Raises:
        UserError: the patch does not fit the image; a peer's library, or the weights it starts from, are not there.
    """
    with seeded(seed, "teacher parameters"):
        return _teacher(config, image, classes).to(getattr(torch, config.precision))


def build_student(config: ChainConfig, image: tuple[int, int], classes: int, seed: int) -> Network:
    """The student with fresh parameters, a function of the seed; image is (H, W) in pixels.

    Raises:
        UserError: the patch does not divide the image.
    """
    sizes = _shared(config, image, classes) | {"head_dim": config.head_dim, "pooling": config.pooling}
    with seeded(seed, "student parameters"):
        network = Network(**sizes, patch=config.patch_shape, depth=config.student.depth, heads=config.student.heads)
        return network.to(getattr(torch, config.precision))


def _teacher(config: ChainConfig, image: tuple[int, int], classes: int) -> nn.Module:
    settings = config.teacher
    sizes = _shared(config, image, classes) | {"depth": settings.depth, "heads": settings.heads}
    if settings.network == "ast":
        network = Ast(**sizes, patch=config.patch_shape[0])
        if settings.weights:
            start_from_deit(network, Path(settings.weights))
        return network
    sizes |= {"patch": config.patch_shape, "head_dim": config.head_dim}
    if settings.network == "septr":
        return SepTr(**sizes)
    return Network(**sizes, pooling=config.pooling, stem=settings.stem, encoding=config.encoding)


def _shared(config: ChainConfig, image: tuple[int, int], classes: int) -> dict[str, object]:
    return {"image": image, "classes": classes, "dim": config.dim, "mlp": config.mlp}
