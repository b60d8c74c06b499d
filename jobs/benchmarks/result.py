"""What a benchmark found: the figure, what was required of it, the limit beside it, and the machine it ran on."""

import dataclasses
import json
import operator
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

import torch

from sermodels.provenance import commit, cpu_model

_COMPARISONS = {"≥": operator.ge, "≤": operator.le}
_PACKAGES = ("torch", "torchaudio", "onnxruntime", "librosa", "pyarrow", "ray", "optuna", "mlflow")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure and all that is needed to judge it."""

    name: str
    compared: str  # one sentence: what against what, on what input
    value: float  # the ratio, or another figure
    unit: str  # of the value: "× fewer training seconds", "s a trial"
    required: str  # "≥ 4" or "≤ 0.5", in the value's unit
    limit: str  # the physical or arithmetical limit, with its number
    parts: Mapping[str, Any]  # every figure that went in: plain JSON values, units in their names
    further: tuple["Result", ...] = ()  # a second requirement of the same benchmark

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[≥≤] ?\d+(\.\d+)?", self.required):
            raise ValueError(f"required = {self.required!r}: must be like '≥ 4' or '≤ 0.5'")

    @property
    def met(self) -> bool:
        """Whether the value is as required; NaN is not."""
        return _COMPARISONS[self.required[0]](self.value, float(self.required[1:]))

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `ratio` is another name of `value`."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        own |= {"ratio": self.value, "met": self.met, "parts": dict(self.parts)}
        return own | {"further": [result.plain() for result in self.further]}

    def text(self) -> str:
        """For a person: the verdict first, then what it rests on."""
        verdict = "met" if self.met else "missed"
        lines = [
            f"{self.name}: {_number(self.value)} {self.unit}; required {self.required}: {verdict}",
            f"  compared  {self.compared}",
            f"  limit     {self.limit}",
        ]
        width = max(map(len, self.parts), default=0)
        lines += [f"  {name:<{width}}  {_number(value)}" for name, value in self.parts.items()]
        return "\n".join([*lines, *(result.text() for result in self.further)])


def record(result: Result, command: str) -> str:
    """The JSON text of a result, with where, when, by what command and with which commit it was measured."""
    about = {
        "machine": machine(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
    }
    return json.dumps(result.plain() | about, indent=2, ensure_ascii=False) + "\n"


def machine() -> dict[str, Any]:
    """The machine, and the versions of what is installed on it; nothing is imported for that."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),  # those that this process may use
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": python_version(),
        **{name: found for name in _PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
