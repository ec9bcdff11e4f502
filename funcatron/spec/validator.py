"""Checks values by JSON Schema, and says what is wrong in the words of Python's jsonschema, as Connexion does.

jsonschema-rs was chosen by measurement (benchmarks/validators.py): it is the fastest of the three on every size that
matters here, and it reports all faults with their kind and place, which fastjsonschema does not.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs

Path = list[str | int]
Found = tuple[Path, str]

MAX_FAULTS = 50
_TIME = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.IGNORECASE)


def _byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _uuid(text: str) -> bool:
    try:
        return len(text) == 36 and str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _date(text: str) -> bool:
    try:
        return len(text) == 10 and datetime.date.fromisoformat(text) is not None
    except ValueError:
        return False


def _time(text: str) -> bool:
    return _TIME.match(text) is not None


_FORMATS: dict[str, Callable[[str], bool]] = {"byte": _byte, "uuid": _uuid, "date": _date, "time": _time}


class BadSchema(ValueError):
    """The schema itself is wrong."""


class Checker:
    """A compiled schema. `valid` is the fast question; ask for `faults` only after a no."""

    __slots__ = ("_validator", "valid")

    def __init__(self, schema: Any, *, draft4: bool) -> None:
        make = jsonschema_rs.Draft4Validator if draft4 else jsonschema_rs.Draft202012Validator
        try:
            self._validator = make(schema, validate_formats=True, formats=_FORMATS, offline=True)
        except (ValueError, jsonschema_rs.ReferencingError) as err:
            raise BadSchema(str(err).split("\n", 1)[0][:300]) from err
        self.valid: Callable[[Any], bool] = self._validator.is_valid

    def faults(self, value: Any) -> list[Found]:
        """Return every fault of `value` as path and sentence, at most MAX_FAULTS of them."""
        found: list[Found] = []
        for error in self._validator.iter_errors(value):
            for fault in _explain(error):
                if fault not in found:
                    found.append(fault)
                if len(found) >= MAX_FAULTS:
                    return found
        return found


def _explain(error: Any) -> Iterator[Found]:
    kind = error.kind
    name = kind.name
    path: Path = list(error.instance_path)
    if name in ("anyOf", "oneOf"):
        chosen = _chosen(path, kind.context)
        if chosen is not None:
            yield from chosen
            return
    if name == "required":
        yield [*path, Missing(kind.property)], f"{kind.property!r} is a required property"
        return
    yield path, _sentence(name, kind, error)


class Missing(str):
    """The last step of a path to a member that is not there."""

    __slots__ = ()


def _sentence(name: str, kind: Any, error: Any) -> str:
    value = _short(error.instance)
    write = _SENTENCES.get(name)
    if write is None:
        return str(error.message)
    return write(value, kind)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _types(value: str, kind: Any) -> str:
    return f"{value} is not of type {', '.join(repr(t) for t in kind.types)}"


def _unexpected(value: str, kind: Any) -> str:
    names = ", ".join(repr(n) for n in kind.unexpected)
    verb = "was" if len(kind.unexpected) == 1 else "were"
    return f"Additional properties are not allowed ({names} {verb} unexpected)"


def _not(value: str, kind: Any) -> str:
    if isinstance(kind.schema, dict) and kind.schema.get("description") == "write-only":
        return "Property is write-only"
    return f"{value} should not be valid under {_short(kind.schema)}"


_SENTENCES: dict[str, Callable[[str, Any], str]] = {
    "type": _types,
    "additionalProperties": _unexpected,
    "not": _not,
    "format": lambda value, kind: f"{value} is not a {kind.format!r}",
    "enum": lambda value, kind: f"{value} is not one of {_options(kind.options)}",
    "const": lambda value, kind: f"{kind.expected_value!r} was expected",
    "pattern": lambda value, kind: f"{value} does not match {kind.pattern!r}",
    "minLength": lambda value, kind: f"{value} is too short",
    "maxLength": lambda value, kind: f"{value} is too long",
    "minItems": lambda value, kind: f"{value} is too short",
    "maxItems": lambda value, kind: f"{value} is too long",
    "minProperties": lambda value, kind: f"{value} does not have enough properties",
    "maxProperties": lambda value, kind: f"{value} has too many properties",
    "minimum": lambda value, kind: f"{value} is less than the minimum of {kind.limit}",
    "maximum": lambda value, kind: f"{value} is greater than the maximum of {kind.limit}",
    "exclusiveMinimum": lambda value, kind: f"{value} is less than or equal to the minimum of {kind.limit}",
    "exclusiveMaximum": lambda value, kind: f"{value} is greater than or equal to the maximum of {kind.limit}",
    "multipleOf": lambda value, kind: f"{value} is not a multiple of {kind.multiple_of}",
    "uniqueItems": lambda value, kind: f"{value} has non-unique elements",
    "anyOf": lambda value, kind: f"{value} is not valid under any of the given schemas",
    "oneOf": lambda value, kind: _one_of(value, kind),
    "falseSchema": lambda value, kind: f"{value} is not allowed here",
}


def _options(options: Any) -> str:
    return repr(options) if isinstance(options, list) else str(options)


def _one_of(value: str, kind: Any) -> str:
    if type(kind).__name__ == "OneOfMultipleValid":
        return f"{value} is valid under more than one of the given schemas"
    return f"{value} is not valid under any of the given schemas"


def _chosen(path: Path, branches: Any) -> list[Found] | None:
    """Return the faults of the one alternative whose discriminating property fits; of that property if none does."""
    rejected: list[dict[str, Any]] = []
    open_branches: list[Any] = []
    for branch in branches:
        enums = {
            str(e.instance_path[-1]): e for e in branch
            if e.kind.name == "enum" and len(e.instance_path) == len(path) + 1
        }  # fmt: skip
        if enums:
            rejected.append(enums)
        else:
            open_branches.append(branch)
    if len(open_branches) == 1 and len(branches) > 1:
        return [fault for error in open_branches[0] for fault in _explain(error)]
    if open_branches or not rejected:
        return None
    common = set(rejected[0]).intersection(*rejected[1:])
    if not common:
        return None
    name = sorted(common)[0]
    errors = [enums[name] for enums in rejected]
    options = [option for e in errors for option in e.kind.options if isinstance(e.kind.options, list)]
    return [(list(errors[0].instance_path), f"{_short(errors[0].instance)} is not one of {options!r}")]
