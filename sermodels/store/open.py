"""The spectrogram store: one Arrow file, written once, mapped by every trial; opening and verifying it.

The file holds one uncompressed record batch, one row a view. The four views of a clip are adjacent, in the
order of VIEWS. R rows, H image height (mel bands), W image width.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sermodels.config.constraints import checked
from sermodels.config.parsing import parse, to_plain
from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.errors import UserError
from sermodels.store.frontend import VIEWS

FORMAT_VERSION = 1  # raise when columns, manifest or the meaning of the pixels change
_MANIFEST = b"manifest"  # its key in the schema's metadata
_MAGIC = b"ARROW1"  # at both ends of a whole file


@checked
class Manifest:
    """What a store says of itself, as JSON in the metadata of its schema."""

    format_version: int = FORMAT_VERSION
    corpus: str
    emotions: tuple[str, ...]
    frontend: FrontEnd
    augmentation: Augmentation
    seed: int
    skipped: tuple[dict[str, str | None], ...]
    fingerprint: str
    rows_sha256: str | None = None  # of all columns but the pixels; older stores have none


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """An open store. Arrays have one entry a row unless said otherwise."""

    path: Path
    fingerprint: str  # sha256 in hex of all that determines the content
    corpus: str  # name of its reader
    emotions: tuple[str, ...]  # class i is emotions[i]
    frontend: FrontEnd
    augmentation: Augmentation
    seed: int  # of the views
    skipped: tuple[dict[str, str | None], ...]  # damaged recordings: id, reason, source_sha256
    pixels: np.ndarray  # (R, H, W) float16 in 0…1, read-only: the pages of the mapped file
    emotion: np.ndarray  # (R,) int64, index into emotions
    speaker: np.ndarray  # (R,) str
    sentence: np.ndarray  # (R,) object: str, or None where the corpus does not tell
    view: np.ndarray  # (R,) str, of VIEWS
    clip: np.ndarray  # (R,) int64, number of the utterance
    shift_s: np.ndarray  # (R,) float64, drawn for the shift view; NaN for the others
    speed: np.ndarray  # (R,) float64, drawn for the speed view; NaN for the others
    duration_s: np.ndarray  # (R,) float64, of the recording, without what `frontend.trim_db` cuts
    pixel_sha256: np.ndarray  # (R,) str
    clip_id: tuple[str, ...]  # one a clip: the utterance's id
    source_sha256: tuple[str, ...]  # one a clip, of the audio file

    def summary(self) -> str:
        """What is in it, in three lines for a person."""
        rows, height, width = self.pixels.shape
        return (
            f"{rows} rows ({len(self.clip_id)} clips × {len(VIEWS)} views) of {height} × {width} pixels\n"
            f"{len(set(self.speaker))} speakers, {len(self.emotions)} emotions: {', '.join(self.emotions)}\n"
            f"fingerprint {self.fingerprint[:12]}, {self.path.stat().st_size / 1e6:.1f} MB"
        )

    def verify(self) -> None:
        """Check the hash of every image, and that of all other columns.

        Raises:
            UserError: naming the first clip and view whose pixels are not those that were written.
        """
        batch = read_batch(self.path)
        if (expected := manifest_of(self.path, batch.schema).rows_sha256) not in (None, rows_sha256(batch)):
            raise _altered(self.path, "what it says of its clips is not what was written")
        for row, expected in enumerate(self.pixel_sha256):
            if sha256(self.pixels[row]) != expected:
                where = f"view {self.view[row]} of clip {self.clip_id[self.clip[row]]}"
                raise UserError(f"{self.path}: pixels altered in {where}; delete the file and build it again")


def open_store(path: Path) -> Store:
    """Map a store into memory; nothing of the pixels is read or copied.

    Raises:
        UserError: missing, not an Arrow file, truncated, of another format version, or altered.
    """
    batch = read_batch(path)
    manifest = manifest_of(path, batch.schema)
    if not batch.schema.equals(schema(manifest.frontend)):
        raise _altered(path, "its columns are not those of its settings")
    text = {n: batch.column(n).to_pylist() for n in ("clip_id", "source_sha256", "speaker", "emotion", "view")}
    clips = zip(text["clip_id"], text["source_sha256"], text["speaker"], text["emotion"], strict=True)
    found = fingerprint(manifest.emotions, manifest.frontend, manifest.augmentation, manifest.seed, clips)
    views = len(VIEWS)
    if found != manifest.fingerprint or text["view"] != list(VIEWS) * (batch.num_rows // views):
        raise _altered(path, "its rows or settings do not fit its fingerprint")
    return Store(
        path=path,
        fingerprint=found,
        corpus=manifest.corpus,
        emotions=manifest.emotions,
        frontend=manifest.frontend,
        augmentation=manifest.augmentation,
        seed=manifest.seed,
        skipped=manifest.skipped,
        pixels=_pixels(batch, manifest.frontend),
        emotion=np.array([manifest.emotions.index(name) for name in text["emotion"]], dtype=np.int64),
        speaker=np.array(text["speaker"]),
        sentence=np.array(batch.column("sentence").to_pylist(), dtype=object),
        view=np.array(text["view"]),
        clip=np.arange(batch.num_rows) // views,
        **{name: np.array(batch.column(name).to_pylist(), float) for name in ("shift_s", "speed", "duration_s")},
        pixel_sha256=np.array(batch.column("pixel_sha256").to_pylist()),
        clip_id=tuple(text["clip_id"][::views]),
        source_sha256=tuple(text["source_sha256"][::views]),
    )


def fingerprint(
    emotions: Iterable[str],
    frontend: FrontEnd,
    augmentation: Augmentation,
    seed: int,
    clips: Iterable[tuple[str, str, str, str]],
) -> str:
    """Name a store's content: sha256 in hex of the canonical JSON of all that determines it.

    Pixels are left out: they differ in the last bit between kinds of machines. Ids are in, for views are
    drawn by them, and so is the order of the emotions, for labels are stored as its index.

    Args:
        emotions: class names in the order of their index.
        frontend: settings.
        augmentation: settings.
        seed: of the views.
        clips: (id, source_sha256, speaker, emotion), in any order and as often as it pleases.
    """
    determining = {
        "format_version": FORMAT_VERSION,
        "emotions": list(emotions),
        "frontend": to_plain(frontend),
        "augmentation": to_plain(augmentation),
        "seed": seed,
        "clips": sorted(set(clips)),
    }
    return sha256(_canonical_json(determining).encode())


def rows_sha256(columns: pa.RecordBatch) -> str:
    """Hash in hex of all columns but the pixels, which have hashes of their own."""
    named = ((name, columns.column(name).to_pylist()) for name in columns.schema.names if name != "pixels")
    return sha256(_canonical_json(dict(named)).encode())


def schema(frontend: FrontEnd) -> pa.Schema:
    """Columns of a store, without its manifest; `pixels` is the image row by row."""
    text, number, size = pa.string(), pa.float64(), frontend.n_mels * frontend.width
    return pa.schema(
        [
            pa.field("corpus", text, nullable=False),
            pa.field("clip_id", text, nullable=False),
            pa.field("speaker", text, nullable=False),
            pa.field("sentence", text),
            pa.field("emotion", text, nullable=False),
            pa.field("view", text, nullable=False),
            pa.field("snr_db", number),  # drawn for the noise view
            pa.field("shift_s", number),  # drawn for the shift view
            pa.field("speed", number),  # drawn for the speed view
            pa.field("duration_s", number, nullable=False),  # of the recording, without what is trimmed
            pa.field("source_sha256", text, nullable=False),
            pa.field("pixel_sha256", text, nullable=False),
            pa.field("pixels", pa.list_(pa.float16(), size), nullable=False),
        ]
    )


def with_manifest(columns: pa.Schema, manifest: Manifest) -> pa.Schema:
    """The schema carrying a manifest, as `open_store` reads it."""
    return columns.with_metadata({_MANIFEST: _canonical_json(to_plain(manifest))})


def manifest_of(path: Path | str, found: pa.Schema) -> Manifest:
    """What the schema of a store's file says of it.

    Args:
        path: of the file, or its address: for messages.
        found: the schema.

    Raises:
        UserError: not a store, of another format version, or altered.
    """
    text = (found.metadata or {}).get(_MANIFEST)
    if text is None:
        raise UserError(f"{path}: an Arrow file, but not a store: expected one by jobs/build_store.py")
    try:
        raw = json.loads(text)
    except ValueError:
        raise _altered(path, "its manifest is not JSON") from None
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != FORMAT_VERSION:
        expected = f"this program reads format {FORMAT_VERSION}"
        raise UserError(f"{path}: store of format {version}, but {expected}; delete the file and build it again")
    try:
        return parse(Manifest, raw, "manifest")
    except UserError as error:
        raise _altered(path, str(error)) from None


def sha256(content: bytes | np.ndarray) -> str:
    """Hash in hex of bytes or of a contiguous array's memory."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.data).hexdigest()


