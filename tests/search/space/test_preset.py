"""Presets: those that come with the project, what overrides do to them, and errors that name the key."""

import pytest
import yaml

from search.space.preset import builtin, load
from search.space.space import Space, configure
from sermodels.config.settings import ChainConfig
from sermodels.errors import UserError

IMAGE = (128, 128)  # of a store built with the defaults


def stages(config):
    return config.teacher, config.match, config.student


def test_presets_that_come_with_the_project():
    assert builtin() == ["cpu", "demo", "full", "paper"]


@pytest.mark.parametrize("name", builtin())
def test_preset_describes_trials_that_can_exist(name):
    preset = load(name)
    space = preset.parse_space().feasible(IMAGE)
    assert space.left_out == ()
    for params in space.corners():
        config = configure(preset.chain, params)
        assert isinstance(config, ChainConfig)
        assert config.lanes
    assert space.size() is None or space.size() >= preset.trials


@pytest.mark.parametrize(("name", "limit"), [("demo", 7), ("cpu", 18)])
def test_small_presets_keep_to_their_budget(name, limit):
    preset = load(name)
    space = preset.parse_space()
    for params in space.grid():
        config = configure(preset.chain, params)
        assert len(config.lanes) * max(stage.epochs for stage in stages(config)) <= limit
        assert max(config.dim, config.mlp) <= 128
        assert config.teacher.depth <= 2
        assert sum(config.teacher.stem) <= 33
    teachers = {(config.patch, config.encoding) for config in (configure(preset.chain, p) for p in space.grid())}
    assert len(teachers) <= 4
    assert preset.startup_trials == 4
    assert (preset.gpus, preset.confirm) == (0, 0)


@pytest.mark.parametrize("name", ["cpu", "full"])
def test_axes_that_touch_the_teacher_are_choices(name):
    for axis in load(name).parse_space().axes:
        if axis.values() is None:
            assert all(key == "alpha" or key.startswith(("student.", "match.")) for key in axis.varied())


def test_cpu_offers_what_a_comparison_needs():
    space = load("cpu").parse_space()
    values = {axis.name: axis.values() for axis in space.axes}
    assert len(values["patch"]) == len(values["encoding"]) == 2
    assert len(values["alpha"]) >= 2
    assert load("cpu").trials >= 8


def test_full_has_eight_lanes_and_confirms_three():
    preset = load("full")
    assert len(configure(preset.chain, preset.parse_space().corners()[0]).lanes) == 8
    assert preset.confirm == 3
    assert preset.scheduler == "asha"


def test_paper_is_the_paper():
    preset = load("paper")
    grid = [configure(preset.chain, params) for params in preset.parse_space().grid()]
    assert preset.sampler == "grid"
    assert len(grid) == preset.trials == 8
    assert {(c.teacher.depth, c.teacher.heads) for c in grid} == {(6, 5), (12, 12)}
    defaults = ChainConfig()
    for config in grid:
        assert config.protocol == "paper"
        assert (config.student, config.match, config.alpha) == (defaults.student, defaults.match, defaults.alpha)
        assert config.teacher.epochs == 50


def test_overrides_reach_every_level():
    words = [
        "trials=3",
        "chain.teacher.epochs=2",
        "space.alpha=[1, 5]",
        "space.encoding=null",
        "chain.encoding=learned",
    ]
    preset = load("demo", words)
    grid = [configure(preset.chain, params) for params in preset.parse_space().grid()]
    assert preset.trials == 3
    assert {c.teacher.epochs for c in grid} == {2}
    assert {c.teacher.stem for c in grid} == {(4, 4, 1)}, "its neighbours stay"
    assert {c.alpha for c in grid} == {1, 5}
    assert {c.encoding for c in grid} == {"learned"}


def test_axis_with_a_dotted_name_is_replaced_and_added():
    preset = load(
        "cpu", ["space.student.depth=[2]", "chain.student.lr=null", "space.student.lr={log_uniform: [1e-4, 1e-3]}"]
    )
    axes = {axis.name: axis for axis in preset.parse_space().axes}
    assert axes["student.depth"].values() == [2]
    assert axes["student.lr"].values() is None


