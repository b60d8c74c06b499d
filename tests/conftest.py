"""What many tests share: a small real store, a configuration with tiny networks, one thread, and real speech if any."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from ray.cluster_utils import Cluster
from tiers import pytest_terminal_summary  # noqa: F401  # a hook

from search.scheduling.ledger import create_study
from sermodels.config.parsing import merged, parse
from sermodels.config.settings import Augmentation, ChainConfig, FrontEnd
from sermodels.corpora import synthetic
from sermodels.deploy.complete import complete
from sermodels.networks.factory import build_student
from sermodels.store.build import build
from sermodels.store.open import Store
from sermodels.training.bundle import FINGERPRINT, write_bundle

SMALL = FrontEnd(clip_s=2.0, n_fft=512, n_mels=32, width=32)  # images of 32 × 32 pixels
TINY = {
    "patch": "32x4",
    "dim": 16,
    "mlp": 16,
    "head_dim": 4,
    "teacher": {"epochs": 2, "batch": 16, "lr": 3e-3, "depth": 1, "heads": 2, "stem": [2, 1]},
    "match": {"epochs": 2, "batch": 16, "lr": 3e-3},
    "student": {"epochs": 2, "batch": 16, "lr": 3e-3, "depth": 1, "heads": 2},
}

pytest.register_assert_rewrite("chains")  # what its comparisons found different is shown


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As a trial has; sums then have one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A built store of 5 synthetic speakers × 7 emotions × 1 clip × 4 views: 140 images of 32 × 32. Read-only."""
    root = tmp_path_factory.mktemp("shared")
    corpus = synthetic.read(root / "corpus", seed=0, speakers=5, clips_per_emotion=1)
    return build(
        corpus, root / "small.arrow", SMALL, Augmentation(), seed=0, workers=1, strict=True, progress=lambda *_: None
    )


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., ChainConfig]:
    """Makes a chain that trains within a second on `store`, changed as told: `(alpha=1, **{"teacher.lr": 0.01})`."""

    def make(**changes: Any) -> ChainConfig:
        return parse(ChainConfig, merged(TINY, changes), "tiny_config")

    return make


@pytest.fixture(scope="session")
def model(store: Store, tiny_config: Callable[..., ChainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported student that was not trained. Read-only."""
    config = tiny_config(dim=32)
    network = build_student(config, store.pixels.shape[1:], len(store.emotions), seed=0)
    with torch.no_grad():
        network.classify.weight *= 20  # a fresh network is never sure of anything
    out = tmp_path_factory.mktemp("model") / "best"
    parts = {"emotions": store.emotions, "frontend": store.frontend, "network": network}
    write_bundle(out, config=config, metrics={FINGERPRINT: store.fingerprint}, finish=complete, **parts)
    return out


@pytest.fixture(scope="session")
def wav(store: Store) -> Path:
    """A recording of the store's corpus."""
    return store.path.parent / "corpus" / store.clip_id[0]


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Makes a home whose MLflow database has its tables, which take seconds to make, and nothing in them."""
    template = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{template}").search_experiments()

    def make(home: Path) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(template, home / template.name)
        return home

    return make


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Where a Ray of one core answers: sweeps in the tests' own process need not start one each."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield nodes.address
    nodes.shutdown()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal of a study that has just begun, named "sweep"."""
    path = tmp_path / "studies" / "sweep.journal"
    create_study(path, "sweep")
    return path


@pytest.fixture(scope="session")
def emodb() -> Path:
    """The folder of the real EmoDB; the test is skipped where there is none."""
    if "SER_CORPORA" not in os.environ:
        pytest.skip("real speech: set SER_CORPORA to the folder that holds emodb/")
    root = Path(os.environ["SER_CORPORA"]) / "emodb"
    if not root.is_dir():
        pytest.skip(f"real speech: {root} is not a folder")
    return root
