"""Text to typed values, as declared. What cannot be converted stays text, and the validator says what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from funcatron.spec.document import Document

Coercer = Callable[[Any], Any]
Valid = Callable[[Any], bool]
CheckerOf = Callable[[Any], Valid]
_MAX_DIGITS = 1000


def integer(value: Any) -> Any:
    """`"12"` → 12; digits with a sign only, no underscores or other scripts' digits, which int() would take."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits.isdigit() and digits.isascii() and len(digits) <= _MAX_DIGITS:
        return int(text)
    return value


def number(value: Any) -> Any:
    """`"1.5"` → 1.5; NaN and infinities are not numbers in JSON and stay text."""
    if not isinstance(value, str) or "_" in value or not value.isascii() or len(value) > _MAX_DIGITS:
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    try:
        converted = float(value)
    except ValueError:
        return value
    return converted if math.isfinite(converted) else value


def boolean(value: Any) -> Any:
    """`"true"`, `"False"` → bool; nothing else is one."""
    if isinstance(value, str):
        lower = value.lower()
        if lower == "true":
            return True
        if lower == "false":
            return False
    return value


def text(value: Any) -> Any:
    return value


def first(coercer: Coercer) -> Coercer:
    """Of a scalar that an object names more than once, the first value counts, as in Connexion's deepObject."""
    return lambda value: coercer(value[0] if isinstance(value, list) and value else value)


def listed(coercer: Coercer) -> Coercer:
    """An array that an object names once is an array of one."""
    return lambda value: coercer([value] if isinstance(value, str) else value)


_SCALARS: dict[str, Coercer] = {"integer": integer, "number": number, "boolean": boolean, "string": text}


def is_null(value: Any) -> bool:
    """Whether a nullable parameter's text stands for null, as Connexion reads it."""
    return value is None or (isinstance(value, str) and value.strip() in ("null", "None"))


def parts_of(document: Document, schema: Any) -> list[dict[str, Any]]:
    """Return a schema and the parts of its `allOf`, of theirs and so on: the outer before the inner, each once."""
    found: list[dict[str, Any]] = []
    todo, seen = [schema], set[str]()
    while todo:
        part = todo.pop(0)
        ref = part.get("$ref") if isinstance(part, dict) else None
        if isinstance(ref, str):
            if ref in seen:
                continue
            seen.add(ref)
        node = document.follow(part)
        if isinstance(node, dict):
            found.append(node)
            todo += node.get("allOf") or ()
    return found


def kinds_of(document: Document, schema: Any) -> tuple[str, ...]:
    """Return the declared types of a schema; looks into `allOf`. Empty if it has none."""
    parts = parts_of(document, schema)
    for node in parts:
        kind = node.get("type")
        if isinstance(kind, str):
            return (kind,)
        if isinstance(kind, list):
            return tuple(kind)
    return ("object",) if any("properties" in node for node in parts) else ()


def properties_of(document: Document, schema: Any) -> dict[str, Any]:
    """Return the declared properties of an object schema, those of its `allOf` parts included."""
    found: dict[str, Any] = {}
    for node in reversed(parts_of(document, schema)):
        found.update(node.get("properties") or {})
    return found


def nullable(document: Document, schema: Any) -> bool:
    """Whether a schema allows null by `nullable`, `x-nullable` or its list of types."""
    node = document.follow(schema)
    if not isinstance(node, dict):
        return False
    kind = node.get("type")
    return node.get("nullable") is True or node.get("x-nullable") is True or (isinstance(kind, list) and "null" in kind)


class Coercers:
    """Makes coercers for the schemas of one document."""

    def __init__(self, document: Document, checker_of: CheckerOf) -> None:
        self._document = document
        self._checker_of = checker_of
        self._known: dict[str, Coercer | None] = {}

    def make(self, schema: Any) -> Coercer:
        """Return the function that converts a text, list or object of texts to what `schema` declares."""
        ref = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(ref, str) or len(schema) > 1:
            return self._make(schema)
        if ref not in self._known:
            self._known[ref] = None  # in the making: who needs it meanwhile is inside it, and finds it when called
            self._known[ref] = self._make(schema)
        known = self._known[ref]
        return self._later(ref) if known is None else known

    def _later(self, ref: str) -> Coercer:
        known = self._known

        def coerce(value: Any) -> Any:
            coercer = known[ref]
            return value if coercer is None else coercer(value)

        return coerce

    def _make(self, schema: Any) -> Coercer:
        kinds = tuple(kind for kind in kinds_of(self._document, schema) if kind != "null")
        if len(kinds) == 1:
            coercer = self._single(kinds[0], schema)
        elif kinds or self._composite(schema):
            coercer = self._union(kinds or tuple(_SCALARS), schema)
        else:
            coercer = text
        return _or_null(coercer) if nullable(self._document, schema) else coercer

    def _composite(self, schema: Any) -> bool:
        node = self._document.follow(schema)
        return isinstance(node, dict) and any(key in node for key in ("oneOf", "anyOf", "enum", "const", "allOf"))

    def _single(self, kind: str, schema: Any) -> Coercer:
        if kind in _SCALARS:
            return _SCALARS[kind]
        node = self._document.follow(schema)
        if kind == "array":
            return _array(self.make(node.get("items", {})))
        if kind == "object":
            members = properties_of(self._document, schema)
            more = node.get("additionalProperties")
            return _object(
                {name: self._member(member) for name, member in members.items()},
                self._member(more) if isinstance(more, dict) else text,
            )
        return text

    def _member(self, schema: Any) -> Coercer:
        kinds = kinds_of(self._document, schema)
        coercer = self.make(schema)
        if "array" in kinds:
            return listed(coercer)
        return first(coercer) if kinds and "object" not in kinds else coercer

    def _union(self, kinds: tuple[str, ...], schema: Any) -> Coercer:
        order = [k for k in ("array", "object", "integer", "number", "boolean", "string") if k in kinds]
        coercers = [self._single(kind, schema) for kind in order]
        valid = self._checker_of(schema)

        def coerce(value: Any) -> Any:
            for coercer in coercers:
                converted = coercer(value)
                if valid(converted):
                    return converted
            return value

        return coerce


def _or_null(coercer: Coercer) -> Coercer:
    return lambda value: None if is_null(value) else coercer(value)


def _array(item: Coercer) -> Coercer:
    if item is text:
        return text

    def coerce(value: Any) -> Any:
        return [item(part) for part in value] if isinstance(value, list) else value

    return coerce


def _object(members: dict[str, Coercer], more: Coercer) -> Coercer:
    def coerce(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: members.get(name, more)(part) for name, part in value.items()}

    return coerce
