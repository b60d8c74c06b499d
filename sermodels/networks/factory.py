"""From a configuration to the networks of its stages, before their training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import torch

from sermodels.config.settings import ChainConfig, StageName
from sermodels.networks.network import Network
from sermodels.networks.peers.ast import Ast, start_from_deit
from sermodels.networks.peers.septr import SepTr
from sermodels.randomness import seeded

AnyNetwork = Network | Ast | SepTr  # of a stage: each answers images with an Output


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds the networks of a chain on images of one shape."""

    config: ChainConfig
    image: tuple[int, int]  # H, W in pixels
    classes: int

    @overload
    def __call__(self, stage: Literal["match", "student"], seed: int) -> Network: ...

    @overload
    def __call__(self, stage: StageName, seed: int) -> AnyNetwork: ...

    def __call__(self, stage: StageName, seed: int) -> AnyNetwork:
        """The network of a stage with fresh parameters; match and student train the same one."""
        if stage == "teacher":
            return build_teacher(self.config, self.image, self.classes, seed)
        return build_student(self.config, self.image, self.classes, seed)


def build_teacher(config: ChainConfig, image: tuple[int, int], classes: int, seed: int) -> AnyNetwork:
    """The teacher with fresh parameters, a function of the seed; image is (H, W) in pixels.

    A Network, or the peer that `teacher.network` names.

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
    with seeded(seed, "student parameters"):
        network = Network(
            image=image,
            classes=classes,
            patch=config.patch_shape,
            dim=config.dim,
            depth=config.student.depth,
            heads=config.student.heads,
            head_dim=config.head_dim,
            mlp=config.mlp,
            pooling=config.pooling,
        )
        return network.to(getattr(torch, config.precision))


def _teacher(config: ChainConfig, image: tuple[int, int], classes: int) -> AnyNetwork:
    if config.teacher.network == "ast":
        return _ast(config, image, classes)
    if config.teacher.network == "septr":
        return SepTr(
            image=image,
            classes=classes,
            patch=config.patch_shape,
            dim=config.dim,
            depth=config.teacher.depth,
            heads=config.teacher.heads,
            head_dim=config.head_dim,
            mlp=config.mlp,
        )
    return Network(
        image=image,
        classes=classes,
        patch=config.patch_shape,
        dim=config.dim,
        depth=config.teacher.depth,
        heads=config.teacher.heads,
        head_dim=config.head_dim,
        mlp=config.mlp,
        pooling=config.pooling,
        stem=config.teacher.stem,
        encoding=config.encoding,
    )


def _ast(config: ChainConfig, image: tuple[int, int], classes: int) -> Ast:
    network = Ast(
        image=image,
        classes=classes,
        patch=config.patch_shape[0],
        dim=config.dim,
        depth=config.teacher.depth,
        heads=config.teacher.heads,
        mlp=config.mlp,
    )
    if config.teacher.weights:
        start_from_deit(network, Path(config.teacher.weights))
    return network
