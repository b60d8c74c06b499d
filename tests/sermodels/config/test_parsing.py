"""Settings from files and command lines: what is wrong is named with its source, key and nearest valid name."""

from dataclasses import dataclass, field, replace

import pytest

from sermodels.config.constraints import checked
from sermodels.config.parsing import dump_yaml, flatten, load_yaml, merged, parse, parse_overrides, to_plain
from sermodels.config.settings import Augmentation, ChainConfig, FrontEnd, Teacher
from sermodels.errors import UserError

UNUSUAL = ChainConfig(
    patch="16x16",
    alpha=1e-7,
    encoding="none",
    teacher=Teacher(stem=(), lr=3e-5, epochs=0),
    folds=(3, 1),
    seeds=(5,),
    precision="float64",
)


def from_text(tmp_path, text):
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return load_yaml(path)


def one_line(caught) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("config", [ChainConfig(), UNUSUAL, FrontEnd(floor_db=-60.0), Augmentation(speed=(1.0, 1.0))])
def test_settings_survive_yaml(tmp_path, config):
    assert parse(type(config), from_text(tmp_path, dump_yaml(config)), "file") == config


def test_settings_survive_flattening():
    flat = flatten(to_plain(UNUSUAL))
    assert flat["teacher.epochs"] == 0
    assert parse(ChainConfig, merged({}, flat), "flat") == UNUSUAL