def test_null_frees_a_fixed_setting_for_search():
    preset = load("demo", ["chain.student.depth=null", "space.student.depth=[1, 2]"])
    assert {p["student.depth"] for p in preset.parse_space().grid()} == {1, 2}


def test_conditional_axis_may_have_a_fixed_value_beside_it():
    words = ["space.student.depth={choice: [2, 3], when: {patch: [16x16]}}"]
    preset = load("demo", words)
    depths = {(c.patch, c.student.depth) for c in (configure(preset.chain, p) for p in preset.parse_space().grid())}
    assert depths == {("128x1", 1), ("16x16", 2), ("16x16", 3)}


def test_preset_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("description: mine\ntrials: 2\nspace: {alpha: [1, 2]}\nchain: {student.depth: 2}\n")
    preset = load(str(path))
    assert preset.parse_space() == Space.parse({"alpha": [1, 2]}, "x")
    assert preset.chain == {"student": {"depth": 2}}
    assert configure(preset.chain, {}).student.depth == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("teacher.epochs=2", r"unknown key 'teacher\.epochs'; the nearest valid name is 'chain\.teacher\.epochs'"),
        ("trails=2", "unknown key 'trails'; the nearest valid name is 'trials'"),
        ("chain.teacher.epoch=2", r"unknown key 'chain\.teacher\.epoch'; .*'chain\.teacher\.epochs'"),
        ("space.alhpa=[1]", "unknown key 'alhpa'; .*'alpha'"),
        ("space.alhpa=null", r"unknown axis 'space\.alhpa'; .*'space\.alpha'"),
        ("trials=many", "trials: .*found 'many'"),
        ("trials=0", "trials: .*found 0"),
        ("trials=true", "trials: True is not possible: must be a number"),
        ("trials", "not of the form key=value"),
        ("sampler=tpee", "sampler: .*found 'tpee'"),
        ("cpus=0", "cpus: .*found 0"),
        ("gpus=-1", "gpus: .*found -1"),
        ("gpus=1.5", "gpus = 1.5 is not possible"),
        ("reduction_factor=1", "reduction_factor: .*found 1"),
        ("chain.teacher.epochs=-1", r"chain: teacher\.epochs: Input should be greater than or equal to 0 \(found -1\)"),
        ("chain.protocol=papr", "chain: protocol: .*found 'papr'"),
        ("chain.alpha=3", r"alpha is both fixed \(chain\) and searched .*space\.alpha=null or chain\.alpha=null"),
        ("space.teacher.lr=[1e-4]", r"teacher\.lr is both fixed"),
        ("space.seeds=[[1]]", "seeds is the same for all trials"),
    ],
)
def test_errors_in_overrides_name_the_key(word, message):
    with pytest.raises(UserError, match=message) as caught:
        load("demo", [word])
    assert str(caught.value).startswith("command line: ")
    assert "\n" not in str(caught.value)


def test_grace_longer_than_the_student_stage():
    with pytest.raises(UserError, match=r"grace_epochs = 8 exceeds student\.epochs = 7"):
        load("demo", ["scheduler=asha", "grace_epochs=8"])


def test_grid_over_real_numbers():
    with pytest.raises(UserError, match=r"grid: space\.alpha is a range of real numbers"):
        load("demo", ["sampler=grid", "space.alpha={uniform: [1, 2]}"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trails": 3}, "unknown key 'trails'; the nearest valid name is 'trials'"),
        ({"chain": {"teacher": {"epoch": 3}}}, "chain: unknown key 'teacher.epoch'; .*'teacher.epochs'"),
        ({"chain": [1]}, "chain: .*dictionary"),
        ({"space": [1]}, "space: .*dictionary"),
        ({"space": {"alhpa": [1]}}, "space.alhpa: unknown key"),
        ({"trials": None}, "trials: "),
    ],
)
def test_errors_in_a_file_name_it(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"description": "mine", "trials": 2} | change))
    with pytest.raises(UserError, match=message) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_unknown_preset():
    with pytest.raises(UserError, match="unknown preset 'dmo'; the nearest valid name is 'demo'"):
        load("dmo")
    with pytest.raises(UserError, match=r"none/such\.yaml: cannot be read"):
        load("none/such.yaml")
