"""Networks against plain torch, and what position may and may not change.

B images, C channels, H × W pixels, N patches, D token size, K heads.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sermodels.config.settings import ChainConfig, Student, Teacher
from sermodels.networks.factory import build_student, build_teacher
from sermodels.networks.network import Network, Output
from sermodels.networks.vit import coordinates, sinusoids, to_patches

IMAGE = (32, 24)
PATCHES = ["32x1", "8x8", "16x4"]
ENCODINGS = ["none", "ice", "sinusoidal", "learned"]
COLUMNS = torch.randperm(IMAGE[1], generator=torch.Generator().manual_seed(0))


def config(**changes) -> ChainConfig:
    teacher = Teacher(depth=2, heads=3, stem=changes.pop("stem", (4, 2)))
    sizes = {"patch": "32x1", "dim": 20, "mlp": 12, "head_dim": 6, "precision": "float64"}
    return ChainConfig(**sizes | {"teacher": teacher, "student": Student(depth=2, heads=3)} | changes)


def teacher(seed: int = 0, **changes) -> Network:
    return build_teacher(config(**changes), IMAGE, classes=7, seed=seed)


def student(seed: int = 0, **changes) -> Network:
    return build_student(config(**changes), IMAGE, classes=7, seed=seed)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 1, *IMAGE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def reference(network: Network, images: Tensor, settings: ChainConfig, heads: int) -> Tensor:
    """The logits of a pre-norm ViT with a convolutional stem, in torch's functions and the network's parameters."""
    p, x = dict(network.named_parameters()), images
    for i in range(0, len(network.stem), 3):
        x = F.gelu(F.instance_norm(F.conv2d(x, p[f"stem.{i}.weight"], p[f"stem.{i}.bias"], padding=1)))
    if settings.encoding == "ice":
        rows = torch.arange(IMAGE[0]).double()[:, None] / (IMAGE[0] - 1) * 2 - 1
        columns = torch.arange(IMAGE[1]).double() / (IMAGE[1] - 1) * 2 - 1
        grid = torch.stack([rows.expand(*IMAGE), columns.expand(*IMAGE)]).expand(len(x), -1, -1, -1)
        x = torch.cat([x, grid], dim=1)
    x = F.unfold(x, settings.patch_shape, stride=settings.patch_shape).mT
    x = norm(p, "embed.project.0", x)
    x = norm(p, "embed.project.2", F.linear(x, p["embed.project.1.weight"], p["embed.project.1.bias"]))
    if settings.encoding in ("sinusoidal", "learned"):
        x = x + network.positions
    x = torch.cat([p["token"].expand(len(x), 1, -1), x], dim=1)
    for i in range(len(network.encoder.blocks)):
        x = block(p, f"encoder.blocks.{i}", x, heads)
    x = norm(p, "encoder.norm", x)
    feature = x[:, 0] if settings.pooling == "token" else x[:, 1:].mean(1)
    return F.linear(feature, p["classify.weight"], p["classify.bias"])


def norm(p: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def block(p: dict[str, Tensor], name: str, x: Tensor, heads: int) -> Tensor:
    projected = F.linear(norm(p, f"{name}.norm", x), p[f"{name}.attention.qkv.weight"]).chunk(3, dim=-1)
    q, k, v = (part.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for part in projected)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + F.linear(mixed, p[f"{name}.attention.out.weight"], p[f"{name}.attention.out.bias"])
    hidden = F.linear(norm(p, f"{name}.mlp.0", x), p[f"{name}.mlp.1.weight"], p[f"{name}.mlp.1.bias"])
    return x + F.linear(F.gelu(hidden), p[f"{name}.mlp.3.weight"], p[f"{name}.mlp.3.bias"])


def shake(network: Network) -> Network:
    """Every parameter somewhere else, so that a scale of 1 or a shift of 0 hides nothing."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return network


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_teacher_is_the_reference(images, patch, encoding):
    settings = config(patch=patch, encoding=encoding)
    network = shake(build_teacher(settings, IMAGE, classes=7, seed=0))
    torch.testing.assert_close(network(images).logits, reference(network, images, settings, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_a_student_is_the_reference_without_stem_and_encoding(images, pooling):
    settings = config(pooling=pooling)
    network = shake(build_student(settings, IMAGE, classes=7, seed=0))
    output = network(images)
    plain = config(pooling=pooling, encoding="none", stem=())
    torch.testing.assert_close(output.logits, reference(network, images, plain, 3), rtol=0, atol=1e-12)
    assert output.features.shape == (3, settings.dim)
    assert torch.equal(network.classify(output.features), output.logits)
    assert not [name for name in network.state_dict() if name.startswith(("stem", "positions"))]


@pytest.mark.parametrize("make", [teacher, student])
@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_leaving_out_tokens_that_nobody_reads_changes_neither_output_nor_gradients(images, make, pooling):
    network = shake(make(pooling=pooling))
    encoded = network.encoder(network._tokens(images))  # all tokens of the last block
    features = encoded[:, 0] if pooling == "token" else encoded[:, 1:].mean(1)
    assert encoded.shape == (3, 1 + IMAGE[1], 20)
    expected, output = Output(network.classify(features), features), network(images)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients(network, output), gradients(network, expected), rtol=1e-10, atol=1e-12)


def gradients(network: Network, output: Output) -> dict[str, Tensor]:
    """Of a loss in which every logit and every feature weighs differently."""
    loss = sum((torch.arange(part.numel()) * part.flatten()).sum() for part in output)
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("shape", [(2, 3), (6, 1), (1, 4), (6, 12)])
def test_patches_are_those_of_unfold(shape):
    images = torch.rand(2, 3, 6, 12)
    assert torch.equal(to_patches(images, shape), F.unfold(images, shape, stride=shape).mT)


def test_coordinates_run_from_minus_one_to_one_first_along_the_height_then_along_the_width():
    grid = coordinates(3, 5)
    assert grid[0].tolist() == [[-1.0] * 5, [0.0] * 5, [1.0] * 5]
    assert grid[1].tolist() == [[-1.0, -0.5, 0.0, 0.5, 1.0]] * 3


@pytest.mark.parametrize("dim", [6, 7])
def test_sinusoids_are_those_of_vaswani(dim):
    table = sinusoids(40, dim)
    for position, place in itertools.product(range(40), range(dim)):
        angle = torch.tensor(position / 10_000 ** ((place - place % 2) / dim), dtype=torch.float64)
        expected = angle.cos() if place % 2 else angle.sin()
        assert table[position, place].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_attention_is_one_distribution_a_token_a_head_a_block(images, encoding):
    weights = teacher(patch="16x4", encoding=encoding).attention(images)
    assert [w.shape for w in weights] == [(3, 3, 13, 13)] * 2  # 12 patches and the class token
    for w in weights:
        assert (w >= 0).all()
        torch.testing.assert_close(w.sum(-1), torch.ones(3, 3, 13, dtype=torch.float64))
    assert not torch.allclose(weights[0], weights[1])


def test_the_attention_told_of_is_the_attention_used(images):
    network = student(patch="16x4")
    x = network._tokens(images)
    first = network.encoder.blocks[0]
    v = network.encoder.blocks[0].attention.qkv(first.norm(x)).chunk(3, -1)[2].unflatten(2, (3, -1)).transpose(1, 2)
    mixed = first.attention.out((network.attention(images)[0] @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixed, first.attention(first.norm(x)))


@pytest.mark.parametrize("pooling", ["token", "mean"])
def test_a_student_does_not_see_the_order_of_columns(images, pooling):
    network = student(pooling=pooling)
    torch.testing.assert_close(network(images[..., COLUMNS]), network(images), rtol=0, atol=1e-12)
    turned = network(images.flip(2)).logits  # the order of rows, within each patch, it sees
    assert (turned - network(images).logits).abs().max() > 1e-3


def test_a_student_of_square_patches_does_see_it(images):
    network = student(patch="8x8")
    assert (network(images[..., COLUMNS]).logits - network(images).logits).abs().max() > 1e-3


@pytest.mark.parametrize("pooling", ["token", "mean"])
@pytest.mark.parametrize("encoding", ["ice", "sinusoidal", "learned"])
def test_a_teacher_sees_the_order_of_columns_by_its_encoding(images, encoding, pooling):
    network = teacher(stem=(), encoding=encoding, pooling=pooling)
    assert (network(images[..., COLUMNS]).features - network(images).features).abs().max() > 1e-5


def test_a_teacher_without_encoding_sees_it_by_its_stem_alone(images):
    bare, with_stem = teacher(stem=(), encoding="none"), teacher(encoding="none")
    torch.testing.assert_close(bare(images[..., COLUMNS]), bare(images), rtol=0, atol=1e-12)
    assert (with_stem(images[..., COLUMNS]).logits - with_stem(images).logits).abs().max() > 1e-3


def test_encodings_differ_and_only_ice_adds_channels_and_only_learned_positions_learn(images):
    networks = {encoding: teacher(encoding=encoding) for encoding in ENCODINGS}
    for one, other in itertools.combinations(ENCODINGS, 2):
        assert (networks[one](images).features - networks[other](images).features).abs().max() > 1e-5
    for encoding, network in networks.items():
        assert network.embed.project[0].normalized_shape == ((4 if encoding == "ice" else 2) * 32,)
        assert ("positions" in dict(network.named_parameters())) == (encoding == "learned")
        assert ("positions" in network.state_dict()) == (encoding == "learned")


def test_images_of_a_batch_do_not_mix(images):
    network = teacher(encoding="ice")
    torch.testing.assert_close(network(images[1:2]).logits, network(images).logits[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("patch", ["5x1", "32x5", "64x1"])
def test_a_patch_that_does_not_divide_the_image_is_refused(patch):
    for make in (teacher, student):
        with pytest.raises(ValueError, match=f"patch {patch} does not divide the image of 32×24 pixels"):
            make(patch=patch)


@pytest.mark.parametrize("make", [teacher, student])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_network_is_a_function_of_its_seed(make, encoding):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(seed=3, encoding=encoding).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = make(seed=3, encoding=encoding).state_dict(), make(seed=4, encoding=encoding).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["token"], other["token"])


def test_teacher_and_student_of_a_seed_start_apart():
    assert not torch.equal(teacher(seed=3).token, student(seed=3).token)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_precision_is_that_of_every_tensor(images, precision, encoding):
    dtype = getattr(torch, precision)
    for network in (teacher(encoding=encoding, precision=precision), student(precision=precision)):
        assert {t.dtype for t in [*network.parameters(), *network.buffers()]} == {dtype}
        assert {t.dtype for t in network(images.to(dtype))} == {dtype}


def test_both_precisions_start_alike():
    rounded = teacher(precision="float32").state_dict()
    assert all(torch.equal(t.float(), rounded[name]) for name, t in teacher(precision="float64").state_dict().items())
