"""What has to hold before a model leaves: its figures come again, and ONNX answers as PyTorch does.

n clips, K emotions, H × W pixels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from sermodels.corpora import audio
from sermodels.corpora.files import audio_files
from sermodels.deploy.manifest import WITHIN
from sermodels.deploy.recogniser import Recogniser
from sermodels.errors import UserError
from sermodels.evaluation.evaluate import evaluate, rows_of, was_trained_on
from sermodels.files import file_sha256
from sermodels.metrics import confusion_matrix
from sermodels.model_files import MODEL
from sermodels.store.open import Store
from sermodels.training.bundle import Bundle
from sermodels.training.lanes import ROWS_AT_ONCE

MOST = 200  # recordings that are compared where no store says which are the test's


def check_figures(bundle: Bundle, store: Store) -> list[str]:
    """Compute the test figures again, from the weights as they were written and the images of the store.

    Args:
        bundle: as read from its folder.
        store: that it was trained on.

    Returns:
        What was found in order, a sentence each; none if the test side was never read.

    Raises:
        UserError: another store, or other figures than the sweep's.
    """
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


def check_recordings(bundle: Bundle, model: Recogniser, folder: Path, store: Store | None) -> list[str]:
    """Answer recordings with ONNX, with PyTorch and, where the store has them, from their stored images.

    Args:
        bundle: as read from its folder.
        model: of the same folder.
        folder: of the corpus.
        store: that the bundle was trained on; its test side is taken. None: all recordings, up to MOST.

    Returns:
        What was found in order, a sentence each.

    Raises:
        UserError: not the recordings of the store; none that can be heard; or answers that differ by 1e-4 or more in a
            probability.
    """
    clips = _clips(folder, bundle, store)
    waveforms, damaged = _loaded(clips, model)
    off = difference(bundle, model, waveforms)
    apart = f" ({damaged} damaged left out)" if damaged else ""
    found = [f"On {len(waveforms)} recordings{apart}, probabilities of ONNX and PyTorch differ by {off:.0e} at most."]
    test = bundle.metrics.get("test")
    if store is None or test is None or test["rows"] != len(clips):  # under `paper` rows are altered views
        return found
    rows = rows_of("test", store, bundle.config)
    answered, stored = model.run(waveforms).probabilities, _of_images(bundle, store.pixels[rows])
    if not (off := np.abs(answered - stored).max()) < WITHIN:
        raise UserError(f"{folder}: answers differ by {off:.1e} from those to the store's images of these clips")
    confusion = confusion_matrix(store.emotion[rows], answered.argmax(-1), len(bundle.emotions)).tolist()
    if confusion == test["confusion"]:  # else two emotions were equally likely, but for a rounding
        found.append(f"Answering the {len(clips)} test recordings, `{MODEL}` gives the confusion matrix of the sweep.")
    return found


def difference(bundle: Bundle, model: Recogniser, waveforms: Sequence[np.ndarray]) -> float:
    """The largest between the probabilities of ONNX and PyTorch.

    Args:
        bundle: as read from its folder.
        model: of the same folder.
        waveforms: n ≥ 1 of them, each (samples,) float32, as `Recogniser.run` takes them.

    Raises:
        UserError: it is 1e-4 or more.
    """
    exact = bundle.classify([torch.from_numpy(waveform) for waveform in waveforms]).double().numpy()
    off = float(np.abs(model.run(waveforms).probabilities - exact).max())
    if not off < WITHIN:
        raise UserError(f"the ONNX graph's probabilities differ by {off:.1e} from PyTorch's: it is not exported")
    return off


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


def _loaded(clips: Sequence[Path], model: Recogniser) -> tuple[list[np.ndarray], int]:
    """The waveforms that can be heard, and how many cannot.

    Raises:
        UserError: none can.
    """
    waveforms, refusals = [], []
    for clip in clips:
        try:
            waveforms.append(audio.load(clip, model.sample_rate_hz, trim_db=model.trim_db))
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
