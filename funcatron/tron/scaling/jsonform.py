"""Values of this package as JSON values and back, so that a stored decision can be replayed.

`from_json(cls, to_json(value)) == value`; floats keep every digit, infinite ones are refused.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from funcatron.errors import BadMessage

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return a value of this package as dicts, lists and scalars. Raises BadMessage for what JSON cannot say."""
    if value is None or isinstance(value, bool | int | str):
        return str(value) if isinstance(value, StrEnum) else value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadMessage(f"{value} is no number that JSON knows")
        return value
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    raise BadMessage(f"a {type(value).__name__} has no JSON form")


def from_json(cls: type[T], data: Any) -> T:
    """Return what `to_json` made of a `cls`; fields with a default may be missing. Raises BadMessage for all else."""
    return cast(T, _value(cls, data, cls.__name__))


def _value(kind: Any, data: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin is Union or origin is types.UnionType:
        return _optional(kind, data, where)
    if origin is tuple:
        return _tuple(get_args(kind), data, where)
    if origin is not None and issubclass(origin, Mapping):
        item = get_args(kind)[1]
        return {key: _value(item, value, f"{where}.{key}") for key, value in _of(dict, data, where).items()}
    if is_dataclass(kind):
        return _instance(kind, data, where)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(data)
        except ValueError as err:
            raise BadMessage(f"{where}: {err}") from err
    return _scalar(kind, data, where)


def _optional(kind: Any, data: Any, where: str) -> Any:
    options = get_args(kind)
    if data is None and type(None) in options:
        return None
    return _value(next(option for option in options if option is not type(None)), data, where)


def _tuple(items: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    values = _of(list, data, where)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_value(items[0], value, f"{where}[{n}]") for n, value in enumerate(values))
    if len(values) != len(items):
        raise BadMessage(f"{where} has {len(values)} items instead of {len(items)}")
    return tuple(
        _value(item, value, f"{where}[{n}]") for n, (item, value) in enumerate(zip(items, values, strict=True))
    )


def _instance(kind: Any, data: Any, where: str) -> Any:
    given = _of(dict, data, where)
    hints, required = _shape(kind)
    unknown = given.keys() - hints.keys()
    missing = required - given.keys()
    if unknown or missing:
        raise BadMessage(f"{where}: unknown {sorted(unknown)}, missing {sorted(missing)}")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in given.items()})


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    hints = get_type_hints(kind)
    needed = frozenset(f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING)
    return {field.name: hints[field.name] for field in fields(kind)}, needed


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if isinstance(data, bool) and kind is not bool:
        raise BadMessage(f"{where} is {data!r}, not a {kind.__name__}")
    return _of(kind, data, where)


def _of(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, kind):
        raise BadMessage(f"{where} is {data!r}, not a {kind.__name__}")
    return data
