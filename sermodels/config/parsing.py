"""YAML and `key=value` into the dataclasses of config, and back; errors name the key and the nearest valid one."""

import dataclasses
import difflib
import functools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from sermodels.config.constraints import first_line
from sermodels.errors import UserError

T = TypeVar("T")


def parse(kind: type[T], mapping: dict[str, Any], where: str) -> T:
    """Validate nested dicts into the dataclass `kind`.

    Args:
        kind: a dataclass made by `constraints.checked`; those in its fields may be plain ones.
        mapping: plain YAML values.
        where: what to call the source in an error: a file or "command line".

    Raises:
        UserError: one line with source, dotted key, value found and what was expected.
    """
    try:
        valid: T = _adapter(kind).validate_python(mapping)  # type: ignore[arg-type]  # a class can be hashed
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(kind, error)}") from None
    return valid


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file holding a mapping; nothing in it is executed.

    Raises:
        UserError: missing, not readable, not YAML (with its line), or not a mapping.
    """
    try:
        loaded = _SafeLoader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date like 2024-13-45
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: expected a mapping of settings, found a {type(loaded).__name__}")
    return loaded


class _SafeLoader(yaml.SafeLoader):
    """Safe, and stricter: no aliases, of which ten lines can make a document of gigabytes, and no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack its types
            raise yaml.composer.ComposerError(None, None, "aliases are not supported: write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next((repr(key) for key in keys if keys.count(key) > 1), "a key")  # or written in two ways: 1, 0x1
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is there twice", node.start_mark)
        return mapping


def dump_yaml(config: Any) -> str:
    """Write a dataclass, or plain values, as YAML that `load_yaml` and `parse` read back."""
    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True, default_flow_style=None)


def to_plain(config: Any) -> Any:
    """Turn dataclasses and tuples into dicts and lists, as YAML and JSON have them.

    A field whose default is None is left out while it is None: what was written before there was the field stays equal.
    """
    if dataclasses.is_dataclass(config):
        values = {f.name: (getattr(config, f.name), f.default) for f in dataclasses.fields(config)}
        return {name: to_plain(value) for name, (value, default) in values.items() if (value, default) != (None, None)}
    if isinstance(config, Mapping):
        return {key: to_plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    return config


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping → one level with dotted keys: {"teacher": {"lr": 1}} → {"teacher.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested copy of `base` with the dotted `changes` put in; {"a.b": 1} becomes {"a": {"b": 1}}."""
    result = {k: merged(v, {}) if isinstance(v, Mapping) else v for k, v in base.items()}
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        here = result
        for part in parents:
            below = here.get(part)
            here[part] = here = dict(below) if isinstance(below, Mapping) else {}
        here[leaf] = value
    return result


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`key=value` words of a command line → dotted keys with YAML values.

    Raises:
        UserError: a word without "=" or with a value that is not YAML.
    """
    changes: dict[str, Any] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"command line: {word!r} is not of the form key=value, like teacher.lr=3e-4")
        try:
            changes[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            raise UserError(f"command line: {key}: {text!r} is not a YAML value") from None
    return changes


def unknown(what: str, name: str, names: Collection[str]) -> str:
    """One clause of an error: an unknown name and the valid one nearest to it, or all valid ones if none is near."""
    ends = [valid for valid in names if valid.endswith(f".{name}")]
    near = ends[:1] or difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"the nearest valid name is {near[0]!r}" if near else f"valid names are {', '.join(names) or 'none'}"
    return f"unknown {what} {name!r}; {hint}"


@functools.cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    assert is_pydantic_dataclass(kind), f"{kind} would take unknown keys: see constraints.checked"
    return TypeAdapter(kind)


def _explain(kind: type, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "unexpected_keyword_argument":
        return unknown("key", ".".join(map(str, first["loc"])), _names(kind))
    return first_line(error)


def _names(kind: Any, prefix: str = "") -> list[str]:
    names = []
    for f in dataclasses.fields(kind):
        inner = dataclasses.is_dataclass(f.type)
        names += _names(f.type, f"{prefix}{f.name}.") if inner else [f"{prefix}{f.name}"]
    return names
