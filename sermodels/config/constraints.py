"""Settings as pydantic checks them: the decorator of their dataclasses, and the ranges that several of them share.

A range stands in the type of a field, and holds however the dataclass is made: by its constructor, by `replace`, or
from YAML (parsing.py). What relates several fields is checked in `__post_init__`.
"""

import functools
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

T = TypeVar("T")


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would take True for 1
        raise ValueError(f"{value} is not possible: must be a number")
    return value


NUMBER = BeforeValidator(_no_truth_value)
Whole = Annotated[int, Field(ge=0), NUMBER]
Positive = Annotated[int, Field(ge=1), NUMBER]
Finite = Annotated[float, Field(allow_inf_nan=False), NUMBER]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def checked(kind: type[T]) -> type[T]:
    """Make a frozen keyword-only dataclass whose values are validated and whose unknown keys are refused.

    Its constructor raises ValueError with one line, `field: what is allowed (found value)`, which tyro shows to the
    person who typed the value; the text of pydantic's own error has several.
    """
    made: Any = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(kind)
    construct = made.__init__

    @functools.wraps(construct)
    def one_line(self: T, *args: Any, **values: Any) -> None:
        try:
            construct(self, *args, **values)
        except ValidationError as error:
            raise ValueError(first_line(error)) from None

    made.__init__ = one_line
    return cast("type[T]", made)


def first_line(error: ValidationError) -> str:
    """Return the first thing that pydantic found: dotted key, what is allowed, value found."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    own = first["type"] == "value_error"  # raised by code of this project, whose text holds the value
    message = first["msg"].removeprefix("Value error, ") if own else f"{first['msg']} (found {first['input']!r})"
    return f"{key}: {message}" if key else message
