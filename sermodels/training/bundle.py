"""A trained student as a folder that any machine can use; reading one executes nothing.

    config.yaml        the ChainConfig it was trained with, as `jobs/train.py --config` takes it
    model.safetensors  parameters of the student
    labels.yaml        emotions, in the order of the classes
    frontend.yaml      FrontEnd settings
    metrics.json       figures of the run, with `store_fingerprint`: what it was trained on

Exported (deploy/complete.py), it has an ONNX graph, an example, a card and a manifest beside them.

K emotions, H × W pixels.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sermodels.config.constraints import checked
from sermodels.config.parsing import dump_yaml, load_yaml, parse, to_plain
from sermodels.config.settings import ChainConfig, FrontEnd
from sermodels.errors import UserError
from sermodels.model_files import ADDED
from sermodels.networks.factory import build_student
from sermodels.networks.network import Network
from sermodels.store.frontend import log_mel
from sermodels.training.lanes import ROWS_AT_ONCE

T = TypeVar("T")

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
LABELS = "labels.yaml"
FRONTEND = "frontend.yaml"
METRICS = "metrics.json"
FILES = (CONFIG, WEIGHTS, LABELS, FRONTEND, METRICS)
FINGERPRINT = "store_fingerprint"  # key in metrics.json


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """An opened bundle."""

    config: ChainConfig
    emotions: tuple[str, ...]  # class i is emotions[i]
    frontend: FrontEnd
    network: Network  # on the CPU, in evaluation mode, without gradients
    metrics: dict[str, Any]

    @torch.no_grad()
    def classify(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Probabilities of the emotions.

        Args:
            waveforms: n ≥ 1 recordings, each (samples,) float32 at `frontend.sample_rate_hz`, of any length;
                trimmed already, if `frontend.trim_db` says so.

        Returns:
            (n, K) in the configuration's precision; a row sums to 1. The network sees the pixels that a store holds.
        """
        # One recording a call, as the store is built: a batched transform may round differently.
        images = torch.stack([log_mel(waveform, self.frontend) for waveform in waveforms]).unsqueeze(1)
        images = images.to(getattr(torch, self.config.precision))
        return torch.cat([self.network(chunk).logits.softmax(-1) for chunk in images.split(ROWS_AT_ONCE)])


@checked
class _Labels:
    emotions: tuple[str, ...]


