"""From the schema dialects of Swagger 2.0 and OpenAPI 3.0/3.1 to plain JSON Schema (draft 4, or 2020-12 for 3.1).

Each converted schema stands alone: what it refers to is gathered under its `definitions`, so that recursive schemas
and schemas from other files of the bundle are nothing special.
"""

from __future__ import annotations

from typing import Any, Literal

from funcatron.spec.document import FILES_KEY, Document
from funcatron.spec.values import parts_of

Direction = Literal["request", "response"]
WRITE_ONLY = {"description": "write-only"}

_ONE = ("additionalProperties", "not", "items", "additionalItems", "contains", "propertyNames", "if", "then", "else",
        "unevaluatedItems", "unevaluatedProperties", "contentSchema")  # fmt: skip
_LIST = ("anyOf", "oneOf", "prefixItems")
_MAP = ("properties", "patternProperties", "dependentSchemas")
_KEEP = (
    "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties",
    "minProperties", "dependentRequired", "format",
)  # fmt: skip
_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_UNCHECKED = frozenset({"binary", "base64", "password", "float", "double", "path", "int32", "int64", "decimal"})

_Key = tuple[str, str, frozenset[str]]


class Converter:
    """Converts schemas of one document for one direction: `readOnly` and `writeOnly` mean different things in each."""

    def __init__(self, document: Document, direction: Direction) -> None:
        self._document = document
        self._direction = direction
        self._absent = ("readOnly", "x-readOnly") if direction == "request" else ("writeOnly", "x-writeOnly")
        self._names = "$defs" if document.openapi31 else "definitions"
        self._subtypes = _subtypes(document)

    def convert(self, schema: Any) -> Any:
        """Return `schema` as JSON Schema with its own definitions."""
        conversion = _Conversion(self)
        converted = conversion.schema(schema)
        if conversion.definitions:
            converted = {**converted, self._names: conversion.definitions}
        return converted

    def forbidden(self, schema: Any) -> bool:
        """Whether a property with this schema has no place in this direction."""
        node = self._document.follow(schema)
        return isinstance(node, dict) and any(node.get(key) is True for key in self._absent)


class _Conversion:
    """One converted schema in the making."""

    def __init__(self, converter: Converter) -> None:
        self._c = converter
        self._document = converter._document
        self.definitions: dict[str, Any] = {}
        self._known: dict[_Key, str] = {}

    def schema(self, node: Any, relaxed: frozenset[str] = frozenset(), variant: str = "") -> Any:
        if isinstance(node, bool):
            return node if self._document.openapi31 else ({} if node else {"not": {}})
        if not isinstance(node, dict):
            return {}
        if isinstance(node.get("$ref"), str):
            return self._reference(node, relaxed, variant)
        return self._object(node, relaxed, variant, None)

    def _reference(self, node: dict[str, Any], relaxed: frozenset[str], variant: str) -> Any:
        converted: dict[str, Any] = {"$ref": self._define(node["$ref"], relaxed, variant)}
        if _nullable(node):
            return {"anyOf": [converted, {"enum": [None]}]}
        beside = {key: value for key, value in node.items() if key != "$ref"}
        if self._document.openapi31 and beside:
            more = self._object(beside, relaxed, "", None)
            if more:
                return {"allOf": [converted, more]}
        return converted

    def _define(self, ref: str, relaxed: frozenset[str], variant: str) -> str:
        key = (ref, variant, relaxed)
        if key not in self._known:
            name = str(len(self._known))
            self._known[key] = name
            self.definitions[name] = {}
            target = self._document.target(ref)
            if isinstance(target, dict) and "$ref" not in target:
                self.definitions[name] = self._object(target, relaxed, variant, ref)
            else:
                self.definitions[name] = self.schema(target, relaxed, variant)
        return f"#/{self._c._names}/{self._known[key]}"

    def _object(self, node: dict[str, Any], relaxed: frozenset[str], variant: str, ref: str | None) -> dict[str, Any]:
        relaxed = relaxed | self._names_absent(node)
        result = {key: node[key] for key in _KEEP if key in node}
        result.update({key: self._one(key, node[key]) for key in _ONE if key in node})
        result.update({key: [self.schema(item) for item in node[key]] for key in _LIST if key in node})
        for key in _MAP:
            if isinstance(node.get(key), dict):
                result[key] = {name: self._property(value) for name, value in node[key].items()}
        if "allOf" in node:
            result["allOf"] = [self.schema(item, relaxed, "base") for item in node["allOf"]]
        required = [name for name in node.get("required") or () if name not in relaxed]
        if required:
            result["required"] = required
        _type(node, result)
        if isinstance(node.get("discriminator"), dict | str) and variant != "base":
            self._discriminate(node, result, ref)
        return result

    def _one(self, key: str, value: Any) -> Any:
        if isinstance(value, list):  # items of 2020-12 were a list in older drafts
            return [self.schema(item) for item in value]
        return value if isinstance(value, bool) and key.startswith("additional") else self.schema(value)

    def _property(self, node: Any) -> Any:
        if self._c._direction == "response" and self._c.forbidden(node):
            return {"not": WRITE_ONLY}
        return self.schema(node)

    def _names_absent(self, node: dict[str, Any]) -> frozenset[str]:
        names = [
            name
            for part in parts_of(self._document, node)
            for name, value in (part.get("properties") or {}).items()
            if isinstance(value, dict) and self._c.forbidden(value)
        ]
        return frozenset(names)

    def _discriminate(self, node: dict[str, Any], result: dict[str, Any], ref: str | None) -> None:
        """Make the discriminating property choose the alternative (OpenAPI 3.0.3, section 4.7.25)."""
        discriminator = node["discriminator"]
        name = discriminator if isinstance(discriminator, str) else discriminator.get("propertyName")
        mapping = {} if isinstance(discriminator, str) else (discriminator.get("mapping") or {})
        if not isinstance(name, str) or not isinstance(mapping, dict):
            return
        mapped: dict[str, list[str]] = {}
        for value, target in mapping.items():
            mapped.setdefault(self._mapped(str(target)), []).append(str(value))
        for key in ("oneOf", "anyOf"):
            if key in node:
                refs = [part.get("$ref") if isinstance(part, dict) else None for part in node[key]]
                if all(refs):
                    result[key] = [self._branch(part, name, mapped) for part in refs if part]
                return
        if ref is None:
            return
        children = sorted(self._c._subtypes.get(ref, set()))
        if not children:
            return
        own = mapped.get(ref) or [_last(ref)]
        branches: list[Any] = [{"properties": {name: {"enum": own}}}]
        branches += [self._branch(child, name, mapped) for child in children]
        result.setdefault("allOf", []).append({"anyOf": branches})

    def _branch(self, ref: str, name: str, mapped: dict[str, list[str]]) -> dict[str, Any]:
        chosen = {"properties": {name: {"enum": mapped.get(ref) or [_last(ref)]}}, "required": [name]}
        return {"allOf": [chosen, {"$ref": self._define(ref, frozenset(), "base")}]}

    def _mapped(self, target: str) -> str:
        if target.startswith("#/"):
            return target
        place = "definitions" if self._document.swagger2 else "components/schemas"
        return f"#/{place}/{target}"


