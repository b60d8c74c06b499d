"""Configurations in few words: names of runs, rows of tables."""

from collections.abc import Mapping
from typing import Any


def label(params: Mapping[str, Any]) -> str:
    """Return a configuration in few words: `128x1 ice t6h5 s3h5 α=10 student.lr=0.001`."""
    words = [str(params[key]) for key in ("patch", "encoding") if key in params]
    told = {"patch", "encoding"}
    for network in ("teacher", "student"):
        sizes = {f"{network}.depth": "", f"{network}.heads": "h"}
        size = "".join(f"{sign}{params[key]}" for key, sign in sizes.items() if key in params)
        words.append(f"{network[0]}{size}" if size else "")
        told |= sizes.keys()
    names = {"alpha": "α"}
    words += [f"{names.get(key, key)}={_short(value)}" for key, value in params.items() if key not in told]
    return " ".join(filter(None, words)) or "defaults"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
