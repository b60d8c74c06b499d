"""What a sweep is: a preset in YAML, and the `key=value` words that change it."""

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from search.space.axis import chain_keys
from search.space.space import Space, configure
from sermodels.config.constraints import NUMBER, AboveZero, NotNegative, Positive, Whole, checked
from sermodels.config.parsing import flatten, load_yaml, merged, parse, parse_overrides, unknown
from sermodels.config.settings import ChainConfig
from sermodels.errors import UserError


@checked
class Preset:
    """A sweep: what is fixed, what varies, how trials are proposed and stopped, and what each may use.

    `load` is the way to make one: it checks what the fields alone cannot.
    """

    description: str
    chain: dict[str, Any] = field(default_factory=dict)  # ChainConfig's keys, nested; fixed for all trials
    space: dict[str, Any] = field(default_factory=dict)  # key of ChainConfig → axis, in the forms of axis.py
    trials: Positive  # distinct configurations to train
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    startup_trials: Whole = 10  # drawn at random before TPE has something to learn from
    scheduler: Literal["asha", "none"] = "none"
    grace_epochs: Positive = 5  # student epochs before ASHA may stop a trial
    reduction_factor: Annotated[int, Field(ge=2), NUMBER] = 3  # ASHA keeps the best 1 of so many at each rung
    cpus: AboveZero = 1  # cores a trial, and its threads
    gpus: NotNegative = 0  # GPUs a trial: a fraction such as 0.25, or a whole number
    confirm: Whole = 0  # how many of the best are trained again on fresh seeds at the end
    search_seed: Whole = 0  # of the sampler
    hang_s: Positive = 1800  # seconds without a finished step after which a trial's process is ended

    def __post_init__(self) -> None:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus = {self.gpus} is not possible: must be a fraction below 1 or a whole number")

    def parse_space(self, where: str = "preset") -> Space:
        """The axes, parsed; `where` is what an error calls the source."""
        return Space.parse(self.space, where)


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Preset:
    """Read a preset and change it.

    Args:
        name_or_path: a built-in name, or the path of a YAML file (with a slash or a suffix).
        overrides: words `key=value` with dotted keys into the preset, such as `trials=4`,
            `chain.teacher.epochs=2`, `space.alpha=[1, 10]`; null as value takes a fixed setting or an axis out.

    Raises:
        UserError: no such preset; an unknown key, a wrong type or an impossible value anywhere; a key both fixed
            and searched; a grid over real numbers; fewer student epochs than ASHA's grace.
    """
    path, where = _find(name_or_path)
    document = load_yaml(path)
    preset = _checked(document, where)
    if not overrides:
        return preset
    changed = _changed({**document, "chain": preset.chain, "space": preset.space}, parse_overrides(overrides))
    return _checked(changed, "command line")


def builtin() -> list[str]:
    """The names of the presets that come with the project."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    return Path(__file__).parent / "presets"


def _find(name_or_path: str) -> tuple[Path, str]:
    """The file of a preset, and what to call it in an error."""
    if (path := Path(name_or_path)).suffix or len(path.parts) > 1:
        return path, str(path)
    if name_or_path not in builtin():
        raise UserError(f"{unknown('preset', name_or_path, builtin())}; the path of a file ends in .yaml")
    return _folder() / f"{name_or_path}.yaml", f"preset {name_or_path}"


def _changed(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The document with overrides put in; the names of axes hold dots, so `space.` is followed by one name."""
    names = [f.name for f in fields(Preset) if f.name not in ("chain", "space")]
    names += [f"chain.{key}" for key in chain_keys()]
    space: dict[str, Any] = dict(document["space"])
    settings: dict[str, Any] = {}
    for key, value in changes.items():
        if not key.startswith("space."):
            settings |= flatten({key: value})
        elif value is None and key.removeprefix("space.") not in space:
            raise UserError(f"command line: {unknown('axis', key, [f'space.{axis}' for axis in space])}")
        else:
            space[key.removeprefix("space.")] = value
    for key in settings:
        if key not in names:
            raise UserError(f"command line: {unknown('key', key, names + [f'space.{axis}' for axis in chain_keys()])}")
    return merged({**document, "space": space}, settings)


def _checked(document: Mapping[str, Any], where: str) -> Preset:
    """Parse a document and check what its fields alone cannot say."""
    preset = parse(Preset, {**document, **_without_nulls(document)}, where)
    parse(ChainConfig, preset.chain, f"{where}: chain")
    space = preset.parse_space(where)
    _refuse_fixed_and_searched(preset, space, where)
    if preset.sampler == "grid" and space.ranges():
        way_out = "list its values, or use the sampler tpe or random"
        raise UserError(f"{where}: sampler grid: space.{space.ranges()[0]} is a range of real numbers: {way_out}")
    shortest = min(configure(preset.chain, params).student.epochs for params in space.corners())
    if preset.scheduler == "asha" and preset.grace_epochs > shortest:
        way_out = "lower it, or use the scheduler none"
        raise UserError(f"{where}: grace_epochs = {preset.grace_epochs} exceeds student.epochs = {shortest}: {way_out}")
    return preset


def _without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """`chain`, nested, and `space` without the entries that null takes out."""
    clean = {}
    if isinstance(chain := document.get("chain"), Mapping):
        clean["chain"] = merged({}, {key: value for key, value in flatten(chain).items() if value is not None})
    if isinstance(space := document.get("space"), Mapping):
        clean["space"] = {name: axis for name, axis in space.items() if axis is not None}
    return clean


def _refuse_fixed_and_searched(preset: Preset, space: Space, where: str) -> None:
    """A conditional axis may have a fixed value beside it: the one that holds where it is not searched."""
    fixed = flatten(preset.chain)
    for axis in space.axes:
        if not axis.when and (both := axis.varied() & fixed.keys()):
            way_out = f"take one out, by space.{axis.name}=null or chain.{min(both)}=null"
            raise UserError(f"{where}: {min(both)} is both fixed (chain) and searched (space.{axis.name}): {way_out}")