def test_what_is_not_given_keeps_its_default():
    given = parse(ChainConfig, {"teacher": {"depth": 2}}, "file")
    assert given == replace(ChainConfig(), teacher=Teacher(depth=2))


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("alhpa", "alpha"),
        ("teacher.epoch", "teacher.epochs"),
        ("student.deph", "student.depth"),
        ("lr", "teacher.lr"),
        ("teachr", "teacher.lr"),
        ("seed", "seeds"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_valid_name(key, nearest):
    with pytest.raises(UserError) as caught:
        parse(ChainConfig, merged({}, {key: 1}), "trial.yaml")
    assert one_line(caught) == f"trial.yaml: unknown key '{key}'; the nearest valid name is '{nearest}'"


def test_a_key_like_no_other_is_answered_with_all_valid_names():
    with pytest.raises(UserError, match=r"unknown key 'zzzzzz'; valid names are patch, dim, .*student\.heads"):
        parse(ChainConfig, {"zzzzzz": 1}, "trial.yaml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("teacher.depth", "deep", "integer"),
        ("teacher.depth", 2.5, "integer"),
        ("teacher.depth", 0, "teacher.depth: Input should be greater than or equal to 1 (found 0)"),
        ("teacher.stem", [4, 0], "teacher.stem.1: Input should be greater than or equal to 1 (found 0)"),
        ("student.epochs", 0, "student.epochs: Input should be greater than or equal to 1 (found 0)"),
        ("match.lr", 1.0, "match.lr: Input should be less than 1 (found 1.0)"),
        ("folds", [], "folds: Tuple should have at least 1 item"),
        ("seeds", [3, 3], "seeds: (3, 3) is not possible: must be distinct numbers"),
        ("teacher.lr", None, "number"),
        ("teacher", 3, "Teacher"),
        ("encoding", "rope", "'none', 'ice', 'sinusoidal' or 'learned'"),
        ("protocol", "by speaker", "'speaker', 'utterance', 'paper', 'utterance_folds'"),
        ("folds", 2, "tuple"),
        ("folds", [0, "one"], "integer"),
        ("teacher.stem", "16", "tuple"),
        ("patch", 16, "string"),
        ("patch", "16×16", "like 128x1 or 16x16"),
        ("alpha", float("nan"), "alpha"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_key(key, value, expected):
    with pytest.raises(UserError) as caught:
        parse(ChainConfig, merged({}, {key: value}), "trial.yaml")
    message = one_line(caught)
    assert message.startswith("trial.yaml: ")
    assert key.split(".")[-1] in message
    assert expected in message


@pytest.mark.parametrize(("key", "value"), [("teacher.depth", True), ("alpha", False), ("folds", [True])])
def test_a_truth_value_is_no_number(key, value):
    with pytest.raises(UserError, match=rf"trial\.yaml: {key}.*(True|False) is not possible: must be a number"):
        parse(ChainConfig, merged({}, {key: value}), "trial.yaml")


def test_settings_that_exclude_each_other_are_named_with_their_section():
    with pytest.raises(UserError) as caught:
        parse(ChainConfig, {"teacher": {"network": "septr", "stem": [4, 1]}}, "trial.yaml")
    assert one_line(caught) == "trial.yaml: teacher: stem = (4, 1) is not possible: must be (): septr has none"


def test_text_that_is_a_number_is_one():
    config = parse(ChainConfig, {"dim": "64", "alpha": "1e-4", "teacher": {"depth": 2.0}}, "trial.yaml")
    assert (config.dim, config.alpha, config.teacher.depth) == (64, 1e-4, 2)


@dataclass
class Inner:
    known: int = 0


@checked
class Outer:
    inner: Inner = field(default_factory=Inner)


def test_an_unknown_key_of_a_plain_dataclass_inside_is_refused_too():
    assert parse(Outer, {"inner": {"known": 1}}, "file").inner.known == 1
    with pytest.raises(UserError, match=r"file: unknown key 'inner\.knwon'; the nearest valid name is 'inner\.known'"):
        parse(Outer, {"inner": {"knwon": 1}}, "file")


def test_a_key_must_be_a_name(tmp_path):
    with pytest.raises(UserError, match="file: "):
        parse(ChainConfig, from_text(tmp_path, "1: 2\n"), "file")


def test_overrides_are_yaml_values_and_the_last_of_a_key_counts():
    words = ["teacher.lr=3e-4", "folds=[0, 1]", "encoding=none", "patch=16x16", "alpha=1", "alpha=0.5"]
    config = parse(ChainConfig, merged(to_plain(ChainConfig()), parse_overrides(words)), "command line")
    assert (config.teacher.lr, config.folds, config.encoding) == (3e-4, (0, 1), "none")
    assert (config.patch_shape, config.alpha) == ((16, 16), 0.5)
    assert config.match == ChainConfig().match


def test_an_override_may_hold_an_equals_sign():
    assert parse_overrides(["regex=(?P<who>a)=b"]) == {"regex": "(?P<who>a)=b"}


@pytest.mark.parametrize(
    "word",
    ["alpha", "=1", "", "alpha={", "alpha=[1", "alpha=!!python/name:os.system", "alpha=2024-13-45", "alpha=0b_"],
)
def test_an_override_that_is_none_is_refused(word):
    with pytest.raises(UserError) as caught:
        parse_overrides(["dim=8", word])
    assert one_line(caught).startswith("command line: ")


def test_merging_copies_and_leaves_both_sides_alone():
    base = {"teacher": {"lr": 1, "depth": 2}, "alpha": 3}
    changes = {"teacher.lr": 4, "match": {"lr": 5}, "match.batch": 6}
    assert merged(base, changes) == {
        "teacher": {"lr": 4, "depth": 2},
        "alpha": 3,
        "match": {"lr": 5, "batch": 6},
    }
    assert base == {"teacher": {"lr": 1, "depth": 2}, "alpha": 3}
    assert changes["match"] == {"lr": 5}


def test_yaml_executes_nothing(tmp_path):
    mark = tmp_path / "executed"
    with pytest.raises(UserError, match="not valid YAML"):
        from_text(tmp_path, f"alpha: !!python/object/apply:os.system ['touch {mark}']\n")
    assert not mark.exists()


def test_an_empty_file_means_no_settings(tmp_path):
    assert from_text(tmp_path, "# nothing yet\n") == {}


def test_wrong_yaml_is_named_with_its_line(tmp_path):
    with pytest.raises(UserError, match=r"settings\.yaml: not valid YAML: .*line 2") as caught:
        from_text(tmp_path, "alpha: 1\nteacher: [1, 2\n")
    one_line(caught)


@pytest.mark.parametrize("text", ["a: 2024-13-45", "a: 0b_", "a: !!int x"])
def test_a_value_that_yaml_cannot_convert_is_an_error_of_the_user(tmp_path, text):
    with pytest.raises(UserError, match=r"settings\.yaml: not valid YAML"):
        from_text(tmp_path, text)


def test_a_file_that_cannot_be_read_or_is_no_mapping_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_yaml(tmp_path)
    with pytest.raises(UserError, match="expected a mapping of settings, found a list"):
        from_text(tmp_path, "- alpha\n")
    (tmp_path / "bytes.yaml").write_bytes(b"alpha: \xff\xfe")
    with pytest.raises(UserError, match=r"bytes\.yaml: not valid YAML"):
        load_yaml(tmp_path / "bytes.yaml")
