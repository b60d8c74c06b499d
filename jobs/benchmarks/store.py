"""`store`: epochs from the spectrogram store, against the WAV files decoded and transformed in every epoch.

Speed: both sides hand out the same batches of the same images, drawn as training draws them; one reads them from the
mapped store, the other decodes the file and computes the view by the project's own front-end, which is about three
times as fast as librosa's. Of the files only some batches are done, since each takes the same time. One thread.

Memory: processes open one generated store of a gigabyte, one after the other, each reads a whole epoch and stays;
counted is what is each one's own (unique set size) beyond what it had with everything imported. About a minute.
"""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.benchmarks.inputs import generated_store, recordings
from jobs.benchmarks.memory import private_mb
from jobs.benchmarks.result import Result
from jobs.shared.progress import counted
from sermodels.config.settings import Augmentation, ChainConfig, FrontEnd
from sermodels.corpora import audio
from sermodels.corpora.utterance import Corpus
from sermodels.store.build import build
from sermodels.store.frontend import log_mel, view
from sermodels.store.open import Store, open_store
from sermodels.store.splits import split
from sermodels.training.batches import Order, Source, draw_order
from sermodels.training.data import TrialData

CLIPS, FILE_BATCHES, STORE_EPOCHS = 140, 25, 20
ROWS, PROCESSES = 32_000, 3  # 1.05 GB
CONFIG = ChainConfig()


def measure(scratch: Path) -> Result:
    """Compare the times of an epoch; then, as a second requirement, measure the memory of each further process."""
    torch.set_num_threads(1)
    speed = _speed(scratch)
    memory = _memory(generated_store(scratch / "generated.arrow", ROWS))
    return Result(**speed, further=(memory,))


def _speed(scratch: Path) -> dict[str, Any]:
    corpus = recordings(scratch / "recordings", CLIPS)
    store = build(corpus, scratch / "built.arrow", FrontEnd(), Augmentation(), 0, 1, True, lambda *_: None)
    data = TrialData(store, CONFIG)
    source = Source(data=data, targets=torch.empty(1, len(data), 0))
    order = draw_order(data, CONFIG.lanes, stage="teacher", epoch=1, batch=CONFIG.match.batch)
    files_s = _from_files(store, corpus, source, order)
    from_store_s = median(_from_store(source, epoch) for epoch in range(1, STORE_EPOCHS + 1))
    rows = int(order.weights.sum())
    copy_s = _copy_s(store, rows)
    return {
        "name": "store",
        "compared": f"reading an epoch of {rows} images of 128 × 128 in batches of {CONFIG.match.batch} from the "
        "store, against decoding and transforming the WAV files in every epoch; one thread",
        "value": files_s * rows / from_store_s,
        "unit": "× less time for an epoch",
        "required": "≥ 100",
        "limit": f"copying the epoch's float16 pixels in memory: {copy_s * 1e3:.2f} ms, {files_s * rows / copy_s:.0f}×",
        "parts": {
            "epoch_from_store_s": from_store_s,
            "epoch_from_files_s": files_s * rows,
            "image_from_store_s": from_store_s / rows,
            "image_from_file_s": files_s,
            "epoch_copied_s": copy_s,
            "store_read_mb_per_s": rows * data.image[0] * data.image[1] * 2 / from_store_s / 1e6,
        },
    }


def _from_store(source: Source, epoch: int) -> float:
    """Seconds for an epoch's batches."""
    began = time.perf_counter()
    order = draw_order(source.data, CONFIG.lanes, stage="teacher", epoch=epoch, batch=CONFIG.match.batch)
    for rows_B in _batches(order):
        source.of_lane(0, rows_B)
    return time.perf_counter() - began


def _from_files(store: Store, corpus: Corpus, source: Source, order: Order) -> float:
    """Seconds an image; every batch must be the store's.

    Raises:
        ArithmeticError: an image differs from the store's, so that the times compare nothing.
    """
    paths = {utterance.id: utterance.path for utterance in corpus.utterances}
    sides = split(store, CONFIG.protocol, CONFIG.folds[0], CONFIG.split_seed)
    numbers = np.union1d(sides.train, sides.valid)  # of the store's rows, by those of the trial
    seconds, images = 0.0, 0
    with counted("batches of files") as progress:
        for done, rows_B in enumerate(list(_batches(order))[:FILE_BATCHES], start=1):
            began = time.perf_counter()
            computed_BHW = torch.stack([_image(store, paths, number) for number in numbers[rows_B]])
            seconds += time.perf_counter() - began
            images += len(rows_B)
            if not torch.equal(computed_BHW.unsqueeze(1), source.of_lane(0, rows_B).images):
                raise ArithmeticError("an image from a file is not the store's: the two sides do not read the same")
            progress(done, FILE_BATCHES)
    return seconds / images


def _image(store: Store, paths: dict[str, Path], row: int) -> Tensor:
    """A row of the store, from its file."""
    clip = store.clip_id[store.clip[row]]
    waveform = torch.from_numpy(audio.load(paths[clip], store.frontend.sample_rate_hz))
    altered, _ = view(waveform, store.view[row], store.frontend, store.augmentation, store.seed, clip)
    return log_mel(altered, store.frontend)


def _copy_s(store: Store, rows: int) -> float:
    """Seconds to copy as many bytes as an epoch has, in memory."""
    pixels, times = np.resize(store.pixels, (rows, *store.pixels.shape[1:])), []
    target = np.empty_like(pixels)
    for _ in range(STORE_EPOCHS):
        began = time.perf_counter()
        np.copyto(target, pixels)
        times.append(time.perf_counter() - began)
    return median(times)


def _batches(order: Order) -> Iterator[Tensor]:
    for rows_B, weights_B in zip(order.rows[0], order.weights[0], strict=True):
        yield rows_B[weights_B > 0]


def _memory(path: Path) -> Result:
    """What each further process that reads the store has of its own."""
    context, readers = multiprocessing.get_context("spawn"), []
    for _ in range(PROCESSES):  # one after the other; those before still hold the store open
        here, there = context.Pipe()
        reader = context.Process(target=_read_an_epoch, args=(path, there), daemon=True)
        reader.start()
        readers.append((reader, here, here.recv()))
    for reader, here, _ in readers:
        here.send("end")
        reader.join()
    size_mb = path.stat().st_size / 1e6
    first, *others = [after_mb - before_mb for _, _, (before_mb, after_mb) in readers]
    return Result(
        name="store, memory",
        compared=f"private memory that each further process adds when it opens a store of {size_mb / 1e3:.2f} GB and "
        "reads a whole epoch, against the size of the store",
        value=100 * max(others) / size_mb,
        unit="% of the store",
        required="≤ 5",
        limit="0 %: all pixels are pages of the mapped file, shared; the columns beside them are each process's own",
        parts={
            "store_mb": size_mb,
            "further_processes_add_mb": others,
            "first_process_adds_mb": first,  # what a single process maps counts as its own
            "process_before_opening_mb": readers[0][2][0],
        },
    )


def _read_an_epoch(path: Path, connection: Connection) -> None:
    """In a process of its own: report private memory before and after, then stay until told to end."""
    torch.set_num_threads(1)
    before_mb = private_mb()
    data = TrialData(open_store(path), CONFIG)
    _from_store(Source(data=data, targets=torch.empty(1, len(data), 0)), epoch=1)
    connection.send((before_mb, private_mb()))
    connection.recv()
