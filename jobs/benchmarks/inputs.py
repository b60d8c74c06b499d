"""What several benchmarks work on: synthetic recordings, and stores of any size without a recording.

R rows of a store, H × W pixels of an image.
"""

import mmap
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.corpora import synthetic
from sermodels.corpora.synthetic import EMOTIONS
from sermodels.corpora.utterance import Corpus
from sermodels.store.frontend import VIEWS
from sermodels.store.open import Manifest, fingerprint, schema, sha256, with_manifest

SPEAKERS = 10
DISTINCT = 256  # images of a generated store, repeated: drawing and hashing each row would take minutes


def recordings(folder: Path, clips: int) -> Corpus:
    """Write synthetic recordings: mono WAV, 16 kHz, 1.5 to 4 s; about 30 a second.

    Args:
        folder: of the corpus, absent.
        clips: at least so many; every speaker says the same number in each emotion.
    """
    each = -(-clips // (SPEAKERS * len(EMOTIONS)))
    return synthetic.read(folder, speakers=SPEAKERS, clips_per_emotion=each)


def generated_store(path: Path, rows: int, frontend: FrontEnd | None = None) -> Path:
    """Write a store of noise that opens and verifies as a built one does; returns its path.

    Ten speakers say all seven emotions in turn. Takes twice its size on disk while it is written, and little memory.

    Args:
        path: the file, in a folder that exists.
        rows: R, a multiple of the four views.
        frontend: its settings; None: the defaults, with 32 KiB an image.
    """
    frontend = frontend or FrontEnd()
    columns = schema(frontend)
    images = np.random.default_rng(0).random((DISTINCT, frontend.n_mels, frontend.width), np.float32).astype(np.float16)
    table = _columns(rows, [sha256(image) for image in images])
    clips = zip(*(table[name] for name in ("clip_id", "source_sha256", "speaker", "emotion")), strict=True)
    manifest = Manifest(
        corpus="generated",
        emotions=EMOTIONS,
        frontend=frontend,
        augmentation=Augmentation(),
        seed=0,
        skipped=(),
        fingerprint=fingerprint(EMOTIONS, frontend, Augmentation(), 0, clips),
    )
    with tempfile.TemporaryFile(dir=path.parent) as scratch:
        table["pixels"] = _pixels(columns.field("pixels").type, rows, images, scratch)
        arrays = [pa.array(table[field.name], field.type) for field in columns]
        batch = pa.record_batch(arrays, schema=with_manifest(columns, manifest))
        options = pa.ipc.IpcWriteOptions(allow_64bit=True)  # more than 2³¹ pixels
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema, options=options) as writer:
            writer.write_batch(batch)
    return path


def _columns(rows: int, image_sha256: list[str]) -> dict[str, Any]:
    """All columns but the pixels, one entry a row."""
    clips, views = range(rows // len(VIEWS)), len(VIEWS)
    of_clips = {
        "corpus": ["generated" for _ in clips],
        "clip_id": [f"{clip:06d}" for clip in clips],
        "speaker": [f"p{clip // len(EMOTIONS) % SPEAKERS:02d}" for clip in clips],
        "sentence": [None for _ in clips],
        "emotion": [EMOTIONS[clip % len(EMOTIONS)] for clip in clips],
        "duration_s": [3.0 for _ in clips],
        "source_sha256": [sha256(b"%d" % clip) for clip in clips],
    }
    table: dict[str, Any] = {name: [value for value in each for _ in VIEWS] for name, each in of_clips.items()}
    table |= dict.fromkeys(("snr_db", "shift_s", "speed"), [None] * rows)
    table["view"] = list(VIEWS) * len(clips)
    table["pixel_sha256"] = [image_sha256[row % DISTINCT] for row in range(len(clips) * views)]
    return table


def _pixels(kind: pa.FixedSizeListType, rows: int, images: np.ndarray, scratch: IO[bytes]) -> pa.Array:
    """The images over and over, as a mapped file."""
    for start in range(0, rows, DISTINCT):
        scratch.write(images[: rows - start])
    scratch.flush()
    mapped = pa.py_buffer(mmap.mmap(scratch.fileno(), 0, access=mmap.ACCESS_READ))
    values = pa.Array.from_buffers(kind.value_type, rows * kind.list_size, [None, mapped])
    return pa.FixedSizeListArray.from_arrays(values, type=kind)