def _canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_batch(path: Path) -> pa.RecordBatch:
    """The rows of a store's file, mapped into memory.

    Raises:
        UserError: missing, not an Arrow file, truncated, or damaged inside.
    """
    _check_ends(path)
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batch = reader.get_batch(0)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, IndexError, ValueError):
        raise _altered(path, "the Arrow file is damaged inside") from None
    return batch


def _check_ends(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
            file.seek(max(0, path.stat().st_size - len(_MAGIC)))
            tail = file.read()
    except FileNotFoundError:
        way_out = f"build it with jobs/build_store.py --corpus NAME --root DIR --out {path}"
        raise UserError(f"{path}: no such store; {way_out}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a store: {error.strerror}") from None
    if head != _MAGIC:
        raise UserError(f"{path}: not a store: expected an Arrow file, as jobs/build_store.py writes it")
    if tail != _MAGIC:
        raise UserError(f"{path}: truncated: the end of the file is missing; delete it and build it again")


def _pixels(batch: pa.RecordBatch, frontend: FrontEnd) -> np.ndarray:
    # Straight from the buffer: Array.to_numpy imports pandas, 0.2 s in every process.
    values = batch.column("pixels").values
    flat = np.frombuffer(values.buffers()[1], np.float16, count=len(values), offset=2 * values.offset)
    return flat.reshape(batch.num_rows, frontend.n_mels, frontend.width)


def _altered(path: Path | str, what: str) -> UserError:
    return UserError(f"{path}: altered since it was built: {what}; delete the file and build it again")
