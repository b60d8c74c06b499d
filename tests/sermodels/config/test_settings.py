"""Settings: the defaults are the paper's, and a value that cannot be is refused where it is written."""

import dataclasses
import math
import pickle
from typing import get_type_hints

import pytest

from sermodels.config.settings import Augmentation, ChainConfig, FrontEnd, Match, StageSettings, Student, Teacher

IMPOSSIBLE = [
    (FrontEnd, "sample_rate_hz", 0),
    (FrontEnd, "clip_s", 0.0),
    (FrontEnd, "clip_s", 0.05),  # shorter than one window of the transform
    (FrontEnd, "hop_length", 0),
    (FrontEnd, "win_length", 2048),
    (FrontEnd, "n_fft", 100),
    (FrontEnd, "n_mels", 0),
    (FrontEnd, "n_mels", 513),
    (FrontEnd, "width", 0),
    (FrontEnd, "floor_db", 0.0),
    (FrontEnd, "trim_db", 0.0),
    (FrontEnd, "trim_db", math.inf),
    (FrontEnd, "trim_db", math.nan),
    (Augmentation, "snr_db", (30.0, 10.0)),
    (Augmentation, "shift_s", (0.5, -0.5)),
    (Augmentation, "speed", (0.0, 1.0)),
    (StageSettings, "epochs", -1),
    (StageSettings, "batch", 0),
    (StageSettings, "lr", 0.0),
    (StageSettings, "lr", 1.0),
    (StageSettings, "halve_every", 0),
    (Teacher, "epochs", -1),
    (Teacher, "depth", 0),
    (Teacher, "heads", 0),
    (Teacher, "stem", (16, 0)),
    (Match, "lr", -1e-4),
    (Student, "epochs", 0),
    (Student, "depth", 0),
    (Student, "heads", 0),
    (ChainConfig, "patch", "128"),
    (ChainConfig, "patch", "0x1"),
    (ChainConfig, "patch", "16x16x1"),
    (ChainConfig, "patch", " 16x16"),
    (ChainConfig, "dim", 0),
    (ChainConfig, "mlp", 0),
    (ChainConfig, "head_dim", 0),
    (ChainConfig, "alpha", -0.1),
    (ChainConfig, "split_seed", -1),
    (ChainConfig, "folds", ()),
    (ChainConfig, "folds", (0, 0)),
    (ChainConfig, "folds", (-1,)),
    (ChainConfig, "seeds", ()),
    (ChainConfig, "seeds", (3, 1, 3)),
]


def flat(value):
    return (value, *value) if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize(("kind", "name", "value"), IMPOSSIBLE)
def test_an_impossible_value_is_refused_by_name(kind, name, value):
    with pytest.raises(ValueError, match=r"Input should be|must be|should have at least 1 item") as caught:
        kind(**{name: value})
    message = str(caught.value)
    assert "\n" not in message
    if name != "n_fft":  # it is its window that then does not fit
        assert message.startswith((f"{name}: ", f"{name}.", f"{name} = "))
        assert any(f"found {part!r}" in message for part in flat(value)) or f"{value!r} is not possible" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [FrontEnd, Augmentation, Teacher, Match, Student, ChainConfig])
def test_no_number_may_be_infinite_or_not_a_number(kind, value):
    tried = 0
    for name, type_ in get_type_hints(kind).items():
        wrong = {float: value, tuple[float, float]: (value, value)}.get(type_)
        if wrong is not None:
            tried += 1
            with pytest.raises(ValueError, match=name):
                kind(**{name: wrong})
    assert tried


def test_all_data_needs_a_validation_side_to_take_and_trains_on_it_once():
    assert ChainConfig(all_data=True, protocol="utterance", folds=(2,)).all_data
    for protocol in ("paper", "loso", "speaker_folds"):
        with pytest.raises(ValueError, match=f"protocol = '{protocol}' is not possible: must be speaker or utterance"):
            ChainConfig(all_data=True, protocol=protocol)
    with pytest.raises(ValueError, match=r"folds = \(0, 1\) is not possible: must be one with all_data"):
        ChainConfig(all_data=True, folds=(0, 1))


def test_settings_are_frozen_and_named():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ChainConfig().alpha = 1.0
    with pytest.raises(ValueError, match="positional"):
        ChainConfig("128x1")


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(Teacher, "depth", True), (Teacher, "lr", False), (ChainConfig, "folds", (True,))]
)
def test_a_truth_value_is_no_number(kind, name, value):
    with pytest.raises(ValueError, match=rf"{name}.*(True|False) is not possible: must be a number"):
        kind(**{name: value})


def test_whole_numbers_become_real_ones_and_lists_become_tuples():
    config = ChainConfig(alpha=3, folds=[1, 0], teacher=Teacher(stem=[2, 1]))
    assert isinstance(config.alpha, float)
    assert (config.folds, config.teacher.stem) == ((1, 0), (2, 1))


def test_settings_are_plain_frozen_dataclasses():
    config = ChainConfig(folds=(2, 0), teacher=Teacher(depth=2))
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(dataclasses.replace(config, alpha=10)) == hash(config)
    assert dataclasses.asdict(config)["teacher"]["depth"] == 2
    with pytest.raises(ValueError, match=r"alpha: Input should be greater than or equal to 0 \(found -1\)"):
        dataclasses.replace(config, alpha=-1)


def test_defaults_are_the_papers():
    config, front = ChainConfig(), FrontEnd()
    assert (front.sample_rate_hz, front.clip_samples) == (16_000, 64_000)
    assert (front.n_fft, front.hop_length, front.win_length, front.n_mels, front.width) == (1024, 64, 512, 128, 128)
    assert config.teacher.stem == (16, 32, 64, 32, 16, 1)
    assert (config.patch_shape, config.dim, config.mlp, config.head_dim) == ((128, 1), 256, 256, 64)
    assert (config.teacher.depth, config.teacher.heads) == (6, 5)
    assert (config.student.depth, config.student.heads) == (3, 5)
    assert (config.alpha, config.encoding, config.pooling) == (10, "ice", "token")
    for stage in (config.teacher, config.match, config.student):
        assert (stage.epochs, stage.batch, stage.lr, stage.halve_every) == (50, 4, 1e-4, 10)


def test_lanes_are_every_seed_of_every_fold_and_the_first_is_the_first_seed_of_the_first_fold():
    config = ChainConfig(folds=(2, 0), seeds=(7, 8, 9))
    assert config.lanes == ((2, 7), (2, 8), (2, 9), (0, 7), (0, 8), (0, 9))
