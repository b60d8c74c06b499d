"""Every setting of a chain changes the keys of the stages it bears on, and of no other."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sermodels.config.parsing import flatten, merged, parse, to_plain
from sermodels.config.settings import STAGES, ChainConfig, Lane, Student
from sermodels.errors import UserError
from sermodels.training.stage import STAGE_VERSION, first_stage, lane_stages, stages_of

NONE = ()
TEACHER, MATCH, STUDENT = STAGES, STAGES[1:], STAGES[2:]
DECIDED = {  # field → another value, and the stages whose keys it changes
    "patch": ("16x16", TEACHER),
    "dim": (128, TEACHER),
    "mlp": (128, TEACHER),
    "head_dim": (32, TEACHER),
    "pooling": ("mean", TEACHER),
    "encoding": ("none", TEACHER),
    "alpha": (1.0, STUDENT),
    "teacher.epochs": (20, MATCH),  # 20 epochs of a teacher are a prefix of 50, but its student learns another
    "teacher.batch": (8, TEACHER),
    "teacher.lr": (2e-4, TEACHER),
    "teacher.halve_every": (5, TEACHER),
    "teacher.depth": (7, TEACHER),
    "teacher.heads": (4, TEACHER),
    "teacher.stem": ([16, 1], TEACHER),
    "match.epochs": (20, STUDENT),
    "match.batch": (8, MATCH),
    "match.lr": (2e-4, MATCH),
    "match.halve_every": (5, MATCH),
    "student.epochs": (20, NONE),
    "student.batch": (8, STUDENT),
    "student.lr": (2e-4, STUDENT),
    "student.halve_every": (5, STUDENT),
    "student.depth": (2, MATCH),
    "student.heads": (4, MATCH),
    "protocol": ("utterance", TEACHER),
    "all_data": (True, TEACHER),
    "split_seed": (1, TEACHER),
    "folds": ([1, 0], NONE),  # a lane is keyed by its own fold and seed, whatever others are trained beside it
    "seeds": ([1, 0], NONE),
    "precision": ("float64", TEACHER),
}
LANE = Lane(0, 0)


# Decided by tests of their own: `teacher.network` needs a configuration that fits it, `teacher.weights` a file.
PEERS = {"teacher.network", "teacher.weights"}
AST = {"patch": "16x16", "dim": 320, "encoding": "none", "teacher": {"network": "ast", "stem": []}}


def keys(config: ChainConfig, fingerprint: str = "f", lane: Lane = LANE) -> dict[str, str]:
    return {name: stage.key for name, stage in lane_stages(config, fingerprint, lane).items()}


def changed(one: dict[str, str], other: dict[str, str]) -> tuple[str, ...]:
    return tuple(stage for stage in STAGES if one[stage] != other[stage])


def test_every_setting_has_been_decided_on():
    assert DECIDED.keys() | PEERS == flatten(to_plain(ChainConfig())).keys()


@pytest.mark.parametrize("name", DECIDED)
def test_a_setting_changes_the_keys_it_bears_on(name):
    value, stages = DECIDED[name]
    other = parse(ChainConfig, merged({}, {name: value}), "test")
    assert other != ChainConfig()
    assert changed(keys(ChainConfig()), keys(other)) == stages


def test_store_fold_and_seed_change_every_key():
    base = keys(ChainConfig())
    assert changed(base, keys(ChainConfig(), fingerprint="g")) == STAGES
    assert changed(base, keys(ChainConfig(), lane=Lane(1, 0))) == STAGES
    assert changed(base, keys(ChainConfig(), lane=Lane(0, 1))) == STAGES
    assert changed(keys(ChainConfig(), lane=Lane(1, 0)), keys(ChainConfig(), lane=Lane(0, 1))) == STAGES


@pytest.mark.parametrize(("stage", "stages"), zip(STAGES, (TEACHER, MATCH, STUDENT), strict=True))
def test_the_version_of_a_stages_arithmetic_is_in_its_key_and_in_those_after_it(monkeypatch, stage, stages):
    before = keys(ChainConfig())
    monkeypatch.setitem(STAGE_VERSION, stage, STAGE_VERSION[stage] + 1)
    assert changed(before, keys(ChainConfig())) == stages


def test_another_network_is_another_teacher():
    same = merged(AST, {"teacher.network": "vit"})
    assert changed(keys(parse(ChainConfig, AST, "test")), keys(parse(ChainConfig, same, "test"))) == STAGES


def test_the_content_of_the_weights_to_start_from_is_in_the_key_and_not_where_they_lie(tmp_path):
    def start(name, content):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
        return keys(parse(ChainConfig, merged(AST, {"teacher.weights": str(tmp_path / name)}), "test"))

    one = start("one", b"1")
    assert one == start("copy", b"1")
    assert changed(one, start("other", b"2")) == STAGES
    assert changed(one, keys(parse(ChainConfig, AST, "test"))) == STAGES
    with pytest.raises(UserError, match=r"teacher.weights: .*nowhere/model.safetensors: cannot be read"):
        keys(parse(ChainConfig, merged(AST, {"teacher.weights": str(tmp_path / "nowhere")}), "test"))


def test_keys_are_those_of_before_there_were_other_networks():
    """A cache of years would be trained again."""
    assert keys(ChainConfig())["student"][:16] == "76e434fcfa0f0f22"


def test_stages_never_share_a_key():
    assert len(set(keys(ChainConfig()).values())) == 3


def test_equal_settings_have_equal_keys_however_they_are_written():
    assert ChainConfig(alpha=10) == ChainConfig(alpha=10.0)
    assert keys(ChainConfig(alpha=10)) == keys(ChainConfig(alpha=10.0))
    assert keys(parse(ChainConfig, {"alpha": 10}, "test")) == keys(ChainConfig())


def test_material_is_plain_and_tells_what_was_hashed():
    material = lane_stages(ChainConfig(split_seed=4), "abc", Lane(2, 7))["teacher"].determined_by
    assert (material["store"], material["seed"]) == ("abc", 7)
    assert material["split"] == {"protocol": "speaker", "seed": 4, "fold": 2}
    assert material["settings"]["stem"] == [16, 32, 64, 32, 16, 1]
    assert "epochs" not in material["settings"]


def test_every_lane_has_its_own_stages_whose_parents_are_those_of_the_same_lane():
    config = ChainConfig(folds=(0, 2), seeds=(5, 7))
    stages = stages_of(config, "f")
    for name in STAGES:
        assert [stage.lane for stage in stages[name]] == list(config.lanes)
        assert len({stage.key for stage in stages[name]}) == 4
    for teacher, match, student in zip(*stages.values(), strict=True):
        assert (teacher.parent, match.parent, student.parent) == (None, teacher, match)
        assert student.teacher is match.teacher is teacher.teacher is teacher


def test_the_first_stage_of_a_setting_is_the_first_whose_key_it_changes():
    for setting, (_, stages) in DECIDED.items():
        assert first_stage(setting) == (stages[0] if stages else "student"), setting


def test_stages_with_one_key_differ_by_their_epochs_alone():
    short, long = (lane_stages(ChainConfig(student=Student(epochs=n)), "f", LANE)["student"] for n in (20, 50))
    assert short.shares_with(long)
    assert short != long
    assert short.id == f"{short.key}-0020"
    assert short == lane_stages(ChainConfig(student=Student(epochs=20)), "f", LANE)["student"]


SETTINGS = st.fixed_dictionaries({}, optional={name: st.just(value) for name, (value, _) in DECIDED.items()})


@given(SETTINGS, SETTINGS)
def test_two_configurations_share_a_stage_exactly_when_all_that_determines_it_is_equal(one, other):
    """Whatever settings are changed together: a stage is shared until the first one that any difference bears on."""
    try:
        a, b = (lane_stages(parse(ChainConfig, merged({}, changes), "test"), "f", LANE) for changes in (one, other))
    except UserError:  # all_data goes with a single fold
        assume(False)
    differing = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    apart = {stage for name in differing for stage in DECIDED[name][1]}
    for name in STAGES:
        assert a[name].shares_with(b[name]) == (name not in apart)
        assert (a[name] == b[name]) == (name not in apart and f"{name}.epochs" not in differing)
