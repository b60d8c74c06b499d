"""The same search without this project: a Ray Tune script written the way Ray's PyTorch tutorial writes one.

    python -m jobs.benchmarks.plain_tune TASK.json RESULTS.json

A Dataset decodes a recording and computes its view and log-mel image whenever it is asked for it; a function trains a
configuration from its first epoch to its last; Tune runs that function for every point of a grid, as many at once as
there are cores. Of this project it takes what defines the task: the networks, the front-end, the score. So that both
sides can be compared trial by trial, the batches of each epoch were drawn beforehand, where the tutorial would shuffle.

The stopwatches say where the time goes, and cost none worth mentioning.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
import torch.nn.functional as F
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from torch import Tensor
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, Subset

from jobs.benchmarks.study import SPACE
from sermodels.config.parsing import flatten, merged, parse
from sermodels.config.settings import Augmentation, ChainConfig, FrontEnd
from sermodels.corpora.audio import load
from sermodels.metrics import score
from sermodels.networks.factory import build_student, build_teacher
from sermodels.networks.network import Network, Output
from sermodels.store.frontend import log_mel, view

SEED = 0  # of first parameters, and of what is drawn for a view
Seconds = dict[str, Counter[str]]  # by stage: "all", and of them "images" and "teacher_forward"


class Recordings(Dataset):
    """Views of recordings: a row is (path, id, view, label)."""

    def __init__(self, rows: list[tuple[str, str, str, int]], frontend: FrontEnd, spent: Counter[str]):
        self.rows, self.frontend, self.spent = rows, frontend, spent

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        path, utterance, kind, label = self.rows[row]
        with timed(self.spent, "images"):
            waveform = torch.from_numpy(load(Path(path), self.frontend.sample_rate_hz))
            altered, _ = view(waveform, kind, self.frontend, Augmentation(), SEED, utterance)
            return log_mel(altered, self.frontend).unsqueeze(0), label


def train_trial(params: dict[str, Any], task: dict[str, Any]) -> None:
    """Teacher, match and student of one configuration."""
    torch.set_num_threads(1)
    config = parse(ChainConfig, merged(task["chain"], flatten(params)), "trial")
    shape = {"image": tuple(task["image"]), "classes": task["classes"], "seed": SEED}
    teacher, student = build_teacher(config, **shape), build_student(config, **shape)
    seconds: Seconds = {}
    fit("teacher", teacher, None, config, task, seconds)
    teacher.eval().requires_grad_(False)
    fit("match", student, teacher, config, task, seconds)
    fit("student", student, teacher, config, task, seconds)


def fit(
    stage: str, network: Network, teacher: Network | None, config: ChainConfig, task: dict[str, Any], seconds: Seconds
) -> None:
    """Train one stage and report each epoch to Tune."""
    settings, spent = getattr(config, stage), Counter()
    seconds[stage] = spent
    recordings = Recordings(task["rows"], parse(FrontEnd, task["frontend"], "task"), spent)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr, fused=True)
    schedule = StepLR(optimizer, settings.halve_every, gamma=0.5)
    for batches in task["batches"][stage]:  # of an epoch
        with timed(spent, "all"):
            for images, labels in DataLoader(recordings, batch_sampler=batches, num_workers=0):
                targets = features(teacher, images, spent)
                optimizer.zero_grad()
                loss_of(stage, network(images), labels, targets, config.alpha).backward()
                optimizer.step()
            schedule.step()
            figures = validate(network, teacher, recordings, task)
        tune.report({"stage": stage, "seconds": seconds, **figures})


def loss_of(stage: str, output: Output, labels: Tensor, targets: Tensor | None, alpha: float) -> Tensor:
    """Cross entropy for the teacher, L1 of the features for match, both for the student."""
    if stage == "teacher":
        return F.cross_entropy(output.logits, labels)
    if stage == "match":
        return F.l1_loss(output.features, targets)
    return F.cross_entropy(output.logits, labels) + alpha * F.l1_loss(output.features, targets)


@torch.no_grad()
def features(teacher: Network | None, images: Tensor, spent: Counter[str]) -> Tensor | None:
    """What the student is to imitate."""
    if teacher is None:
        return None
    with timed(spent, "teacher_forward"):
        return teacher(images).features


@torch.no_grad()
def validate(
    network: Network, teacher: Network | None, recordings: Recordings, task: dict[str, Any]
) -> dict[str, float]:
    """UAR and losses on the validation rows."""
    logits, truth, distances = [], [], []
    for images, labels in DataLoader(Subset(recordings, task["valid"]), batch_size=32, num_workers=0):
        output = network(images)
        logits.append(output.logits)
        truth.append(labels)
        if teacher is not None:
            distances.append((output.features - features(teacher, images, recordings.spent)).abs().mean(1))
    logits, truth = torch.cat(logits), torch.cat(truth)
    figures = {
        "val_uar": score(truth.numpy(), logits.argmax(1).numpy(), task["classes"]).uar,
        "val_loss": F.cross_entropy(logits, truth).item(),
    }
    return figures | ({"val_l1": torch.cat(distances).mean().item()} if distances else {})


@contextmanager
def timed(spent: Counter[str], name: str) -> Iterator[None]:
    """Add the seconds of a block."""
    began = time.perf_counter()
    yield
    spent[name] += time.perf_counter() - began


def main(task_file: Path, results_file: Path) -> None:
    """Search the grid and write what each trial reported."""
    task = json.loads(task_file.read_text())
    ray.init(address="local", include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train_trial, task=task), {"cpu": 1}),
        param_space={name: tune.grid_search(values) for name, values in SPACE.items()},
        tune_config=tune.TuneConfig(metric="val_uar", mode="max", scheduler=FIFOScheduler()),
        run_config=tune.RunConfig(storage_path=str(results_file.absolute().with_name("plain")), verbose=1),
    )
    grid = tuner.fit()
    if grid.errors:
        raise grid.errors[0]
    told = ("val_uar", "val_loss", "seconds")
    trials = [{"params": flatten(r.config), **{name: r.metrics[name] for name in told}} for r in grid]
    results_file.write_text(json.dumps(trials))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
