"""What a trial is: every setting of the front-end, the networks and the three stages.

Frozen keyword-only dataclasses, a unit for every field; the defaults are the paper's. A value out of range raises
ValueError naming the field, the value and what is allowed (`constraints.py`). `parsing.py` reads them from YAML.

B rows in a batch, H image height (mel bands), W image width (columns of time), D token size.
"""

import re
from dataclasses import field
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from sermodels.config.constraints import NUMBER, AboveZero, Finite, NotNegative, Positive, Whole, checked

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


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"{ends} is not possible: must be a range (low, high)")
    return ends


def _distinct(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{numbers} is not possible: must be distinct numbers")
    return numbers


def _tiling(patch: str) -> str:
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", patch):
        raise ValueError(f"{patch!r} is not possible: must be like 128x1 or 16x16")
    return patch


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Check what relates several fields; the range of one stands in its type."""
    if not condition:
        raise ValueError(f"{name} = {value!r} is not possible: must be {allowed}")


Rate = Annotated[int, Field(ge=1000), NUMBER]
BelowZero = Annotated[float, Field(lt=0, allow_inf_nan=False), NUMBER]
Factor = Annotated[float, Field(ge=0.25, le=4), NUMBER]
Range = Annotated[tuple[Finite, Finite], AfterValidator(_ascending)]
FactorRange = Annotated[tuple[Factor, Factor], AfterValidator(_ascending)]
LearningRate = Annotated[float, Field(gt=0, lt=1), NUMBER]
Numbers = Annotated[tuple[Whole, ...], Field(min_length=1), AfterValidator(_distinct)]
Patch = Annotated[str, AfterValidator(_tiling)]


@checked
class FrontEnd:
    """From waveform to log-mel image (paper, section on preprocessing: 16 kHz, 4 s, 128 × 128)."""

    sample_rate_hz: Rate = 16_000
    clip_s: AboveZero = 4.0  # seconds; longer recordings are cut, shorter ones padded with zeros
    n_fft: Positive = 1024  # samples
    hop_length: Positive = 64  # samples
    win_length: Positive = 512  # samples, Hamming
    n_mels: Positive = 128  # image height
    width: Positive = 128  # image width: the time axis alone is interpolated to this many columns
    floor_db: BelowZero = -80.0  # dB below the clip's maximum that become pixel 0
    trim_db: AboveZero | None = None  # cut both ends of a recording where it is so many dB below its loudest part

    def __post_init__(self) -> None:
        _require(self.win_length <= self.n_fft, "win_length", self.win_length, f"1 to n_fft = {self.n_fft}")
        _require(self.n_mels <= self.n_fft // 2, "n_mels", self.n_mels, f"1 to n_fft / 2 = {self.n_fft // 2}")
        _require(self.clip_samples >= self.n_fft, "clip_s", self.clip_s, "at least n_fft samples long")

    @property
    def clip_samples(self) -> int:
        """Length of every clip after cutting or padding, in samples."""
        return round(self.clip_s * self.sample_rate_hz)


@checked
class Augmentation:
    """Ranges from which the three altered views of a clip are drawn, uniformly."""

    snr_db: Range = (10.0, 30.0)  # noise view: signal-to-noise ratio
    shift_s: Range = (-0.5, 0.5)  # shift view: seconds, later if positive
    speed: FactorRange = (0.9, 1.1)  # speed view: pitch up and duration down by this factor


class Lane(NamedTuple):
    """One seed of one fold: trained apart from all others, whatever is trained beside it."""

    fold: int
    seed: int

    def __str__(self) -> str:
        return f"fold {self.fold}, seed {self.seed}"


@checked
class StageSettings:
    """How one stage is trained: Adam, the learning rate halved every `halve_every` epochs."""

    epochs: Whole = 50  # 0 leaves the network as it is at the start of the stage
    batch: Positive = 4  # rows a step
    lr: LearningRate = 1e-4  # of the first epochs
    halve_every: Positive = 10  # epochs


@checked
class Teacher(StageSettings):
    """The first stage: stem, positional encoding and encoder, or a network of others, trained by cross entropy."""

    network: Architecture = "vit"  # the paper's; or one that it is compared with, see peers/
    weights: str = ""  # folder of a DeiT whose parameters an ast starts from (ImageNet); "": fresh ones
    depth: Positive = 6  # blocks; of septr pairs of them
    heads: Positive = 5
    stem: tuple[Positive, ...] = (16, 32, 64, 32, 16, 1)  # output channels of its 3×3 convolutions; () for no stem

    def __post_init__(self) -> None:
        if self.network != "vit":
            _require(not self.stem, "stem", self.stem, f"(): {self.network} has none")
        if self.network != "ast":
            _require(not self.weights, "weights", self.weights, "empty: only an ast starts from others' parameters")


@checked
class Match(StageSettings):
    """The second stage: the student learns the frozen teacher's features by L1 alone."""


@checked
class Student(StageSettings):
    """The third stage: the student, without stem or positional encoding, by cross entropy + α · L1."""

    epochs: Positive = 50  # the last of them is the score
    depth: Positive = 3  # blocks
    heads: Positive = 5


@checked
class ChainConfig:
    """One trial: two networks, three stages, and the lanes (folds × seeds) its score is the mean of."""

    patch: Patch = "128x1"  # height x width of a patch in pixels; of both networks
    dim: Positive = 256  # token size D; of both networks
    mlp: Positive = 256  # hidden size of a block's MLP; of both networks
    head_dim: Positive = 64  # size of one attention head, whatever their number
    pooling: Pooling = "token"  # the feature: the class token, or the mean over tokens
    encoding: Encoding = "ice"  # positional encoding of the teacher; the student has none
    alpha: NotNegative = 10.0  # weight of L1 in the student stage
    teacher: Teacher = field(default_factory=Teacher)
    match: Match = field(default_factory=Match)
    student: Student = field(default_factory=Student)
    protocol: Protocol = "speaker"
    split_seed: Whole = 0  # which speakers or clips are set aside for test, and how folds are dealt
    all_data: bool = False  # train on the validation side, too: the last training of a configuration already chosen
    folds: Numbers = (0,)
    seeds: Numbers = (0,)  # of initial parameters and batch order
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.all_data:
            own = self.protocol in ("speaker", "utterance")
            _require(
                own, "protocol", self.protocol, "speaker or utterance with all_data: others have no validation side"
            )
            _require(len(self.folds) == 1, "folds", self.folds, "one with all_data: they would train on the same clips")
        if self.teacher.network != "vit":
            self._check_peer()

    def _check_peer(self) -> None:
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
