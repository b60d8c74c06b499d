"""From utterances to the rows and images of a store, over all cores, in order.

The bytes are the same whatever the number of workers. H image height, W image width.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.corpora import audio
from sermodels.corpora.utterance import Utterance
from sermodels.errors import UserError
from sermodels.files import file_sha256
from sermodels.store.frontend import VIEWS, log_mel, view
from sermodels.store.open import sha256

Row = dict[str, Any]  # the columns of one view, without its pixels
CHUNK = 8  # utterances a worker takes at once


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an utterance becomes rows; small, for it travels to the workers with every chunk."""

    corpus: str
    frontend: FrontEnd
    augmentation: Augmentation
    seed: int


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The rows of one utterance, or why there are none."""

    utterance: Utterance
    source_sha256: str | None  # None if the file cannot even be read
    rows: Sequence[Row] = ()
    images: bytes = b""  # (views, H, W) float16
    error: str | None = None


def render(utterances: Sequence[Utterance], recipe: Recipe, workers: int) -> Iterator[Clip]:
    """Yield one clip an utterance, in their order.

    Args:
        utterances: what to read.
        recipe: how.
        workers: processes of one thread each; with 1 the work is done in this process.

    Raises:
        UserError: a worker process died.
    """
    chunks = [utterances[i : i + CHUNK] for i in range(0, len(utterances), CHUNK)]
    work = partial(_render_chunk, recipe)
    if workers > 1:
        yield from _in_processes(work, chunks, workers)
        return
    with _one_thread():
        for chunk in chunks:
            yield from work(chunk)


def _in_processes(work: partial[list[Clip]], chunks: list[Sequence[Utterance]], workers: int) -> Iterator[Clip]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once, not by every worker
    waiting: deque[Future[list[Clip]]] = deque()
    with ProcessPoolExecutor(min(workers, len(chunks)), context, _start_worker) as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(work, chunk))
                if len(waiting) > 2 * workers:  # enough to keep them busy; finished images wait in memory
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError("a worker process died, perhaps for lack of memory; try fewer --workers") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent leaves its workers waiting: they hold both ends of the pipe they wait on."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker, so that the bytes are the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _render_chunk(recipe: Recipe, utterances: Sequence[Utterance]) -> list[Clip]:
    return [_render(recipe, utterance) for utterance in utterances]


def _render(recipe: Recipe, utterance: Utterance) -> Clip:
    source = file_sha256(utterance.path)
    try:
        waveform = torch.from_numpy(_waveform(utterance, recipe.frontend))
    except UserError as error:
        return Clip(utterance=utterance, source_sha256=source, error=str(error))
    common = {
        "corpus": recipe.corpus,
        "clip_id": utterance.id,
        "speaker": utterance.speaker,
        "sentence": utterance.sentence,
        "emotion": utterance.emotion,
        "duration_s": len(waveform) / recipe.frontend.sample_rate_hz,
        "source_sha256": source,
    }
    rows, images = [], []
    for kind in VIEWS:
        drawn, image = _image(recipe, waveform, kind, utterance.id)
        rows.append({**common, **drawn, "view": kind, "pixel_sha256": sha256(image)})
        images.append(image)
    return Clip(utterance=utterance, source_sha256=source, rows=rows, images=b"".join(images))


def _waveform(utterance: Utterance, frontend: FrontEnd) -> np.ndarray:
    return audio.load(utterance.path, frontend.sample_rate_hz, trim_db=frontend.trim_db)


def _image(recipe: Recipe, waveform: torch.Tensor, kind: str, utterance_id: str) -> tuple[dict[str, float], bytes]:
    altered, drawn = view(waveform, kind, recipe.frontend, recipe.augmentation, recipe.seed, utterance_id)
    return drawn, log_mel(altered, recipe.frontend).half().numpy().tobytes()
