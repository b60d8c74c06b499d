"""A copy of a store whose images have their columns of time in random order: what is left without the order of time?"""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from sermodels.files import replacing
from sermodels.randomness import generator
from sermodels.store.build import write_rows
from sermodels.store.frontend import VIEWS
from sermodels.store.open import Store, fingerprint, manifest_of, open_store, read_batch, rows_sha256, schema, sha256


def shuffled(store: Store, out: Path, seed: int = 0) -> Store:
    """Write the copy, or open the one that is there. Every row has an order of its own.

    Args:
        store: to copy.
        out: the file to write; its folder is made.
        seed: of the orders.

    Raises:
        UserError: `out` is there and is no store.
    """
    if out.exists():
        return open_store(out)
    batch = read_batch(store.path)
    rows, _, width = store.pixels.shape
    orders = np.stack([generator(seed, "shuffled columns", row).permutation(width) for row in range(rows)])
    pixels = np.take_along_axis(store.pixels, orders[:, None, :], axis=2)
    columns = {column: batch[column] for column in batch.schema.names} | {
        "corpus": pa.array([_corpus(store)] * rows),
        "source_sha256": pa.array([_source(source, seed) for source in batch["source_sha256"].to_pylist()]),
        "pixel_sha256": pa.array([sha256(image) for image in pixels]),
        "pixels": pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), type=batch.schema.field("pixels").type),
    }
    copy = pa.record_batch(columns, schema=schema(store.frontend))
    manifest = dataclasses.replace(
        manifest_of(store.path, batch.schema),
        corpus=_corpus(store),
        fingerprint=shuffled_fingerprint(store, seed),
        rows_sha256=rows_sha256(copy),
    )
    with replacing(out) as unfinished:
        write_rows(unfinished, copy, manifest)
        open_store(unfinished).verify()
    return open_store(out)


def shuffled_fingerprint(store: Store, seed: int = 0) -> str:
    """The fingerprint of the copy: its recordings count as others, by the hash of the source's and the seed."""
    sources = [_source(source, seed) for source in store.source_sha256]
    speakers, emotions = store.speaker[:: len(VIEWS)].tolist(), store.emotion[:: len(VIEWS)]
    names = [store.emotions[emotion] for emotion in emotions]
    clips = zip(store.clip_id, sources, speakers, names, strict=True)
    return fingerprint(store.emotions, store.frontend, store.augmentation, store.seed, clips)


def _corpus(store: Store) -> str:
    return f"{store.corpus}, columns shuffled"


def _source(source_sha256: str, seed: int) -> str:
    return sha256(f"{source_sha256} shuffled by {seed}".encode())