def write_bundle(
    out: Path,
    *,
    config: ChainConfig,
    emotions: Sequence[str],
    frontend: FrontEnd,
    network: Network,
    metrics: Mapping[str, Any],
    finish: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a bundle as a whole, or nothing. An older bundle at `out` is replaced, with all that is in it.

    Args:
        out: the folder; its parents are made.
        config: that the student was trained with.
        emotions: class names in the order of their index.
        frontend: of the store it was trained on.
        network: the student, on any device.
        metrics: plain JSON values, among them FINGERPRINT.
        finish: called with the folder before it takes its place, to add to it; if it raises, nothing is written.

    Raises:
        UserError: `out` is something else than a bundle, or cannot be written.
    """
    assert FINGERPRINT in metrics, "a bundle says what it was trained on"
    check_replaceable(out)
    parameters = {name: p.detach().cpu().contiguous() for name, p in network.named_parameters()}
    try:
        with _replacing_folder(out.resolve()) as unfinished:
            (unfinished / CONFIG).write_text(dump_yaml(config), encoding="utf-8")
            (unfinished / LABELS).write_text(dump_yaml(_Labels(emotions=tuple(emotions))), encoding="utf-8")
            (unfinished / FRONTEND).write_text(dump_yaml(frontend), encoding="utf-8")
            figures = json.dumps(to_plain(metrics), indent=2, ensure_ascii=False)
            (unfinished / METRICS).write_text(figures + "\n", encoding="utf-8")
            (unfinished / WEIGHTS).write_bytes(save(parameters))  # save_file would make it readable to its owner alone
            finish(unfinished)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error}") from None


def check_replaceable(out: Path) -> None:
    """Make sure that a bundle written to `out` destroys nothing else.

    Raises:
        UserError: a file, or a folder that is neither empty nor a bundle.
    """
    if not os.path.lexists(out):
        return
    found = {path.name for path in out.iterdir()} if out.is_dir() else {"a file"}
    if found and found - set(ADDED) != set(FILES):
        other = ", ".join(sorted(found - {*FILES, *ADDED})[:3]) or "only a part of a bundle"
        raise UserError(f"{out}: exists and is not a model's folder (found {other}): give another --out")


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle.

    Raises:
        UserError: a file is missing or damaged, or they do not fit together; the message names the file.
    """
    _check_complete(folder)
    config = _settings(ChainConfig, folder / CONFIG)
    frontend = _settings(FrontEnd, folder / FRONTEND)
    emotions = _settings(_Labels, folder / LABELS).emotions
    return Bundle(
        config=config,
        emotions=emotions,
        frontend=frontend,
        network=_network(folder, config, (frontend.n_mels, frontend.width), len(emotions)),
        metrics=_metrics(folder / METRICS),
    )


def _check_complete(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected one written by jobs/export_best.py or jobs/train.py --out")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder / missing[0]}: missing; a model's folder holds {', '.join(FILES)}: export it again")


def _settings(kind: type[T], path: Path) -> T:
    loaded = load_yaml(path)
    if not loaded:
        raise UserError(f"{path}: damaged: empty; export it again")
    return parse(kind, loaded, str(path))


def _network(folder: Path, config: ChainConfig, image: tuple[int, int], classes: int) -> Network:
    try:
        # Shapes are compared before memory is taken: a damaged configuration may ask for any size.
        with torch.device("meta"):
            network = build_student(config, image, classes, seed=0)
    except (UserError, RuntimeError) as error:
        raise UserError(f"{folder / CONFIG}: no network can be made of it and {FRONTEND}: {error}") from None
    parameters = _parameters(folder / WEIGHTS)
    _check_fit(folder, network, parameters)
    network = network.to_empty(device="cpu")
    network.load_state_dict(parameters)
    return network.eval().requires_grad_(False)


def _parameters(path: Path) -> dict[str, Tensor]:
    try:
        parameters = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged: {' '.join(str(error).split())}; export it again") from None
    for name, values in parameters.items():
        if not values.isfinite().all():
            raise UserError(f"{path}: damaged: {name} holds values that are not finite; export it again")
    return parameters


def _check_fit(folder: Path, network: Network, found: Mapping[str, Tensor]) -> None:
    expected = {name: _form(p) for name, p in network.named_parameters()}
    for name in sorted(expected.keys() | found.keys()):
        has, wants = _form(found[name]) if name in found else "nothing", expected.get(name, "nothing")
        if has != wants:
            raise UserError(
                f"{folder / WEIGHTS}: {name} is {has}, but {wants} follows from {CONFIG}, {LABELS} and {FRONTEND}: "
                "files of different models"
            )


def _form(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"


def _metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged: not JSON: {error}") from None
    if not isinstance(metrics, dict):
        raise UserError(f"{path}: expected an object of figures, found a {type(metrics).__name__}")
    if FINGERPRINT not in metrics:
        raise UserError(f"{path}: lacks {FINGERPRINT!r}, the store that the model was trained on; export it again")
    return metrics


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`; it takes its place, as a whole, at the end.

    A folder cannot be exchanged in one step: a process killed between the two renames leaves the old one
    complete beside it, under a name that begins with a dot.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, old = (folder.with_name(f".{folder.name}.{what}.{os.getpid()}") for what in ("new", "old"))
    unfinished.mkdir()
    try:
        yield unfinished
        for path in (*unfinished.iterdir(), unfinished):
            _flush(path)
        if folder.exists():
            folder.rename(old)
        unfinished.rename(folder)
        _flush(folder.parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
