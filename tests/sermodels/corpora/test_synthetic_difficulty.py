"""How hard the built-in corpus is for speakers never heard: neither trivial nor impossible.

Most of an emotion lies in what changes over time, so that the student, which sees every column, does better than
a classifier of the average spectrum. Minutes of training; with `-s` the figures are shown.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sermodels.config.settings import Augmentation, ChainConfig, FrontEnd
from sermodels.corpora import synthetic
from sermodels.metrics import score
from sermodels.networks.factory import build_student
from sermodels.store.build import build
from sermodels.store.open import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_unseen_speakers_are_neither_trivial_nor_impossible(tmp_path: Path, seed: int) -> None:
    store = _full_store(tmp_path, seed)
    student, average = _uar_of_student(store, store.emotion, epochs=10), _uar_of_average(store, store.emotion)
    print(f"\nseed {seed}: UAR of the student {student:.3f}, of the average spectrum {average:.3f}")  # noqa: T201
    assert 0.5 <= student <= 0.9
    assert average <= student - 0.1


def test_shuffled_emotions_give_chance(tmp_path: Path) -> None:
    store = _full_store(tmp_path, seed=0)
    of_clips = store.emotion[store.view == "original"]
    shuffled = np.random.default_rng(0).permutation(of_clips)[store.clip]
    student, average = _uar_of_student(store, shuffled, epochs=4), _uar_of_average(store, shuffled)
    print(f"\nshuffled: UAR of the student {student:.3f}, of the average spectrum {average:.3f}")  # noqa: T201
    assert max(student, average) < 0.28  # twice the chance of 1/7; 84 clips scatter by 0.04


def _full_store(folder: Path, seed: int) -> Store:
    corpus = synthetic.read(folder / "corpus", seed=seed)
    settings = FrontEnd(), Augmentation()
    return build(corpus, folder / "s.arrow", *settings, seed=0, workers=1, strict=True, progress=lambda *_: None)


def _sides(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the six first speakers, and those rows of the two last that are original views."""
    unseen = np.isin(store.speaker, ["s07", "s08"])
    return np.flatnonzero(~unseen), np.flatnonzero(unseen & (store.view == "original"))


def _uar_of_student(store: Store, emotion: np.ndarray, epochs: int) -> float:
    """Of the full-size student trained alone, its learning rate halved as often as the paper's in 50 epochs."""
    train, test = _sides(store)
    network = build_student(ChainConfig(), store.pixels.shape[1:], len(store.emotions), seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=max(1, epochs // 5), gamma=0.5)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        for rows in np.array_split(order.permutation(train), len(train) // 16):
            loss = F.cross_entropy(network(_images(store, rows)).logits, torch.from_numpy(emotion[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        predicted = network(_images(store, test)).logits.argmax(dim=1)
    return score(emotion[test], predicted.numpy(), len(store.emotions)).uar


def _uar_of_average(store: Store, emotion: np.ndarray) -> float:
    """Of a logistic regression on the mean over an image's columns."""
    train, test = _sides(store)
    train = train[store.view[train] == "original"]
    average = store.pixels.astype(np.float32).mean(axis=2)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=3000))
    predicted = classifier.fit(average[train], emotion[train]).predict(average[test])
    return score(emotion[test], predicted, len(store.emotions)).uar


def _images(store: Store, rows: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(store.pixels[rows].astype(np.float32)).unsqueeze(1)
