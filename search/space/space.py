"""A search space: the axes of a preset → Optuna's suggestions, a grid, and the settings of a trial.

A *point* maps the names of the active axes to Optuna's values: scalars, since choices that are lists or settings
that move together go by a readable label ("depth=6 heads=5"). *Params* are what a point stands for: dotted keys
of ChainConfig → values, as a trial gets them.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution

from search.space.axis import Axis, parse_axis
from sermodels.config.parsing import merged, parse
from sermodels.config.settings import STAGES, ChainConfig
from sermodels.errors import UserError
from sermodels.training.stage import first_stage


def configure(chain: Mapping[str, Any], params: Mapping[str, Any]) -> ChainConfig:
    """The configuration of a trial: `params` over the preset's `chain` over ChainConfig's defaults.

    Args:
        chain: nested settings fixed for all trials.
        params: dotted keys → values, as a Space proposes them.

    Raises:
        UserError: a key or value that ChainConfig does not know.
    """
    return parse(ChainConfig, merged(chain, params), "configuration")


def fits(patch: str, image: tuple[int, int]) -> bool:
    """Whether patches such as "16x16" (height x width, pixels) tile an image of (H, W) pixels."""
    return not any(size % int(side) for size, side in zip(image, patch.split("x"), strict=True))


@dataclass(frozen=True, kw_only=True)
class Space:
    """The axes of a sweep, those that touch the teacher first: neighbours in the grid share a teacher."""

    axes: tuple[Axis, ...]
    left_out: tuple[str, ...] = ()  # choices that cannot exist, and why

    @classmethod
    def parse(cls, axes: Mapping[str, Any], where: str) -> "Space":
        """Read the axes of a preset.

        Args:
            axes: name → axis, in the forms that `search/space/axis.py` describes.
            where: what to call the source in an error.

        Raises:
            UserError: an axis that cannot be, or two axes over one key.
        """
        parsed: dict[str, Axis] = {}
        for name, spec in axes.items():
            axis = parse_axis(name, spec, parsed, where)
            for other in parsed.values():
                if twice := axis.varied() & other.varied():
                    raise UserError(f"{where}: space.{name} and space.{other.name} both vary {min(twice)}: keep one")
            parsed[name] = axis
        return cls(axes=_by_stage(parsed.values()))

    def feasible(self, image: tuple[int, int]) -> "Space":
        """Without the choices whose patch does not divide an image of (H, W) pixels; `left_out` names them.

        Raises:
            UserError: no choice is left.
        """
        pixels = f"{image[0]}×{image[1]} pixels (height × width)"
        axes, left_out = [], []
        for axis in self.axes:
            kept = {label: params for label, params in axis.choices.items() if fits(params.get("patch", "1x1"), image)}
            dropped = [f"space.{axis.name} = {label}" for label in axis.choices if label not in kept]
            if dropped and not kept:
                raise UserError(f"{', '.join(dropped)}: no patch divides the image of {pixels}: add one that does")
            left_out += [f"{choice}: its patch does not divide the image of {pixels}" for choice in dropped]
            axes.append(_with_choices(axis, kept) if dropped else axis)
        return replace(self, axes=tuple(axes), left_out=(*self.left_out, *left_out))

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Ask Optuna for a value of every active axis; returns params."""
        return self.params(self._point(lambda axis: axis.suggest(trial)))

    def params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """What a point stands for: dotted keys of ChainConfig → values."""
        chosen = [axis.params(point[axis.name]) for axis in self.axes if axis.name in point]
        return {key: value for params in chosen for key, value in params.items()}

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point of a finite space once, the axes of the student stage varying fastest.

        Raises:
            ValueError: the space holds a range of real numbers.
        """
        if self.size() is None:
            raise ValueError("a space with a range of real numbers cannot be enumerated")
        return _walk(self.axes, {})

    def grid(self) -> Iterator[dict[str, Any]]:
        """The params of every point, in the order of `points`."""
        return map(self.params, self.points())

    def size(self) -> int | None:
        """Number of points; None where a range of real numbers makes it infinite."""
        return None if self.ranges() else _count(self.axes, {})

    def names(self) -> list[str]:
        """Dotted keys of ChainConfig that trials may differ in, those of the teacher first."""
        return list(dict.fromkeys(key for axis in self.axes for key in sorted(axis.varied())))

    def ranges(self) -> list[str]:
        """The names of the axes that are ranges of real numbers."""
        return [axis.name for axis in self.axes if axis.values() is None]

    def corners(self) -> list[dict[str, Any]]:
        """Return distinct params at the edges: all axes at their first value, all at their last, each alone there."""
        names = [axis.name for axis in self.axes]
        points = [self._corner(()), self._corner(names), *(self._corner([alone]) for alone in names)]
        return list({self.key(params): params for params in map(self.params, points)}.values())

    @staticmethod
    def key(params: Mapping[str, Any]) -> str:
        """The same text for the same params, whatever their order."""
        return json.dumps(params, sort_keys=True)

    def _corner(self, last: Collection[str]) -> dict[str, Any]:
        """Return the point with the axes named in `last` at their last value, the others at their first."""
        return self._point(lambda axis: axis.ends()[1 if axis.name in last else 0])

    def _point(self, choose: Callable[[Axis], Any]) -> dict[str, Any]:
        point: dict[str, Any] = {}
        for axis in self.axes:
            if axis.active(point):
                point[axis.name] = choose(axis)
        return point


def _walk(axes: Sequence[Axis], point: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not axes:
        yield point
    elif not axes[0].active(point):
        yield from _walk(axes[1:], point)
    else:
        for value in axes[0].listed():
            yield from _walk(axes[1:], {**point, axes[0].name: value})


def _count(axes: Sequence[Axis], point: Mapping[str, Any]) -> int:
    if not axes:
        return 1
    axis, rest = axes[0], axes[1:]
    if not axis.active(point):
        return _count(rest, point)
    if any(axis.name in other.when for other in rest):
        return sum(_count(rest, {**point, axis.name: value}) for value in axis.listed())
    return len(axis.listed()) * _count(rest, point)


def _by_stage(axes: Collection[Axis]) -> tuple[Axis, ...]:
    """The teacher's axes first, the student stage's last; an axis stays behind those that its `when` names."""
    place: dict[str, int] = {}
    for axis in axes:
        own = min(STAGES.index(first_stage(setting)) for setting in axis.varied())
        place[axis.name] = max(own, *(place[above] for above in axis.when), 0)
    return tuple(sorted(axes, key=lambda axis: place[axis.name]))


def _with_choices(axis: Axis, choices: Mapping[Any, Mapping[str, Any]]) -> Axis:
    return replace(axis, choices=choices, distribution=CategoricalDistribution(tuple(choices)))
