"""A bundle becomes a model for others: ONNX graph, example, card and manifest are added, and everything is checked.

n clips, K emotions.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch

from sermodels import audio
from sermodels.bundle import Bundle, load_bundle
from sermodels.corpora import synthetic
from sermodels.corpora.files import audio_files
from sermodels.deploy.card import card
from sermodels.deploy.graph import export_onnx
from sermodels.deploy.manifest import WITHIN, verify, write_manifest
from sermodels.deploy.names import CARD, EXAMPLE, MODEL
from sermodels.deploy.recogniser import Recogniser
from sermodels.errors import UserError
from sermodels.evaluate import evaluate, rows_of, was_trained_on
from sermodels.files import file_sha256
from sermodels.lanes import ROWS_AT_ONCE
from sermodels.metrics import confusion_matrix
from sermodels.provenance import cpu_model, provenance
from sermodels.store import Store

TIMED = 20  # clips
MOST = 200  # recordings that are compared where no store says which are the test's


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
        tell: takes each thing that was found in order, a sentence.

    Raises:
        UserError: the model does not reproduce its figures; the two disagree by 1e-4 or more in a probability; or the
            store or the recordings are not those it was trained on.
    """
    bundle, checks = load_bundle(folder), []
    graph = export_onnx(bundle.network, bundle.frontend, bundle.emotions).SerializeToString()
    (folder / MODEL).write_bytes(graph)
    _write_example(folder / EXAMPLE, bundle.frontend.sample_rate_hz)
    model = Recogniser(folder)
    example = audio.load(folder / EXAMPLE, model.sample_rate_hz)
    if store:
        checks += _check_figures(bundle, store)
    if recordings:
        checks += _check_recordings(bundle, model, _clips(recordings, bundle, store), store)
    else:
        off = _difference(bundle, model, [example])
        checks.append(f"On the example, probabilities of ONNX and PyTorch differ by {off:.0e} at most.")
    text = card(
        bundle, model_bytes=len(graph), milliseconds=_milliseconds(model, example), cpu=cpu_model(), checks=checks
    )
    (folder / CARD).write_text(text, encoding="utf-8")
    (probabilities,) = bundle.classify([torch.from_numpy(example)]).tolist()
    write_manifest(folder, dict(zip(bundle.emotions, probabilities, strict=True)), _made_with())
    verify(folder)
    for check in checks:
        tell(check)


def _write_example(path: Path, sample_rate_hz: int) -> None:
    with TemporaryDirectory() as scratch:
        corpus = synthetic.read(Path(scratch) / "corpus", speakers=1, clips_per_emotion=1)
        waveform = audio.load(corpus.utterances[0].path, sample_rate_hz)
    soundfile.write(path, waveform, sample_rate_hz, subtype="PCM_16")


def _check_figures(bundle: Bundle, store: Store) -> list[str]:
    """The test figures again, from the weights as they were written and the images of the store."""
    if not was_trained_on(bundle, store):
        raise UserError(
            f"{store.path}: not the store that the model was trained on: leave --store out, or name that one"
        )
    test = bundle.metrics.get("test")
    if test is None:
        return []
    again = evaluate(bundle.network, store, rows_of("test", store, bundle.config))
    figures = f"UAR {again.uar:.3f} and WA {again.wa:.3f} on {test['clips']} test clips"
    if again.confusion != test["confusion"]:
        raise UserError(f"{store.path}: computed again from these files, {figures} are not the sweep's")
    return [f"Computed again from these files, {figures}: equal to the sweep's."]


def _clips(recordings: Path, bundle: Bundle, store: Store | None) -> list[Path]:
    """The recordings to compare on: of the test side if the store tells which those are, in the order of its rows."""
    if store is None:
        return [recordings / name for name in audio_files(recordings)[:MOST]]
    numbers = np.unique(store.clip[rows_of("test", store, bundle.config)])
    places = [recordings, *(path for path in sorted(recordings.glob("*")) if path.is_dir())]
    first = store.clip_id[numbers[0]]
    root = next((place for place in places if (place / first).is_file()), None)
    if root is None:
        raise UserError(f"{recordings}: does not hold {first}: expected the recordings that the store was built from")
    for number in numbers:
        path = root / store.clip_id[number]
        if file_sha256(path) != store.source_sha256[number]:
            raise UserError(f"{path}: missing, or not the recording that the store was built from")
    return [root / store.clip_id[number] for number in numbers]


def _check_recordings(bundle: Bundle, model: Recogniser, clips: Sequence[Path], store: Store | None) -> list[str]:
    waveforms, damaged = _loaded(clips, model.sample_rate_hz)
    off = _difference(bundle, model, waveforms)
    apart = f" ({damaged} damaged left out)" if damaged else ""
    found = [f"On {len(waveforms)} recordings{apart}, probabilities of ONNX and PyTorch differ by {off:.0e} at most."]
    test = bundle.metrics.get("test")
    if store is None or test is None or test["rows"] != len(clips):  # under `paper` rows are altered views
        return found
    rows = rows_of("test", store, bundle.config)
    answered, stored = model.run(waveforms).probabilities, _of_images(bundle, store.pixels[rows])
    if not (off := np.abs(answered - stored).max()) < WITHIN:
        raise UserError(
            f"{clips[0].parent}: answers differ by {off:.1e} from those to the store's images of these clips"
        )
    confusion = confusion_matrix(store.emotion[rows], answered.argmax(-1), len(bundle.emotions)).tolist()
    if confusion == test["confusion"]:  # else two emotions were equally likely, but for a rounding
        found.append(f"Answering the {len(clips)} test recordings, `{MODEL}` gives the confusion matrix of the sweep.")
    return found


def _loaded(clips: Sequence[Path], sample_rate_hz: int) -> tuple[list[np.ndarray], int]:
    """The waveforms that can be heard, and how many cannot.

    Raises:
        UserError: none can.
    """
    waveforms, refusals = [], []
    for clip in clips:
        try:
            waveforms.append(audio.load(clip, sample_rate_hz))
        except UserError as error:
            refusals.append(error)
    if not waveforms:
        raise refusals[0]
    return waveforms, len(refusals)


def _of_images(bundle: Bundle, pixels: np.ndarray) -> np.ndarray:
    """The network's probabilities, (n, K), of stored images, (n, H, W)."""
    images = torch.from_numpy(pixels).to(getattr(torch, bundle.config.precision)).unsqueeze(1)
    with torch.no_grad():
        return torch.cat([bundle.network(part).logits.softmax(-1) for part in images.split(ROWS_AT_ONCE)]).numpy()


def _difference(bundle: Bundle, model: Recogniser, waveforms: Sequence[np.ndarray]) -> float:
    """The largest between the probabilities of ONNX and PyTorch.

    Raises:
        UserError: it is 1e-4 or more.
    """
    exact = bundle.classify([torch.from_numpy(waveform) for waveform in waveforms]).double().numpy()
    off = float(np.abs(model.run(waveforms).probabilities - exact).max())
    if not off < WITHIN:
        raise UserError(f"the ONNX graph's probabilities differ by {off:.1e} from PyTorch's: it is not exported")
    return off


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
