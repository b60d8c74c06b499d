"""One axis of a search space: how a setting may vary, and how YAML says so.

An axis is named after the key of `ChainConfig` that it varies:

    alpha: [1, 10, 100]                                       # choices
    student.depth: {int: [1, 7], step: 2}                     # whole numbers: 1, 3, 5, 7
    student.lr: {log_uniform: [1.0e-5, 1.0e-3]}               # real numbers; or uniform
    teacher: [{depth: 6, heads: 5}, {depth: 12, heads: 12}]   # settings that move together
    match.lr: {choice: [1.0e-4, 3.0e-4], when: {patch: [128x1]}}

The keys of settings that move together are taken inside the section that the axis is named after; under any other
name they are full keys (`size: [{dim: 64, teacher.depth: 1}, …]`). An axis with `when` is searched only while
the axes named there, which stand above it, have one of the values listed; otherwise the preset's own value holds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sermodels.config.parsing import flatten, merged, parse, to_plain, unknown
from sermodels.config.settings import ChainConfig
from sermodels.errors import UserError

KINDS = ("choice", "int", "uniform", "log_uniform")
NOT_SEARCHED = ("protocol", "split_seed", "folds", "seeds", "precision")  # scores compare only where these agree


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing that varies: Optuna's distribution, what its choices stand for, and when it is active."""

    name: str
    distribution: BaseDistribution
    choices: Mapping[Any, Mapping[str, Any]] = field(default_factory=dict)  # label → params; empty for a range
    when: Mapping[str, Collection[Any]] = field(default_factory=dict)  # axis above → values that activate this one

    def varied(self) -> set[str]:
        """The keys of ChainConfig that this axis sets, whatever its value."""
        return {key for params in self.choices.values() for key in params} or {self.name}

    def active(self, point: Mapping[str, Any]) -> bool:
        """Whether the axis is searched, given the values of the axes above it."""
        return all(axis in point and point[axis] in values for axis, values in self.when.items())

    def params(self, value: Any) -> Mapping[str, Any]:
        """What a value of this axis stands for: keys of ChainConfig → values."""
        return self.choices[value] if self.choices else {self.name: value}

    def values(self) -> Sequence[Any] | None:
        """Return all values in order; None for a range of real numbers."""
        if isinstance(d := self.distribution, IntDistribution):
            return range(d.low, d.high + 1, d.step)
        return list(self.choices) or None

    def listed(self) -> Sequence[Any]:
        """Return all values in order.

        Raises:
            ValueError: the axis is a range of real numbers.
        """
        if (values := self.values()) is None:
            raise ValueError(f"{self.name} is a range of real numbers: its values cannot be listed")
        return values

    def ends(self) -> tuple[Any, Any]:
        """Return the first and the last value, or the bounds of a range."""
        if isinstance(d := self.distribution, FloatDistribution):
            return d.low, d.high
        values = self.listed()
        return values[0], values[-1]

    def suggest(self, trial: optuna.Trial) -> Any:
        """Ask Optuna for a value."""
        match self.distribution:
            case CategoricalDistribution() as d:
                return trial.suggest_categorical(self.name, d.choices)
            case IntDistribution() as d:
                return trial.suggest_int(self.name, d.low, d.high, step=d.step)
            case FloatDistribution() as d:
                return trial.suggest_float(self.name, d.low, d.high, log=d.log)


def parse_axis(name: str, spec: Any, above: Mapping[str, Axis], where: str) -> Axis:
    """Read one axis of a preset.

    Args:
        name: a key of ChainConfig, or any label for settings that move together.
        spec: one of the forms of this module's docstring.
        above: the axes already read, for `when`.
        where: what to call the source in an error.

    Raises:
        UserError: the axis is no key of ChainConfig or may not vary, a value is not possible, or `when` names
            what is not there.
    """
    where = f"{where}: space.{name}"
    form = {"choice": spec} if isinstance(spec, list) else spec
    kinds = [kind for kind in KINDS if kind in form] if isinstance(form, Mapping) else []
    if len(kinds) != 1:
        raise UserError(f"{where}: expected a list of choices or exactly one of {', '.join(KINDS)}; found {spec!r}")
    for key in form:
        if key not in (allowed := (*kinds, "when", "step") if kinds == ["int"] else (*kinds, "when")):
            raise UserError(f"{where}: {unknown('key', key, allowed)}")
    when = _parse_when(form.get("when", {}), above, where)
    if kinds == ["choice"]:
        choices = _parse_choices(name, form["choice"], where)
        return Axis(name=name, distribution=CategoricalDistribution(tuple(choices)), choices=choices, when=when)
    return Axis(name=name, distribution=_parse_range(name, kinds[0], form, where), when=when)


