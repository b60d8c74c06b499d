"""AST, the audio spectrogram transformer (Gong, Chung, Glass 2021), as the library transformers implements it.

B images, H × W pixels, D token size.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sermodels.config.settings import AST_OVERLAP
from sermodels.errors import UserError
from sermodels.networks.network import Output

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Ast(nn.Module):
    """Overlapping square patches → vision transformer with two class tokens → their mean → classifier."""

    def __init__(self, *, image: tuple[int, int], classes: int, patch: int, dim: int, depth: int, heads: int, mlp: int):
        """Build with fresh parameters from torch's global generator.

        Args:
            image: height and width in pixels.
            classes: number of emotions.
            patch: height and width in pixels; neighbours share AST_OVERLAP of them.
            dim: token size, a multiple of `heads`.
            depth: number of blocks.
            heads: attention heads of each block.
            mlp: hidden size of each block's MLP.

        Raises:
            UserError: the library is not installed, or the image is smaller than a patch.
        """
        super().__init__()
        if min(image) < patch:
            raise UserError(f"patch {patch}x{patch} is larger than the image of {image[0]}×{image[1]} pixels")
        try:
            from transformers import ASTConfig, ASTForAudioClassification  # imports for seconds: here alone
        except ImportError:
            raise UserError("teacher.network=ast needs transformers: pip install 'ser-search[peers]'") from None
        settings = ASTConfig(
            hidden_size=dim,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=mlp,
            patch_size=patch,
            frequency_stride=patch - AST_OVERLAP,
            time_stride=patch - AST_OVERLAP,
            num_mel_bins=image[0],
            max_length=image[1],
            num_labels=classes,  # type: ignore[call-arg]  # the base class takes it
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.model = ASTForAudioClassification(settings)

    def forward(self, images_B1HW: Tensor) -> Output:
        """(B, 1, H, W) with pixels in 0…1 → logits (B, K) and features (B, D)."""
        frames_BWH = images_B1HW.squeeze(1).mT  # the library takes a row a frame
        features_BD = self.model.audio_spectrogram_transformer(frames_BWH).pooler_output
        return Output(self.model.classifier(features_BD), features_BD)


def start_from_deit(network: Ast, folder: Path) -> None:
    """Take over the parameters of a distilled DeiT trained on ImageNet, all but the classifier's (Gong et al., 2.2).

    The three colour channels of its patches are summed, which is what a grey image in all three would meet; its
    positions are interpolated to this image's. Pixels stay in 0…1.

    Args:
        network: changed in place.
        folder: of a DeiT of the same sizes as transformers saves one: config.json and WEIGHTS.

    Raises:
        UserError: no such folder, another kind of network, or one of other sizes.
    """
    own = network.model.audio_spectrogram_transformer
    found = _deit_parameters(folder, own.config)
    patches, positions = "embeddings.patch_embeddings.projection.weight", "embeddings.position_embeddings"
    found[patches] = found[patches].sum(1, keepdim=True)
    found[positions] = _interpolated(found[positions], own.embeddings.get_shape(own.config))
    own.load_state_dict(found)


def width_of_deit(folder: Path) -> int:
    """The token size of the network in a folder.

    Raises:
        UserError: no DeiT lies there.
    """
    try:
        described = json.loads((folder / CONFIG).read_text("utf-8"))
        if described["model_type"] != "deit":
            raise ValueError(f"a {described['model_type']}")
        return int(described["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: not the folder of a distilled DeiT: {error}") from None


@functools.cache
def weights_sha256(folder: Path) -> str:
    """Hash in hex of the parameters to start from: it is part of what determines a teacher.

    Raises:
        UserError: they are not there.
    """
    try:
        with (folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"teacher.weights: {folder / WEIGHTS}: cannot be read: {error.strerror}") from None


def _deit_parameters(folder: Path, expected: Any) -> dict[str, Tensor]:
    """What a folder holds, every parameter of it and in the sizes expected, by the names that an AST has, too."""
    from safetensors import SafetensorError
    from transformers import DeiTModel

    width_of_deit(folder)  # says what is missing
    weights_sha256(folder)
    try:
        loaded: Any = DeiTModel.from_pretrained(
            folder, add_pooling_layer=False, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded: {str(error).splitlines()[0]}") from None
    model, loading = cast("tuple[DeiTModel, dict[str, set[str]]]", loaded)  # a pair for `output_loading_info`
    if missing := sorted(loading["missing_keys"]):
        raise UserError(f"{folder}: {len(missing)} parameters are missing, the first: {missing[0]}")
    for size in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size"):
        if (found := getattr(model.config, size)) != (needed := getattr(expected, size)):
            raise UserError(f"{folder}: not a DeiT of this network's sizes: its {size} is {found}, expected {needed}")
    parameters: dict[str, Tensor] = model.state_dict()
    return parameters


def _interpolated(positions_1ND: Tensor, shape: tuple[int, int]) -> Tensor:
    """Of a square of patches, behind two class tokens, to another number of rows and columns."""
    tokens, patches = positions_1ND[:, :2], positions_1ND[:, 2:]
    side = round(patches.shape[1] ** 0.5)
    image: Tensor = patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    resized = F.interpolate(image, shape, mode="bilinear", align_corners=False)
    return torch.cat([tokens, resized.flatten(2).mT], dim=1)