def _nullable(node: dict[str, Any]) -> bool:
    return node.get("nullable") is True or node.get("x-nullable") is True


def _type(node: dict[str, Any], result: dict[str, Any]) -> None:
    """Add what `type`, `format` and `nullable` ask for."""
    kind = node.get("type")
    form = node.get("format")
    if form in _UNCHECKED:
        result.pop("format", None)
    if kind == "file":
        kind = "string"  # a text stands for an upload when a form is checked
    if kind in ("integer", None) and form in _BOUNDS:
        low, high = _BOUNDS[form]
        if result.get("minimum", low) <= low:
            result["minimum"] = low
            result.pop("exclusiveMinimum", None) if isinstance(result.get("exclusiveMinimum"), bool) else None
        if result.get("maximum", high) >= high:
            result["maximum"] = high
            result.pop("exclusiveMaximum", None) if isinstance(result.get("exclusiveMaximum"), bool) else None
    if kind is not None:
        result["type"] = kind
    if _nullable(node):
        if isinstance(kind, str):
            result["type"] = [kind, "null"]
        if isinstance(result.get("enum"), list) and None not in result["enum"]:
            result["enum"] = [*result["enum"], None]


def _last(ref: str) -> str:
    return ref.rsplit("/", 1)[-1].replace("~1", "/").replace("~0", "~")


def _subtypes(document: Document) -> dict[str, set[str]]:
    """Return which named schemas extend which others by `allOf`, directly or not, as references."""
    direct: dict[str, set[str]] = {}
    for prefix, named in _named(document):
        for name, schema in named.items():
            child = f"{prefix}/{name.replace('~', '~0').replace('/', '~1')}"
            for part in (schema.get("allOf") if isinstance(schema, dict) else None) or ():
                if isinstance(part, dict) and isinstance(part.get("$ref"), str):
                    direct.setdefault(part["$ref"], set()).add(child)
    result: dict[str, set[str]] = {}
    for parent in direct:
        todo, found = list(direct[parent]), set[str]()
        while todo:
            child = todo.pop()
            if child not in found:
                found.add(child)
                todo.extend(direct.get(child, ()))
        result[parent] = found - {parent}
    return result


def _named(document: Document) -> list[tuple[str, dict[str, Any]]]:
    roots = [("#", document.root)]
    roots += [(f"#/{FILES_KEY}/{i}", part) for i, part in enumerate(document.root.get(FILES_KEY, ()))]
    found = []
    for prefix, root in roots:
        if isinstance(root, dict):
            for path in (("definitions",), ("components", "schemas")):
                node: Any = root
                for key in path:
                    node = node.get(key) if isinstance(node, dict) else None
                if isinstance(node, dict):
                    found.append((f"{prefix}/{'/'.join(path)}", node))
    return found
