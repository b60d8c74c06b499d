"""Search spaces: every form of an axis, conditions, feasibility, the grid, and errors that name the axis."""

import itertools

import optuna
import pytest

from search.space.space import Space, configure, fits
from sermodels.errors import UserError

IMAGE = (128, 128)


def parse(**axes):
    return Space.parse({name.replace("__", "."): axis for name, axis in axes.items()}, "my.yaml")


def proposals(space, n, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.suggest(study.ask()) for _ in range(n)]


def test_every_form_stays_within_its_values():
    space = parse(
        patch=["128x1", "16x16"],
        student__depth={"int": [1, 6], "step": 2},
        alpha={"uniform": [0, 2]},
        student__lr={"log_uniform": [1e-5, 1e-3]},
        encoding={"choice": ["ice", "none"]},
    )
    drawn = proposals(space, 200)
    assert {p["patch"] for p in drawn} == {"128x1", "16x16"}
    assert {p["encoding"] for p in drawn} == {"ice", "none"}
    assert {p["student.depth"] for p in drawn} == {1, 3, 5}
    assert all(0 <= p["alpha"] <= 2 and 1e-5 <= p["student.lr"] <= 1e-3 for p in drawn)
    below = sum(p["student.lr"] < 1e-4 for p in drawn)
    assert 60 < below < 140, "the middle of a log range is its geometric mean"


def test_patches_that_do_not_divide_the_image_are_never_proposed():
    space = parse(patch=["128x1", "16x16", "24x24", "128x3", "64x2"], alpha=[1, 10])
    feasible = space.feasible(IMAGE)
    assert all(fits(p["patch"], IMAGE) for p in proposals(feasible, 200))
    assert {p["patch"] for p in feasible.grid()} == {"128x1", "16x16", "64x2"}
    assert len(feasible.left_out) == 2
    assert "24x24" in feasible.left_out[0]
    assert feasible.size() == 6


def test_patch_in_settings_that_move_together_is_judged_too():
    space = parse(shape=[{"patch": "16x16", "dim": 64}, {"patch": "24x24", "dim": 128}]).feasible(IMAGE)
    assert list(space.grid()) == [{"patch": "16x16", "dim": 64}]


def test_no_feasible_patch_is_an_error():
    with pytest.raises(UserError, match=r"patch = 24x24.*128×128"):
        parse(patch=["24x24"]).feasible(IMAGE)


def test_height_and_width_are_not_confused():
    assert fits("64x100", (64, 200))
    assert not fits("100x64", (64, 200))


def test_settings_move_together_and_come_back_exactly():
    space = parse(teacher=[{"depth": 6, "heads": 5}, {"depth": 12, "heads": 12, "stem": [8, 1]}])
    drawn = proposals(space, 50)
    assert {tuple(map(str, p.values())) for p in drawn} == {("6", "5"), ("12", "12", "[8, 1]")}
    config = configure({}, {"teacher.depth": 12, "teacher.heads": 12, "teacher.stem": [8, 1]})
    assert (config.teacher.depth, config.teacher.stem) == (12, (8, 1))
    assert list(next(space.points()).values()) == ["depth=6 heads=5"], "Optuna sees a readable scalar"


def test_condition_switches_an_axis_on_and_off():
    space = parse(student__depth=[1, 3], student__heads={"choice": [2, 8], "when": {"student.depth": [3]}})
    drawn = proposals(space, 100)
    assert all(("student.heads" in p) == (p["student.depth"] == 3) for p in drawn)
    assert space.size() == len(list(space.grid())) == 3
    assert configure({"student": {"heads": 4}}, {"student.depth": 1}).student.heads == 4


def test_condition_on_an_inactive_axis_is_not_met():
    space = parse(
        encoding=["ice", "none"],
        pooling={"choice": ["token", "mean"], "when": {"encoding": ["none"]}},
        alpha={"choice": [1, 10], "when": {"pooling": ["mean"]}},
    )
    assert space.size() == len(list(space.grid())) == 4
    assert {"encoding": "ice"} in list(space.grid())


def test_condition_may_name_settings_that_move_together():
    axes = {"teacher": [{"depth": 6}, {"depth": 12}], "alpha": {"choice": [1, 2], "when": {"teacher": [{"depth": 12}]}}}
    assert Space.parse(axes, "x").size() == 3


