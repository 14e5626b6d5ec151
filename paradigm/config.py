"""Configuration: TOML and `key=value` overrides into frozen dataclasses that live beside their users.

msgspec converts and checks types; this file adds what a person wants to read when a key is wrong: the place, the rule, the nearest key.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key, the rule and the value."""


def read_toml(path: str | Path) -> dict[str, Any]:
    """A TOML file as plain values. Raises: ConfigError if it is missing or is not TOML."""
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else [], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise ConfigError(f"no such file: {path}{hint}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def parse_override(text: str) -> tuple[list[str], Any]:
    """`rl.steps=40` as (["rl", "steps"], 40). The value is read as TOML, and as a plain string if it is not TOML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"an override must look like key=value, got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return key.strip().split("."), parsed


def apply_overrides(config: dict[str, Any], overrides: Sequence[str], *, named: str = "stages") -> dict[str, Any]:
    """Sets dotted keys in nested tables. A first part that is the name of an entry of the list `named` means that entry.

    Raises: ConfigError if a key leads through something that is no table.
    """
    for text in overrides:
        path, value = parse_override(text)
        table: Any = config
        entries = {entry.get("name", entry.get("kind")): entry for entry in config.get(named, [])}
        if len(path) > 1 and path[0] in entries:
            table, path = entries[path[0]], path[1:]
        for part in path[:-1]:
            if not isinstance(table.setdefault(part, {}), dict):
                raise ConfigError(f"{text!r} leads through {part!r}, which is no table")
            table = table[part]
        table[path[-1]] = value
    return config


def decode(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """A frozen dataclass from plain values.

    Args:
        cls: a dataclass; nested dataclasses, lists and mappings of them, Literals and unions with None are followed.
        values: tables, lists, numbers and strings, as TOML gives them.
        where: what to call this table in messages.
    Raises: ConfigError naming the key: unknown (with the nearest known one), missing, of a wrong type, or refused by the class itself.
    """
    _refuse_unknown_keys(cls, values, where)
    try:
        return msgspec.convert(values, cls, strict=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        place = f"{where}{path.rstrip('`')}" if path else where
        value = _value_at(values, path.rstrip("`"))
        # a class that refuses its table has said which of its values, and why
        got = "" if isinstance(value, Mapping) and ", got " in message else f", got {value!r}"
        raise ConfigError(f"{place}: {message[:1].lower()}{message[1:]}{got}") from error


def encode(config: Any) -> dict[str, Any]:
    """The plain values of a dataclass as JSON would give them back (tuples are lists), for run.json and checkpoints."""
    # asdict: of a dataclass that it made, msgspec writes only the fields that were given
    return msgspec.json.decode(msgspec.json.encode(dataclasses.asdict(config)))


def _refuse_unknown_keys(cls: Any, values: Any, where: str) -> None:
    origin = typing.get_origin(cls)
    if origin in (list, tuple) and isinstance(values, (list, tuple)):
        for i, value in enumerate(values):
            _refuse_unknown_keys(typing.get_args(cls)[0], value, f"{where}[{i}]")
    elif origin in (dict, Mapping) and isinstance(values, dict):
        for key, value in values.items():
            _refuse_unknown_keys(typing.get_args(cls)[1], value, f"{where}.{key}")
    elif origin in (typing.Union, types.UnionType):
        for option in typing.get_args(cls):
            if dataclasses.is_dataclass(option) and isinstance(values, dict):
                _refuse_unknown_keys(option, values, where)
    elif dataclasses.is_dataclass(cls) and isinstance(values, dict):
        hints = typing.get_type_hints(cls)
        known = [f.name for f in dataclasses.fields(cls)]
        for key, value in values.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
                raise ConfigError(f"{where}: unknown key {key!r}; {hint}")
            _refuse_unknown_keys(hints[key], value, f"{where}.{key}")


def _value_at(values: Any, path: str) -> Any:
    for part in path.replace("[", ".[").split("."):
        if not part or part == "[...]":
            continue
        try:
            values = values[int(part[1:-1])] if part.startswith("[") else values[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return values
    return values
