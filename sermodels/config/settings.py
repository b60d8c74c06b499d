"""What a trial is: every setting of the front-end, the networks and the three stages.

Frozen keyword-only dataclasses, a unit for every field; the defaults are the paper's. A value out of range
raises ValueError naming the field, the value and what is allowed. `parsing.py` reads them from YAML.

B rows in a batch, H image height (mel bands), W image width (columns of time), D token size.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

StageName = Literal["teacher", "match", "student"]
STAGES: tuple[StageName, ...] = ("teacher", "match", "student")  # in their order
Encoding = Literal["none", "ice", "sinusoidal", "learned"]
Pooling = Literal["token", "mean"]
Protocol = Literal[  # see store/splits.py
    "speaker",
    "utterance",
    "paper",
    "utterance_folds",
    "speaker_folds",
    "loso",
    "sentence_folds",
    "speaker_sentence_folds",
]
Precision = Literal["float32", "float64"]
Architecture = Literal["vit", "ast", "septr"]
AST_OVERLAP = 6  # pixels that neighbouring patches of an AST share (Gong et al. 2021, section 2.1)


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name} = {value!r} is not possible: must be {allowed}")


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """From waveform to log-mel image (paper, section on preprocessing: 16 kHz, 4 s, 128 × 128)."""

    sample_rate_hz: int = 16_000
    clip_s: float = 4.0  # seconds; longer recordings are cut, shorter ones padded with zeros
    n_fft: int = 1024  # samples
    hop_length: int = 64  # samples
    win_length: int = 512  # samples, Hamming
    n_mels: int = 128  # image height
    width: int = 128  # image width: the time axis alone is interpolated to this many columns
    floor_db: float = -80.0  # dB below the clip's maximum that become pixel 0
    trim_db: float | None = None  # cut both ends of a recording where it is so many dB below its loudest part; None: no

    def __post_init__(self) -> None:
        _require(self.sample_rate_hz >= 1000, "sample_rate_hz", self.sample_rate_hz, "at least 1000 Hz")
        _require(0 < self.clip_s < math.inf, "clip_s", self.clip_s, "above 0 seconds")
        _require(self.hop_length >= 1, "hop_length", self.hop_length, "at least 1 sample")
        _require(1 <= self.win_length <= self.n_fft, "win_length", self.win_length, f"1 to n_fft = {self.n_fft}")
        _require(self.n_fft // 2 >= self.n_mels >= 1, "n_mels", self.n_mels, f"1 to n_fft / 2 = {self.n_fft // 2}")
        _require(self.width >= 1, "width", self.width, "at least 1 column")
        _require(-math.inf < self.floor_db < 0, "floor_db", self.floor_db, "below 0 dB")
        _require(self.trim_db is None or 0 < self.trim_db < math.inf, "trim_db", self.trim_db, "above 0 dB, or none")
        _require(self.clip_samples >= self.n_fft, "clip_s", self.clip_s, "at least n_fft samples long")

    @property
    def clip_samples(self) -> int:
        """Length of every clip after cutting or padding, in samples."""
        return round(self.clip_s * self.sample_rate_hz)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges from which the three altered views of a clip are drawn, uniformly."""

    snr_db: tuple[float, float] = (10.0, 30.0)  # noise view: signal-to-noise ratio
    shift_s: tuple[float, float] = (-0.5, 0.5)  # shift view: seconds, later if positive
    speed: tuple[float, float] = (0.9, 1.1)  # speed view: pitch up and duration down by this factor

    def __post_init__(self) -> None:
        for name in ("snr_db", "shift_s", "speed"):
            low, high = getattr(self, name)
            _require(-math.inf < low <= high < math.inf, name, (low, high), "a range (low, high)")
        _require(self.speed[0] >= 0.25 and self.speed[1] <= 4, "speed", self.speed, "within 0.25 to 4")


class Lane(NamedTuple):
    """One seed of one fold: trained apart from all others, whatever is trained beside it."""

    fold: int
    seed: int

    def __str__(self) -> str:
        return f"fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How one stage is trained: Adam, the learning rate halved every `halve_every` epochs."""

    epochs: int = 50  # 0 leaves the network as it is at the start of the stage
    batch: int = 4  # rows a step
    lr: float = 1e-4  # of the first epochs
    halve_every: int = 10  # epochs

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        _require(self.batch >= 1, "batch", self.batch, "at least 1")
        _require(0 < self.lr < 1, "lr", self.lr, "between 0 and 1")
        _require(self.halve_every >= 1, "halve_every", self.halve_every, "at least 1")


