"""A copy of a store whose images have their columns of time in random order: what is left without the order of time?"""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa

from sermodels.files import replacing
from sermodels.randomness import generator
from sermodels.store import Store, fingerprint, manifest_of, open_store, read_batch, rows_sha256, schema, sha256
from sermodels.store_build import write_rows


def shuffled(store: Store, out: Path, seed: int = 0) -> Store:
    """Write the copy, or open the one that is there. Every row has an order of its own.

    Each source's hash is that of the source and the seed, so that the copy has a fingerprint of its own.

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
    name = f"{store.corpus}, columns shuffled"
    rows, _, width = store.pixels.shape
    orders = np.stack([generator(seed, "shuffled columns", row).permutation(width) for row in range(rows)])
    pixels = np.take_along_axis(store.pixels, orders[:, None, :], axis=2)
    sources = [sha256(f"{source} shuffled by {seed}".encode()) for source in batch["source_sha256"].to_pylist()]
    columns = {column: batch[column] for column in batch.schema.names} | {
        "corpus": pa.array([name] * len(pixels)),
        "source_sha256": pa.array(sources),
        "pixel_sha256": pa.array([sha256(image) for image in pixels]),
        "pixels": pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), type=batch.schema.field("pixels").type),
    }
    copy = pa.record_batch(columns, schema=schema(store.frontend))
    clips = zip(*(columns[key].to_pylist() for key in ("clip_id", "source_sha256", "speaker", "emotion")), strict=True)
    manifest = dataclasses.replace(
        manifest_of(store.path, batch.schema),
        corpus=name,
        fingerprint=fingerprint(store.emotions, store.frontend, store.augmentation, store.seed, clips),
        rows_sha256=rows_sha256(copy),
    )
    with replacing(out) as unfinished:
        write_rows(unfinished, copy, manifest)
        open_store(unfinished).verify()
    return open_store(out)
