"""A bundle becomes a model for others: ONNX graph, example, card and manifest are added, and everything is checked."""

import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch

from sermodels.corpora import audio, synthetic
from sermodels.deploy.card import card
from sermodels.deploy.checks import check_figures, check_recordings, difference
from sermodels.deploy.graph import export_onnx
from sermodels.deploy.manifest import verify, write_manifest
from sermodels.deploy.recogniser import Recogniser
from sermodels.model_files import CARD, EXAMPLE, MODEL
from sermodels.provenance import cpu_model, provenance
from sermodels.store.open import Store
from sermodels.training.bundle import load_bundle

TIMED = 20  # clips


def complete(
    folder: Path,
    store: Store | None = None,
    recordings: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Add to a bundle what others need, and make sure that it says what it was measured to say.

    Args:
        folder: holds a bundle.
        store: that it was trained on; its test figures are then computed again, from the files in the folder.
        recordings: folder of the corpus; ONNX and PyTorch are then compared on those of the test side, or, without a
            store, on all up to 200.
        tell: takes each thing that was found in order, a sentence, as it is found.

    Raises:
        UserError: the model does not reproduce its figures; the two disagree by 1e-4 or more in a probability; or the
            store or the recordings are not those it was trained on.
    """
    bundle = load_bundle(folder)
    checks: list[str] = []

    def found(*said: str) -> None:
        checks.extend(said)
        for check in said:
            tell(check)  # at once: a large test side takes a while

    graph = export_onnx(bundle.network, bundle.frontend, bundle.emotions).SerializeToString()
    (folder / MODEL).write_bytes(graph)
    _write_example(folder / EXAMPLE, bundle.frontend.sample_rate_hz)
    model = Recogniser(folder)
    example = audio.load(folder / EXAMPLE, model.sample_rate_hz, trim_db=model.trim_db)
    if store:
        found(*check_figures(bundle, store))
    if recordings:
        found(*check_recordings(bundle, model, recordings, store))
    else:
        off = difference(bundle, model, [example])
        found(f"On the example, probabilities of ONNX and PyTorch differ by {off:.0e} at most.")
    text = card(
        bundle, model_bytes=len(graph), milliseconds=_milliseconds(model, example), cpu=cpu_model(), checks=checks
    )
    (folder / CARD).write_text(text, encoding="utf-8")
    (probabilities,) = bundle.classify([torch.from_numpy(example)]).tolist()
    write_manifest(folder, dict(zip(bundle.emotions, probabilities, strict=True)), _made_with())
    verify(folder)


def _write_example(path: Path, sample_rate_hz: int) -> None:
    with TemporaryDirectory() as scratch:
        corpus = synthetic.read(Path(scratch) / "corpus", speakers=1, clips_per_emotion=1)
        waveform = audio.load(corpus.utterances[0].path, sample_rate_hz)
    soundfile.write(path, waveform, sample_rate_hz, subtype="PCM_16")


def _made_with() -> dict[str, str | int]:
    return provenance() | {package: version(package) for package in ("onnx", "onnxscript", "onnxruntime")}


def _milliseconds(model: Recogniser, waveform: np.ndarray) -> float:
    """Median time of an answer, on one core."""
    times = []
    for _ in range(TIMED):
        began = time.perf_counter()
        model.run([waveform])
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
