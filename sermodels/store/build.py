"""Building a spectrogram store: rendered once, written as a whole or not at all, recognised when asked for again."""

import mmap
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

import pyarrow as pa

from sermodels.config.parsing import to_plain
from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.corpora.utterance import Corpus
from sermodels.errors import UserError
from sermodels.files import file_sha256, remove_leftovers, replacing
from sermodels.store.frontend import VIEWS
from sermodels.store.open import Manifest, Store, fingerprint, open_store, rows_sha256, schema, with_manifest
from sermodels.store.render import Recipe, Row, render

Progress = Callable[[int, int], None]  # utterances done, of how many
Skipped = dict[str, str | None]  # a recording left out: id, reason, source_sha256


def build(
    corpus: Corpus,
    out: Path,
    frontend: FrontEnd,
    augmentation: Augmentation,
    seed: int,
    workers: int,
    strict: bool,
    progress: Progress,
) -> Store:
    """Write the store of a corpus, or open the one that is there if it is the same.

    `out` appears when it is whole and verified, or not at all.

    Args:
        corpus: from a reader.
        out: the file to write; its folder is made.
        frontend: settings.
        augmentation: ranges of the altered views.
        seed: of the altered views.
        workers: processes of one thread each; with 1 the work is done in this process.
        strict: make a damaged recording an error; otherwise it is left out and listed in `Store.skipped`.
        progress: called with the number of utterances done, and of all.

    Raises:
        UserError: `out` is something else (with each difference) or cannot be written, an emotion has no
            recording left, a worker died, or, if strict, the first damaged recording.
    """
    if workers < 1:
        raise UserError(f"workers = {workers} is not possible: must be at least 1")
    _require_every_emotion(corpus, {utterance.emotion for utterance in corpus.utterances})
    recipe = Recipe(corpus=corpus.name, frontend=frontend, augmentation=augmentation, seed=seed)
    if out.exists():
        return _open_same(out, corpus, recipe, strict)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        # The scratch file has no name, so that nothing is left of it however this process ends.
        with tempfile.TemporaryFile(dir=out.parent) as scratch, replacing(out) as unfinished:
            rows, skipped = _render_all(corpus, recipe, workers, strict, scratch, progress)
            _require_every_emotion(corpus, {row["emotion"] for row in rows})
            _write(unfinished, recipe, corpus.emotions, rows, skipped, scratch)
            open_store(unfinished).verify()
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    return open_store(out)


def _open_same(out: Path, corpus: Corpus, recipe: Recipe, strict: bool) -> Store:
    """Open a finished store if it holds what would be written now; reads every recording for its hash."""
    store = open_store(out)
    different = _setting_differences(store, corpus, recipe) or _clip_differences(store, corpus)
    if strict and store.skipped:
        different.append(f"{len(store.skipped)} damaged recordings are left out there, none may be here")
    if different:
        raise UserError(f"{out}: built otherwise: {'; '.join(different)}; delete it or choose another file")
    return store


def _setting_differences(store: Store, corpus: Corpus, recipe: Recipe) -> list[str]:
    held = {"corpus": store.corpus, "emotions": list(store.emotions), "seed": store.seed}
    held |= asdict(store.frontend) | to_plain(store.augmentation)
    asked = {"corpus": corpus.name, "emotions": list(corpus.emotions), "seed": recipe.seed}
    asked |= asdict(recipe.frontend) | to_plain(recipe.augmentation)
    return [f"{key} is {held[key]} there, {asked[key]} here" for key in held if held[key] != asked[key]]


def _clip_differences(store: Store, corpus: Corpus) -> list[str]:
    """Kinds of different recordings; one left out as damaged counts as the same while its file is."""
    speakers, emotions = store.speaker[:: len(VIEWS)], store.emotion[:: len(VIEWS)]
    classes = [store.emotions[emotion] for emotion in emotions]
    held = dict(zip(store.clip_id, zip(store.source_sha256, speakers, classes, strict=True), strict=True))
    asked = {u.id: (file_sha256(u.path), u.speaker, u.emotion) for u in corpus.utterances}
    for damaged in store.skipped:
        if damaged["id"] in asked and asked[damaged["id"]][0] == damaged["source_sha256"]:
            del asked[damaged["id"]]
    kinds = {
        "recordings only here": asked.keys() - held.keys(),
        "recordings only there": held.keys() - asked.keys(),
        "recordings of other content, speaker or emotion": {
            name for name in asked.keys() & held.keys() if asked[name] != held[name]
        },
    }
    return [f"{len(ids)} {kind} (the first: {min(ids)})" for kind, ids in kinds.items() if ids]


def _require_every_emotion(corpus: Corpus, found: set[str]) -> None:
    if lacking := [emotion for emotion in corpus.emotions if emotion not in found]:
        names = ", ".join(lacking)
        raise UserError(f"corpus {corpus.name}: no usable recording of {names}; every emotion needs one")


def _render_all(
    corpus: Corpus, recipe: Recipe, workers: int, strict: bool, scratch: IO[bytes], progress: Progress
) -> tuple[list[Row], list[Skipped]]:
    """Append all images to `scratch`; return the rows, and what was left out."""
    rows: list[Row] = []
    skipped = []
    for done, clip in enumerate(render(corpus.utterances, recipe, workers), start=1):
        if clip.error and strict:
            raise UserError(clip.error)
        if clip.error:
            reason = clip.error.replace(str(clip.utterance.path), clip.utterance.id)  # no path of this machine
            skipped.append({"id": clip.utterance.id, "reason": reason, "source_sha256": clip.source_sha256})
        rows += clip.rows
        scratch.write(clip.images)
        progress(done, len(corpus.utterances))
    scratch.flush()
    return rows, skipped


def _write(
    path: Path,
    recipe: Recipe,
    emotions: Sequence[str],
    rows: list[Row],
    skipped: list[Skipped],
    scratch: IO[bytes],
) -> None:
    clips = [(row["clip_id"], row["source_sha256"], row["speaker"], row["emotion"]) for row in rows]
    columns = schema(recipe.frontend)
    pixels = _pixel_column(columns.field("pixels").type, len(rows), scratch)
    arrays = [pa.array([row.get(f.name) for row in rows], f.type) for f in columns if f.name != "pixels"]
    batch = pa.record_batch([*arrays, pixels], schema=columns)
    manifest = Manifest(
        corpus=recipe.corpus,
        emotions=tuple(emotions),
        frontend=recipe.frontend,
        augmentation=recipe.augmentation,
        seed=recipe.seed,
        skipped=tuple(skipped),
        fingerprint=fingerprint(emotions, recipe.frontend, recipe.augmentation, recipe.seed, clips),
        rows_sha256=rows_sha256(batch),
    )
    write_rows(path, batch, manifest)


def write_rows(path: Path, batch: pa.RecordBatch, manifest: Manifest) -> None:
    """Write the file of a store: its rows, as `schema` has them, and what it says of itself."""
    batch = batch.replace_schema_metadata(with_manifest(batch.schema, manifest).metadata)
    options = pa.ipc.IpcWriteOptions(allow_64bit=True)  # more than 2³¹ pixels
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def _pixel_column(kind: pa.FixedSizeListType, rows: int, scratch: IO[bytes]) -> pa.Array:
    """The scratch file as an Arrow array, mapped: the pixels are never held in memory."""
    mapped = pa.py_buffer(mmap.mmap(scratch.fileno(), 0, access=mmap.ACCESS_READ))
    values = pa.Array.from_buffers(kind.value_type, rows * kind.list_size, [None, mapped])
    return pa.FixedSizeListArray.from_arrays(values, type=kind)