def test_grid_holds_each_configuration_once_and_teachers_are_neighbours():
    space = parse(alpha=[1, 10, 100], student__depth=[1, 2], patch=["128x1", "16x16"], encoding=["ice", "none"])
    grid = list(space.grid())
    assert len({Space.key(p) for p in grid}) == len(grid) == space.size() == 24
    teachers = [key for key, _ in itertools.groupby((p["patch"], p["encoding"]) for p in grid)]
    assert len(teachers) == len(set(teachers)) == 4


def test_real_numbers_make_a_space_infinite():
    space = parse(alpha={"uniform": [1, 2]}, patch=["16x16", "128x1"])
    assert space.size() is None
    with pytest.raises(ValueError, match="enumerated"):
        space.points()
    corners = space.corners()
    assert {"patch": "16x16", "alpha": 1.0} in corners
    assert {"patch": "128x1", "alpha": 2.0} in corners
    assert len({Space.key(c) for c in corners}) == len(corners) == 4


def test_empty_space_is_one_configuration():
    assert parse().size() == 1
    assert list(parse().grid()) == [{}]


def test_values_are_as_the_configuration_has_them():
    grid = list(parse(teacher__lr=["1e-4"], alpha=[1]).grid())
    assert grid == [{"teacher.lr": 1e-4, "alpha": 1.0}]
    assert isinstance(grid[0]["alpha"], float)


def test_key_ignores_order_alone():
    assert Space.key({"a": 1, "b": [2]}) == Space.key({"b": [2], "a": 1}) != Space.key({"a": 1, "b": [3]})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"alhpa": [1]}, r"space\.alhpa: unknown key 'alhpa'; the nearest valid name is 'alpha'"),
        ({"size": [{"depth": 3}]}, r"unknown key 'depth'; the nearest valid name is 'teacher\.depth'"),
        ({"teacher": [{"dpth": 3}]}, r"unknown key 'teacher\.dpth'; .*'teacher\.depth'"),
        ({"seeds": [[0, 1]]}, r"seeds is the same for all trials: set chain\.seeds"),
        ({"protocol": ["paper"]}, "set chain.protocol"),
        ({"folds": [[0]]}, "set chain.folds"),
        ({"split_seed": [1]}, "set chain.split_seed"),
        ({"precision": ["float64"]}, "set chain.precision"),
        ({"alpha": 3}, "expected a list of choices or exactly one of .*found 3"),
        ({"alpha": {"int": [1, 2], "uniform": [1, 2]}}, "exactly one of"),
        ({"alpha": []}, "one or more choices"),
        ({"alpha": [1, 1.0]}, "listed twice"),
        ({"alpha": [-1]}, r"alpha: Input should be greater than or equal to 0 \(found -1\)"),
        ({"alpha": ["much"]}, "space.alpha: alpha: .*found 'much'"),
        ({"alpha": {"uniform": [1]}}, r"expects \[low, high\]; found \[1\]"),
        ({"alpha": {"uniform": [3, 2]}}, "low ≤ high"),
        ({"alpha": {"log_uniform": [0, 2]}}, "above 0"),
        ({"alpha": {"uniform": [1, 2], "step": 1}}, "unknown key 'step'"),
        ({"alpha": {"int": [1, 5], "stop": 2}}, "unknown key 'stop'; .*'step'"),
        ({"alpha": {"int": [1, 5], "step": 0}}, "step 0"),
        ({"alpha": {"int": [0.5, 5]}}, "whole numbers"),
        ({"student.depth": {"uniform": [1, 2]}}, "whole number: use int"),
        ({"teacher": [{"depth": 3}], "teacher.depth": [1]}, "both vary teacher.depth"),
        ({"alpha": {"choice": [1], "when": {"patch": ["8x8"]}}}, "'patch' is no axis that stands above"),
        (
            {"patch": ["8x8"], "alpha": {"choice": [1], "when": {"patch": ["9x9"]}}},
            "'9x9' is not a value of patch: 8x8",
        ),
        ({"patch": ["8x8"], "alpha": {"choice": [1], "when": {"patch": "8x8"}}}, r"when expects axis: \[values\]"),
        (
            {"student.lr": {"uniform": [1e-4, 1e-3]}, "alpha": {"choice": [1], "when": {"student.lr": [1e-4]}}},
            "student.lr is a range of real numbers",
        ),
    ],
)
def test_errors_name_the_axis(axes, message):
    with pytest.raises(UserError, match=message) as caught:
        Space.parse(axes, "my.yaml")
    assert str(caught.value).startswith("my.yaml: space.")
    assert "\n" not in str(caught.value)
