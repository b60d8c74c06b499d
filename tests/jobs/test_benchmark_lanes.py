"""The benchmark `lanes`, with tiny networks: that its figures fit and all ways train the same. No times."""

from itertools import count

import pytest

from sermodels.networks.factory import build_student


def test_every_ratio_is_that_of_its_parts(tmp_path, tiny_config):
    from jobs.benchmarks.lanes import measure

    student = measure(tmp_path, tiny_config(), lanes=(1, 3), rounds=1)  # raises if the losses differ
    (teacher,) = student.further
    assert (student.required, teacher.required) == ("≥ 20", "≥ 8")
    for result in (student, teacher):
        parts = result.parts
        ways = ["alone", "1 stacked", "3 stacked", "2 processes"]
        assert [name.removesuffix("_steps_a_s") for name in parts if name.endswith("_steps_a_s")] == ways
        assert all(value > 0 for value in parts.values())
        best = max(parts["1 stacked_steps_a_s"], parts["3 stacked_steps_a_s"])
        assert result.value == pytest.approx(best / parts["alone_steps_a_s"])
        gmacs_a_s = parts["alone_steps_a_s"] * parts["million_macs_a_step"] / 1e3
        assert parts["alone_share_of_product"] == pytest.approx(gmacs_a_s / parts["product_gmacs_a_s"])
    assert student.parts["million_macs_a_step"] < teacher.parts["million_macs_a_step"]


def test_lanes_that_train_otherwise_are_not_timed(tmp_path, tiny_config, monkeypatch):
    from jobs.benchmarks import lanes

    seeds = count()
    monkeypatch.setattr(
        lanes, "build_student", lambda config, image, classes, _: build_student(config, image, classes, next(seeds))
    )
    with pytest.raises(ArithmeticError, match=r"student, 1 stacked: loss .* they do not train the same"):
        lanes.measure(tmp_path, tiny_config(), lanes=(1,), rounds=1)
