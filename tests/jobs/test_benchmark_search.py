"""The benchmarks `reuse` and `sweep`, with tiny networks: that both sides of each train the same. No times."""

import pytest

from sermodels.config.settings import STAGES, FrontEnd
from sermodels.training.cache import StageCache
from sermodels.training.chain import Chain
from sermodels.training.data import TrialData
from sermodels.training.stage import stages_of

STAGE = {"epochs": 2, "batch": 8, "lr": 3e-3, "halve_every": 1}
TINY = {
    "patch": "32x4",
    "dim": 16,
    "mlp": 16,
    "head_dim": 4,
    "teacher": {**STAGE, "depth": 1, "heads": 2, "stem": [2, 1]},
    "match": STAGE,
    "student": STAGE,
}


@pytest.fixture
def study():
    from jobs.benchmarks.study import Study

    return Study(chain=TINY, frontend=FrontEnd(clip_s=2.0, n_fft=512, n_mels=32, width=32))


def test_the_study_holds_as_many_distinct_stages_as_it_says(study):
    from jobs.benchmarks.study import DISTINCT

    configs = study.configurations()
    for stage in STAGES:
        keys = {stages_of(config, "store")[stage][0].key for config in configs}
        assert len(keys) == DISTINCT[stage]


def test_reuse_gives_a_result_only_where_sharing_changes_nothing(study, tmp_path):
    from jobs.benchmarks.reuse import measure

    result = measure(tmp_path, study)  # raises if a bit differs
    parts = result.parts
    assert result.value == pytest.approx(parts["alone_s"] / parts["shared_s"])
    stages = [parts[f"mean_{part}_s"] for part in ("teacher", "features", "match", "student")]
    assert 24 * sum(stages) == pytest.approx(parts["alone_s"])
    assert min(stages) > 0


def test_the_plain_script_trains_what_the_chain_trains(study, tmp_path, monkeypatch):
    from jobs.benchmarks import plain_tune
    from jobs.benchmarks.sweep import task_of

    reports, epochs = [], []
    monkeypatch.setattr(plain_tune.tune, "report", reports.append)  # there is no Tune in this process
    store, params, config = study.store(tmp_path), list(study.params())[-1], study.configurations()[-1]
    plain_tune.train_trial(params, task_of(study, store, tmp_path))
    chain = Chain(config, TrialData(store, config), StageCache(tmp_path / "stages"))
    chain.run(epochs.append)
    assert [report["stage"] for report in reports] == [stage for stage in STAGES for _ in range(STAGE["epochs"])]
    for report, epoch in zip(reports, epochs, strict=True):
        name = "val_loss" if report["stage"] == "teacher" else "val_l1"
        assert report[name] == pytest.approx(epoch.metrics[name], rel=1e-4)
    assert reports[-1]["val_uar"] == epochs[-1].metrics["val_uar"]
    assert set(reports[-1]["seconds"]["match"]) == {"all", "images", "teacher_forward"}


def test_what_is_saved_and_what_is_needed_make_up_all_core_seconds():
    from jobs.benchmarks.sweep import Plain

    plain = Plain(
        wall_s=60.0,
        scores={str(trial): (0.5, 1.0) for trial in range(24)},
        all_s={"teacher": 48.0, "match": 24.0, "student": 24.0},
        images_s={"teacher": 0.0, "match": 0.0, "student": 0.0},
        teacher_forward_s={"teacher": 0.0, "match": 12.0, "student": 12.0},
    )
    saved = plain.saved(core_s=120.0)
    assert saved == {"images": 0, "teacher_forward": 24, "repeats": 44 + 9, "start_up": 24}
    needed = 120 - sum(saved.values())
    assert needed == pytest.approx(4 + 3 + 12)  # two teachers, six matches, all students
