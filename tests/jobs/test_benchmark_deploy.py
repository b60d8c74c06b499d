"""The benchmark `deploy`, with tiny networks: that its figures fit and both sides answer the same. No times."""

import onnx
import pytest

from sermodels.config.settings import ChainConfig, FrontEnd, Student, Teacher

FRONTEND = FrontEnd(clip_s=2.0, n_fft=512, n_mels=32, width=32)
CONFIG = ChainConfig(
    patch="32x4",
    dim=16,
    mlp=16,
    head_dim=4,
    teacher=Teacher(depth=2, heads=2, stem=(2, 1)),
    student=Student(depth=1, heads=2),
)
AST = ChainConfig(
    patch="16x16",
    dim=16,
    mlp=32,
    head_dim=8,
    encoding="none",
    teacher=Teacher(network="ast", stem=(), depth=1, heads=2),
)


def test_every_ratio_is_that_of_its_parts(tmp_path):
    from jobs.benchmarks.deploy import measure

    teacher = measure(tmp_path, CONFIG, AST, FRONTEND, rounds=1)  # raises if an answer differs
    ast, alone, whole = teacher.further
    parts = {**teacher.parts, **ast.parts, **alone.parts, **whole.parts}
    assert all(value > 0 for value in parts.values())
    assert teacher.value == pytest.approx(parts["teacher_torch_ms"] / parts["student_torch_ms"])
    assert ast.value == pytest.approx(parts["ast_torch_ms"] / parts["student_torch_ms"])
    assert alone.value == pytest.approx(parts["student_torch_ms"] / parts["student_onnxruntime_ms"])
    assert whole.value == pytest.approx(
        parts["student_with_frontend_torch_ms"] / parts["student_with_frontend_onnxruntime_ms"]
    )
    for network in ("student", "teacher", "ast"):
        assert parts[f"{network}_torch_clips_a_s"] == pytest.approx(1e3 / parts[f"{network}_torch_ms"])
        assert 4 * parts[f"{network}_parameters"] < 1e6 * parts[f"{network}_onnx_mb"]  # float32
    # Of its last block a student runs less than is counted, an AST all.
    assert parts["student_million_macs"] < parts["student_million_macs_of_all_tokens"]
    assert parts["ast_million_macs"] == parts["ast_million_macs_of_all_tokens"]
    assert [result.required for result in (teacher, *teacher.further)] == ["≥ 5", "≥ 30", "≥ 1", "≥ 1"]


def test_a_graph_that_answers_otherwise_is_not_timed(tmp_path, model, monkeypatch):
    from jobs.benchmarks import deploy

    of_another = onnx.load(model / "model.onnx")
    monkeypatch.setattr(deploy, "export_onnx", lambda *_: of_another)
    with pytest.raises(ArithmeticError, match=r"probabilities differ by .*: the two sides do not answer the same"):
        deploy.measure(tmp_path, CONFIG, AST, FRONTEND, rounds=1)


@pytest.mark.parametrize("difference", [1e-3, float("nan")])
def test_a_difference_above_what_is_allowed_is_refused(difference):
    from jobs.benchmarks.deploy import _check

    _check("logits", 9e-5, 1e-4)
    with pytest.raises(ArithmeticError, match="the logits differ"):
        _check("logits", difference, 1e-4)


def test_the_first_call_of_a_turn_counts_only_if_it_is_the_only_one(monkeypatch):
    from jobs.benchmarks import deploy

    monkeypatch.setattr(deploy.time, "perf_counter", iter([0.0, 0.07, 1.0, 1.02, 2.0, 2.03]).__next__)
    assert deploy._turn(lambda: None) == pytest.approx([0.02, 0.03])
    monkeypatch.setattr(deploy.time, "perf_counter", iter([0.0, 4.0]).__next__)
    assert deploy._turn(lambda: None) == [4.0]