def chain_keys() -> list[str]:
    """The dotted keys of ChainConfig, such as `patch` and `teacher.lr`."""
    return list(flatten(to_plain(ChainConfig())))


def _parse_choices(name: str, values: Any, where: str) -> dict[Any, dict[str, Any]]:
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: expected a list of one or more choices; found {values!r}")
    choices: dict[Any, dict[str, Any]] = {}
    for value in values:
        label, params = _parse_choice(name, value, where)
        if label in choices:
            raise UserError(f"{where}: {label} is listed twice: leave one out")
        choices[label] = params
    return choices


def _parse_choice(name: str, value: Any, where: str) -> tuple[Any, dict[str, Any]]:
    """A choice → its label for Optuna, a scalar, and what it stands for."""
    if isinstance(value, Mapping):
        prefix = f"{name}." if any(key.startswith(f"{name}.") for key in chain_keys()) else ""
        params = _canonical({f"{prefix}{key}": v for key, v in flatten(value).items()}, where)
        return " ".join(f"{key.removeprefix(prefix)}={_text(v)}" for key, v in params.items()), params
    params = _canonical({name: value}, where)
    return _text(params[name]) if isinstance(value, list) else params[name], params


def _text(value: Any) -> str:
    return "-".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _canonical(params: dict[str, Any], where: str) -> dict[str, Any]:
    """The values as ChainConfig has them: `1e-4`, which YAML takes for text, and 1 for a float become floats."""
    for key in params:
        if key in NOT_SEARCHED:
            raise UserError(f"{where}: {key} is the same for all trials: set chain.{key} instead")
        if key not in (names := chain_keys()):
            raise UserError(f"{where}: {unknown('key', key, names)}")
    valid = flatten(to_plain(parse(ChainConfig, merged({}, params), where)))
    return {key: valid[key] for key in params}


def _parse_range(name: str, kind: str, form: Mapping[str, Any], where: str) -> BaseDistribution:
    bounds = form[kind]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise UserError(f"{where}: {kind} expects [low, high]; found {bounds!r}")
    low, high = (_canonical({name: bound}, where)[name] for bound in bounds)
    if not isinstance(low, int | float):
        raise UserError(f"{where}: {name} is not a number: give a list of choices instead of {kind}")
    if low > high or (kind == "log_uniform" and low <= 0):
        raise UserError(f"{where}: {kind}: {bounds} is not possible: must be low ≤ high, above 0 for log_uniform")
    if kind == "int":
        return _whole_numbers(low, high, form.get("step", 1), where)
    if isinstance(low, int):
        raise UserError(f"{where}: {name} is a whole number: use int instead of {kind}")
    return FloatDistribution(low, high, log=kind == "log_uniform")


def _whole_numbers(low: float, high: float, step: Any, where: str) -> IntDistribution:
    if low != int(low) or high != int(high) or not isinstance(step, int) or step < 1:
        raise UserError(
            f"{where}: int expects whole numbers and a step of 1 or more; found {low}, {high}, step {step!r}"
        )
    low, high = int(low), int(high)
    return IntDistribution(low, high - (high - low) % step, step=step)


def _parse_when(spec: Any, above: Mapping[str, Axis], where: str) -> dict[str, list[Any]]:
    if not isinstance(spec, Mapping) or not all(isinstance(values, list) for values in spec.values()):
        raise UserError(f"{where}: when expects axis: [values]; found {spec!r}")
    when = {}
    for name, values in spec.items():
        if name not in above:
            raise UserError(
                f"{where}: when: {name!r} is no axis that stands above; these do: {', '.join(above) or 'none'}"
            )
        when[name] = [_known_value(above[name], value, f"{where}: when") for value in values]
    return when


def _known_value(axis: Axis, value: Any, where: str) -> Any:
    values = axis.values()
    if values is None:
        raise UserError(f"{where}: {axis.name} is a range of real numbers: conditions need choices or int")
    if value not in values and axis.choices:
        value = _parse_choice(axis.name, value, where)[0]
    if value not in values:
        raise UserError(f"{where}: {value!r} is not a value of {axis.name}: {', '.join(map(str, values))}")
    return value
