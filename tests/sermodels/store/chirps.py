"""A small corpus of real files, and stores of it, for the tests of stores."""

from pathlib import Path

import numpy as np
import soundfile

from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.corpora.utterance import Corpus, Utterance
from sermodels.store.build import build

SMALL = FrontEnd(clip_s=0.5, n_mels=16, width=16)
AUGMENTATION = Augmentation()
EMOTIONS = ("anger", "calm")


def make_corpus(folder: Path, clips: int = 6) -> Corpus:
    """Chirps of three speakers; the second half says no sentence."""
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for i in range(clips):
        path = folder / f"{i:02d}.wav"
        time = np.arange(4800 + 800 * (i % 5)) / 16_000
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 40 * i + 500 * time) * time), 16_000)
        sentence = "a01" if i < clips // 2 else None
        utterances.append(
            Utterance(id=path.name, path=path, speaker=f"s{i % 3}", emotion=EMOTIONS[i % 2], sentence=sentence)
        )
    return Corpus(name="chirps", utterances=tuple(utterances), emotions=EMOTIONS)


def make(corpus: Corpus, out: Path, *, frontend=SMALL, seed=0, workers=1, strict=False, progress=lambda *_: None):
    return build(corpus, out, frontend, AUGMENTATION, seed, workers, strict, progress)


def damage(corpus: Corpus, number: int) -> str:
    """Cut a recording off within its header; its id."""
    path = corpus.utterances[number].path
    path.write_bytes(path.read_bytes()[:20])
    return corpus.utterances[number].id
