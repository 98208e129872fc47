"""Reading frozen dataclasses from plain JSON values, strictly."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import TypeVar

T = TypeVar("T")


class MessageInvalidError(ValueError):
    """A message does not have the shape both sides agreed on."""


def from_wire(kind: type[T], raw: object) -> T:
    """Build `kind` from JSON values; missing, unknown and mistyped keys are refused.

    Raises:
        MessageInvalidError: names the message and the key.
    """
    if not isinstance(raw, Mapping):
        raise MessageInvalidError(f"{kind.__name__}: expected an object")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(typing.cast("typing.Any", kind)) if f.init}
    unknown = set(raw) - set(known) - {"type"}
    if unknown:
        raise MessageInvalidError(f"{kind.__name__}: unknown key {sorted(map(str, unknown))[0]!r}")
    values: dict[str, object] = {}
    for name, field in known.items():
        if name in raw:
            values[name] = _convert(hints[name], raw[name], f"{kind.__name__}.{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise MessageInvalidError(f"{kind.__name__}: {name!r} is missing")
    return kind(**values)


def _convert(hint: object, value: object, where: str) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        inner = [a for a in arguments if a is not type(None)]
        return _convert(inner[0], value, where) if len(inner) == 1 else _scalar(hint, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_wire(hint, value)
    return _scalar(hint, value, where)


def _scalar(hint: object, value: object, where: str) -> object:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is object:
        return value
    allowed = typing.get_args(hint) or (hint,)
    exact = [a for a in allowed if isinstance(a, type)]
    if any(type(value) is a for a in exact):
        return value
    for enum_type in exact:
        if issubclass(enum_type, str) and isinstance(value, str):
            try:
                return enum_type(value)
            except ValueError:
                break
    raise MessageInvalidError(f"{where}: {type(value).__name__} is not {hint}")