@dataclass(frozen=True, kw_only=True)
class Teacher(StageSettings):
    """The first stage: stem, positional encoding and encoder, or a network of others, trained by cross entropy."""

    network: Architecture = "vit"  # the paper's; or one that it is compared with, see peers/
    weights: str = ""  # folder of a DeiT whose parameters an ast starts from (ImageNet); "": fresh ones
    depth: int = 6  # blocks; of septr pairs of them
    heads: int = 5
    stem: tuple[int, ...] = (16, 32, 64, 32, 16, 1)  # output channels of its 3×3 convolutions; () for no stem

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.depth >= 1, "depth", self.depth, "at least 1")
        _require(self.heads >= 1, "heads", self.heads, "at least 1")
        _require(all(c >= 1 for c in self.stem), "stem", self.stem, "channels of at least 1")
        if self.network != "vit":
            _require(not self.stem, "stem", self.stem, f"(): {self.network} has none")
        if self.network != "ast":
            _require(not self.weights, "weights", self.weights, "empty: only an ast starts from others' parameters")


@dataclass(frozen=True, kw_only=True)
class Match(StageSettings):
    """The second stage: the student learns the frozen teacher's features by L1 alone."""


@dataclass(frozen=True, kw_only=True)
class Student(StageSettings):
    """The third stage: the student, without stem or positional encoding, by cross entropy + α · L1."""

    depth: int = 3  # blocks
    heads: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.epochs >= 1, "epochs", self.epochs, "at least 1: the student's last epoch is the score")
        _require(self.depth >= 1, "depth", self.depth, "at least 1")
        _require(self.heads >= 1, "heads", self.heads, "at least 1")


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """One trial: two networks, three stages, and the lanes (folds × seeds) its score is the mean of."""

    patch: str = "128x1"  # height x width of a patch in pixels; of both networks
    dim: int = 256  # token size D; of both networks
    mlp: int = 256  # hidden size of a block's MLP; of both networks
    head_dim: int = 64  # size of one attention head, whatever their number
    pooling: Pooling = "token"  # the feature: the class token, or the mean over tokens
    encoding: Encoding = "ice"  # positional encoding of the teacher; the student has none
    alpha: float = 10.0  # weight of L1 in the student stage
    teacher: Teacher = field(default_factory=Teacher)
    match: Match = field(default_factory=Match)
    student: Student = field(default_factory=Student)
    protocol: Protocol = "speaker"
    split_seed: int = 0  # which speakers or clips are set aside for test, and how folds are dealt
    all_data: bool = False  # train on the validation side, too: the last training of a configuration already chosen
    folds: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)  # of initial parameters and batch order
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        _require(bool(re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.patch)), "patch", self.patch, "like 128x1 or 16x16")
        _require(self.dim >= 1, "dim", self.dim, "at least 1")
        _require(self.mlp >= 1, "mlp", self.mlp, "at least 1")
        _require(self.head_dim >= 1, "head_dim", self.head_dim, "at least 1")
        _require(0 <= self.alpha < math.inf, "alpha", self.alpha, "0 or more")
        _require(self.split_seed >= 0, "split_seed", self.split_seed, "0 or more")
        for name in ("folds", "seeds"):
            values = getattr(self, name)
            distinct = len(set(values)) == len(values) > 0 and min(values) >= 0
            _require(distinct, name, values, "one or more distinct numbers, 0 or more")
        if self.all_data:
            own = self.protocol in ("speaker", "utterance")
            _require(
                own, "protocol", self.protocol, "speaker or utterance with all_data: others have no validation side"
            )
            _require(len(self.folds) == 1, "folds", self.folds, "one with all_data: they would train on the same clips")
        if self.teacher.network != "vit":
            self._require_peer()

    def _require_peer(self) -> None:
        """A setting that a network of others does not have would be in its key, and mean nothing."""
        network, (height, width) = self.teacher.network, self.patch_shape
        _require(self.encoding == "none", "encoding", self.encoding, f"none: {network} brings its own positions")
        _require(self.pooling == "token", "pooling", self.pooling, f"token: {network} has no other")
        if network == "ast":
            size = f"dim / teacher.heads = {self.dim} / {self.teacher.heads}"
            _require(self.teacher.heads * self.head_dim == self.dim, "head_dim", self.head_dim, size)
            overlapping = height == width > AST_OVERLAP
            _require(overlapping, "patch", self.patch, f"a square of more than {AST_OVERLAP} pixels for an ast")

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Height and width of a patch, in pixels."""
        height, width = self.patch.split("x")
        return int(height), int(width)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Each seed of each fold; the first is the one that is exported."""
        return tuple(Lane(fold, seed) for fold in self.folds for seed in self.seeds)

    def settings(self, stage: StageName) -> StageSettings:
        """How a stage is trained."""
        return {"teacher": self.teacher, "match": self.match, "student": self.student}[stage]
