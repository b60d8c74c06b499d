"""Small corpora of real files, made on the spot, and what comes of reading them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sermodels.corpora.read import read_corpus
from sermodels.corpora.utterance import Corpus
from sermodels.errors import UserError

CLASS_FOLDERS = ("anger/kim_1.wav", "neutral/lee_2.flac", "neutral/old/kim_3.OGG")


def recordings(folder: Path, names: Iterable[str]) -> Path:
    """Write a recording of 0.1 s under each name; returns `folder`."""
    samples = 0.1 * np.sin(np.arange(800) / 5)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 8000)
    return folder


def copies(folder: Path, names: Iterable[str]) -> Path:
    """Like recordings, but encoded once, for thousands of files."""
    recordings(folder, ["first.wav"])
    encoded = (folder / "first.wav").read_bytes()
    (folder / "first.wav").unlink()
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)
    return folder


def table(folder: Path, *lines: str) -> Path:
    """A CSV file of these lines, beside the recordings a.wav, b.wav and sub/c.flac."""
    recordings(folder, ["a.wav", "b.wav", "sub/c.flac"])
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "list.csv"


def by_id(corpus: Corpus) -> dict[str, tuple[str, str, str | None]]:
    return {u.id: (u.speaker, u.emotion, u.sentence) for u in corpus.utterances}


def refusal(name: str, root: Path, **options: Any) -> str:
    """The one line with which reading ends."""
    with pytest.raises(UserError) as caught:
        read_corpus(name, root, options)
    message = str(caught.value)
    assert "\n" not in message
    return message
