"""Bundles: what is written is what is read, pixels are the store's, and damage is named, never executed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sermodels.config.settings import ChainConfig
from sermodels.corpora import audio
from sermodels.errors import UserError
from sermodels.networks.factory import build_student
from sermodels.networks.network import Network
from sermodels.store.open import Store
from sermodels.training.bundle import FILES, FINGERPRINT, check_replaceable, load_bundle, write_bundle

METRICS = {FINGERPRINT: "ab", "val_uar": 0.1 + 0.2, "lanes": [{"fold": 0}]}


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def config(tiny_config: Callable[..., ChainConfig]) -> ChainConfig:
    return tiny_config(alpha=0.3, folds=[2, 0])


@pytest.fixture(scope="module")
def network(store: Store, config: ChainConfig) -> Network:
    return build_student(config, store.pixels.shape[1:], len(store.emotions), seed=3)


@pytest.fixture
def write(tmp_path: Path, store: Store, config: ChainConfig, network: Network) -> Write:
    """Writes a bundle to a folder new/best, with some of its parts replaced."""

    def write(**parts: object) -> Path:
        out = tmp_path / "new" / "best"
        usual = {"config": config, "network": network, "metrics": METRICS}
        write_bundle(out, emotions=store.emotions, frontend=store.frontend, **(usual | parts))
        return out

    return write


@pytest.fixture
def bundle(write: Write) -> Path:
    return write()


def test_what_is_read_is_what_was_written(bundle, store, config, network):
    images = torch.from_numpy(store.pixels[:5].copy()).float().unsqueeze(1)
    read = load_bundle(bundle)
    assert torch.equal(read.network(images).logits, network(images).logits)
    assert (read.config, read.emotions, read.frontend) == (config, store.emotions, store.frontend)
    assert read.metrics == METRICS
    assert not read.network.training
    assert not any(p.requires_grad for p in read.network.parameters())


def test_a_recording_gets_the_answer_of_its_stored_image(bundle, store, network):
    corpus, read = store.path.parent / "corpus", load_bundle(bundle)
    waveforms = [
        torch.from_numpy(audio.load(corpus / clip, read.frontend.sample_rate_hz)) for clip in store.clip_id[:3]
    ]
    rows = np.flatnonzero((store.clip < 3) & (store.view == "original"))
    images = torch.from_numpy(store.pixels[rows]).float().unsqueeze(1)
    probabilities = read.classify(waveforms)
    assert torch.equal(probabilities, network(images).logits.softmax(-1))
    assert probabilities.shape == (3, len(store.emotions))
    assert not torch.equal(probabilities[0], probabilities[1])


def test_float64_survives(write, store, tiny_config):
    config = tiny_config(precision="float64")
    network = build_student(config, store.pixels.shape[1:], len(store.emotions), seed=0)
    probabilities = load_bundle(write(config=config, network=network)).classify([torch.ones(4000)])
    assert probabilities.dtype == torch.float64
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-12)


def test_an_older_bundle_is_replaced_whole(bundle, write, store, config):
    other = build_student(config, store.pixels.shape[1:], len(store.emotions), seed=4)
    assert write(network=other, metrics={FINGERPRINT: "cd"}) == bundle
    read = load_bundle(bundle)
    assert read.metrics == {FINGERPRINT: "cd"}
    assert torch.equal(read.network.classify.weight, other.classify.weight)
    assert [path.name for path in bundle.parent.iterdir()] == ["best"]


def test_a_folder_with_anything_else_in_it_is_left_alone(bundle, write):
    (bundle / "notes.txt").write_text("mine")
    before = _content(bundle)
    with pytest.raises(UserError, match=r"notes\.txt"):
        write()
    assert _content(bundle) == before


def test_a_file_is_not_replaced_and_an_empty_folder_is(tmp_path, write):
    (tmp_path / "new").write_text("mine")
    with pytest.raises(UserError, match=r"new/best: cannot be written"):
        write()
    (tmp_path / "new").unlink()
    (tmp_path / "new" / "best").mkdir(parents=True)
    assert load_bundle(write()).metrics == METRICS
    with pytest.raises(UserError, match=r"config\.yaml: exists"):
        check_replaceable(tmp_path / "new" / "best" / "config.yaml")


def test_an_error_while_writing_leaves_the_older_bundle(bundle, write):
    before = _content(bundle)
    with pytest.raises(TypeError):
        write(metrics={FINGERPRINT: "ab", "not JSON": object()})
    assert _content(bundle) == before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    _refused(bundle, name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"\x00\xff{[", b"- a\n- b\n"])
def test_a_damaged_file_is_named(bundle, name, content):
    (bundle / name).write_bytes(content)
    _refused(bundle, name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_off_in_the_middle_is_named(bundle, name):
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: len(content) * 2 // 3])
    _refused(bundle, name)


def test_a_pickle_is_refused_without_being_run(bundle, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save(Trap(), bundle / "model.safetensors")
    _refused(bundle, "model.safetensors")
    (bundle / "config.yaml").write_text(f"patch: !!python/object/apply:os.mkdir [{tmp_path / 'sprung'}]")
    _refused(bundle, "config.yaml")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dim: 16", "dim: 24", "classify.weight is float32 of shape (7, 16), but float32 of shape (7, 24)"),
        ("dim: 16", "dim: 999999999999", "classify.weight is float32 of shape (7, 16)"),
        ("precision: float32", "precision: float64", "classify.bias is float32 of shape (7,), but float64"),
        ("patch: 32x4", "patch: 5x4", "config.yaml: no network can be made"),
        ("pooling: token", "pooling: tokens", "config.yaml: pooling"),
    ],
)
def test_a_configuration_that_does_not_fit_its_weights(bundle, old, new, words):
    text = (bundle / "config.yaml").read_text()
    assert old in text
    (bundle / "config.yaml").write_text(text.replace(old, new, 1))
    _refused(bundle, words)


def test_labels_that_do_not_fit_the_weights(bundle):
    (bundle / "labels.yaml").write_text("emotions: [calm, angry]\n")
    _refused(bundle, "model.safetensors: classify.bias is float32 of shape (7,)")


def test_weights_that_are_not_finite(bundle):
    parameters = load_file(bundle / "model.safetensors")
    parameters["token"][0] = torch.nan
    save_file(parameters, bundle / "model.safetensors")
    _refused(bundle, "token")


def test_figures_that_do_not_say_of_what(bundle):
    (bundle / "metrics.json").write_text('{"val_uar": 0.5}')
    _refused(bundle, "lacks 'store_fingerprint'")


def test_no_bundle_at_all(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_bundle(tmp_path / "nowhere")


def _content(bundle: Path) -> dict[str, bytes]:
    """Of the bundle and all that lies beside it."""
    return {str(path): path.read_bytes() for path in bundle.parent.rglob("*") if path.is_file()}


def _refused(bundle: Path, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load_bundle(bundle)
    assert words in str(caught.value)
    assert str(bundle) in str(caught.value)
    assert "\n" not in str(caught.value)
