"""AST: sizes, starting from a DeiT's parameters, and what of it a user can get wrong."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DeiTConfig, DeiTModel

from sermodels.config.settings import ChainConfig, Teacher
from sermodels.errors import UserError
from sermodels.networks.cost import count_macs, count_parameters
from sermodels.networks.factory import build_teacher

IMAGE = (32, 48)  # 2 × 4 overlapping patches


def ast(image=IMAGE, *, dim=24, mlp=48, heads=2, depth=2, weights="", seed=0, precision="float32"):
    teacher = Teacher(network="ast", depth=depth, heads=heads, stem=(), weights=weights)
    sizes = {"dim": dim, "mlp": mlp, "head_dim": dim // heads, "encoding": "none", "precision": precision}
    return build_teacher(ChainConfig(patch="16x16", teacher=teacher, **sizes), image, 7, seed)


@pytest.fixture(scope="module")
def deit(tmp_path_factory):
    """A distilled DeiT with random parameters, as transformers saves one: 3 channels, 3 × 3 patches."""
    folder = tmp_path_factory.mktemp("deit")
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DeiTModel(DeiTConfig(**sizes, image_size=48), add_pooling_layer=False)
        model.embeddings.position_embeddings.data.normal_()  # fresh ones are zero
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("dim", "heads", "parameters", "gmacs"),
    [(768, 12, 85_373_959, 12.82), (384, 6, 21_453_319, 3.31)],
    ids=["768, as the paper's text", "384, as its count of parameters"],
)
def test_sizes_of_both_readings_of_the_paper(dim, heads, parameters, gmacs):
    network = ast((128, 128), dim=dim, mlp=4 * dim, heads=heads, depth=12)
    assert count_parameters(network) == parameters
    assert round(count_macs(network, (128, 128)) / 1e9, 2) == gmacs


def test_macs_are_those_counted_by_hand():
    tokens, dim, mlp = 2 * 4 + 2, 24, 48
    block = tokens * (4 * dim * dim + 2 * dim * mlp) + 2 * tokens**2 * dim
    assert count_macs(ast(), IMAGE) == 8 * 16 * 16 * dim + 2 * block + dim * 7


def test_parameters_are_a_function_of_the_seed_and_nobody_elses_draws_move():
    before = torch.random.get_rng_state()
    one, same, other = ast(seed=1), ast(seed=1), ast(seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    differ = [not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert any(differ)


def test_an_image_is_answered_alone_as_in_a_batch():
    network = ast(precision="float64")
    images = torch.rand(3, 1, *IMAGE, dtype=torch.float64)
    logits, features = network(images)
    assert (logits.shape, features.shape) == ((3, 7), (3, 24))
    assert torch.allclose(network(images[2:]).logits, logits[2:], atol=1e-12)


def test_time_is_the_librarys_first_axis():
    network = ast().model.audio_spectrogram_transformer.embeddings
    assert network.get_shape(network.config) == (2, 4)  # rows of frequency, columns of time


def test_a_deits_parameters_are_taken_over(deit):
    fresh, started = ast(), ast(weights=str(deit))
    source = DeiTModel.from_pretrained(deit, add_pooling_layer=False).state_dict()
    own = started.model.audio_spectrogram_transformer.state_dict()
    patches = "embeddings.patch_embeddings.projection.weight"
    positions = "embeddings.position_embeddings"
    assert torch.equal(own[patches], source[patches].sum(1, keepdim=True)), "grey is the sum of its colours"
    assert own[positions].shape == (1, 2 + 8, 24)
    assert torch.equal(own[positions][:, :2], source[positions][:, :2])
    same = [name for name in source if name not in (patches, positions)]
    assert all(torch.equal(own[name], source[name]) for name in same)
    assert torch.equal(started.model.classifier.dense.weight, fresh.model.classifier.dense.weight)


def test_positions_keep_their_place_when_they_are_interpolated(deit):
    """On an image of the DeiT's own grid nothing changes."""
    source = DeiTModel.from_pretrained(deit, add_pooling_layer=False).state_dict()["embeddings.position_embeddings"]
    own = ast((36, 36), weights=str(deit)).model.audio_spectrogram_transformer.embeddings.position_embeddings
    assert torch.allclose(own, source, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "size"), [({"dim": 48}, "hidden_size"), ({"heads": 4}, "num_attention_heads"), ({"depth": 3}, "layers")]
)
def test_weights_of_another_size_are_refused(deit, changes, size):
    """Of other heads, too, whose tensors have the same shapes."""
    with pytest.raises(UserError, match=f"not a DeiT of this network's sizes: its .*{size} is"):
        ast(**changes, weights=str(deit))


def test_what_is_no_whole_deit_is_refused(deit, tmp_path):
    def variant(name, change_config=lambda text: text, change=lambda tensors: tensors):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(change_config((deit / "config.json").read_text()))
        save_file(change(load_file(deit / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
        return folder

    half = variant("half", change=lambda tensors: dict(list(tensors.items())[::2]))
    with pytest.raises(UserError, match=r"half: .* parameters are missing, the first"):
        ast(weights=str(half))
    with pytest.raises(UserError, match="not the folder of a distilled DeiT: a vit"):
        ast(weights=str(variant("vit", lambda text: text.replace('"deit"', '"vit"'))))
    junk = variant("junk")
    (junk / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match="junk: cannot be loaded"):
        ast(weights=str(junk))
    with pytest.raises(UserError, match="nowhere: not the folder of a distilled DeiT"):
        ast(weights=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "ice"}, "encoding = 'ice' is not possible: must be none: ast brings its own positions"),
        ({"pooling": "mean"}, "pooling = 'mean'"),
        ({"patch": "128x1"}, "a square of more than 6 pixels"),
        ({"head_dim": 5}, "must be dim / teacher.heads = 24 / 2"),
    ],
)
def test_settings_that_it_does_not_have_are_refused(changes, message):
    usual = {"patch": "16x16", "dim": 24, "head_dim": 12, "encoding": "none"}
    with pytest.raises(ValueError, match=message):
        ChainConfig(teacher=Teacher(network="ast", heads=2, stem=()), **usual | changes)
    with pytest.raises(ValueError, match="ast has none"):
        Teacher(network="ast")
    with pytest.raises(ValueError, match="only an ast starts from others"):
        Teacher(weights="somewhere")
