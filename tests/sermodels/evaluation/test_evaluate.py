"""Evaluation: the figures of a trained network are those that its chain saw, and a report says what it is about."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sermodels.config.settings import ChainConfig
from sermodels.evaluation import evaluate as evaluation
from sermodels.networks.factory import build_student
from sermodels.store.open import Store
from sermodels.store.splits import split
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.chain_result import ChainResult
from sermodels.training.data import TrialData

FOLDS, SEEDS = (1, 0), (5, 3)


@pytest.fixture(scope="module")
def config(tiny_config: Callable[..., ChainConfig]) -> ChainConfig:
    """Trained long enough to answer with several emotions."""
    return tiny_config(folds=FOLDS, seeds=SEEDS, alpha=0, **{"student.epochs": 12, "student.lr": 0.02})


@pytest.fixture(scope="module")
def trained(store: Store, config: ChainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Chain, ChainResult]:
    cache = StageCache(tmp_path_factory.mktemp("stages"))
    chain = Chain(config, TrialData(store, config), cache)
    return chain, chain.run()


@pytest.fixture(scope="module")
def networks(trained, config):
    return [trained[0].network("student", lane) for lane in range(len(config.lanes))]


def test_valid_side_gives_the_chain_s_figures_to_the_bit(trained, networks, store, config):
    _, result = trained
    for lane, (fold, _) in enumerate(config.lanes):
        valid = split(store, config.protocol, fold, config.split_seed).valid
        scores = evaluation.evaluate(networks[lane], store, valid)
        figures = (result.val_uar[lane], result.val_wa[lane], result.val_macro_f1[lane])
        assert (scores.uar, scores.wa, scores.macro_f1) == figures
        assert np.count_nonzero(np.sum(scores.confusion, axis=0)) > 1


def test_rows_decide_and_not_their_order(networks, store):
    rows = np.arange(90)
    scores = evaluation.evaluate(networks[0], store, rows)
    assert scores == evaluation.evaluate(networks[0], store, rows[::-1])
    assert np.sum(scores.confusion) == 90
    assert np.sum(scores.confusion, axis=1).tolist() == np.bincount(store.emotion[:90], minlength=7).tolist()
    assert scores.wa == np.trace(scores.confusion) / 90


def test_float64_networks(store, tiny_config):
    network = build_student(tiny_config(precision="float64"), store.pixels.shape[1:], len(store.emotions), seed=0)
    assert 0 <= evaluation.evaluate(network, store, np.arange(8)).wa <= 1


def test_report_of_the_test_side(networks, store, config):
    report = evaluation.test_report(networks, store, config)
    test = split(store, "speaker", 0, 0).test
    assert (report["rows"], report["clips"]) == (len(test), len(test))
    assert report["speakers"] == sorted(set(store.speaker[test]))
    assert [(lane["fold"], lane["seed"]) for lane in report["lanes"]] == [(1, 5), (1, 3), (0, 5), (0, 3)]
    assert report["uar"] == pytest.approx(np.mean([lane["uar"] for lane in report["lanes"]]))
    assert report["wa_std"] == pytest.approx(np.std([lane["wa"] for lane in report["lanes"]], ddof=1))
    assert np.sum(report["confusion"]) == len(test)
    assert np.sum(report["confusion_all_lanes"]) == 4 * len(test)
    assert report["confusion"] == evaluation.evaluate(networks[0], store, test).confusion
    assert report["chance"] == 1 / 7
    assert report["caveat"] is None


def test_report_reads_the_test_rows_and_no_others(networks, store, config):
    test = split(store, config.protocol, 0, config.split_seed).test
    others = np.setdiff1d(np.arange(len(store.clip)), test)
    noise = np.random.default_rng(0).random(store.pixels.shape).astype(np.float16)
    report = evaluation.test_report(networks, store, config)
    for rows, same in ((others, True), (test, False)):
        pixels = store.pixels.copy()
        pixels[rows] = noise[rows]
        assert (evaluation.test_report(networks, replace(store, pixels=pixels), config) == report) is same


def test_report_under_paper_is_labelled(networks, store, config):
    report = evaluation.test_report(networks[:1], store, replace(config, protocol="paper", folds=(0,), seeds=(0,)))
    assert "leaking" in report["caveat"]
    assert report["rows"] == 28  # a fifth of all views
    assert report["uar_std"] == 0


def test_sides(store, config):
    described = evaluation.sides(store, config)
    assert list(described) == ["fold 1", "fold 0"]
    for fold in described.values():
        speakers = [speaker for side in ("train", "valid", "test") for speaker in fold[side]["speakers"]]
        assert sorted(speakers) == sorted(set(store.speaker))
        assert fold["train"]["rows"] == 4 * fold["train"]["clips"]
        assert fold["test"]["rows"] == fold["test"]["clips"] == 7
    assert described["fold 1"]["valid"]["speakers"] != described["fold 0"]["valid"]["speakers"]
    assert described["fold 1"]["test"] == described["fold 0"]["test"]
