"""Parameters in path, query, header and cookie: one small closure each, made when the spec is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any
from urllib.parse import unquote

from funcatron.spec import styles
from funcatron.spec.compiler import Compiler
from funcatron.spec.faults import Fault
from funcatron.spec.jsontext import parse_text
from funcatron.spec.names import sanitized
from funcatron.spec.validator import Checker, Found
from funcatron.spec.values import is_null, kinds_of, nullable, properties_of

Fields = Mapping[str, list[str]]
Binder = Callable[[Fields, dict[str, Any], list[Fault]], None]
Take = Callable[[Fields], Any]
MISSING: Any = object()
_IGNORED = frozenset({"accept", "content-type", "authorization"})  # OpenAPI 3.0.3 section 4.7.12.1
_PLACES = ("path", "query", "header", "cookie")


def parse_query(query: str) -> dict[str, list[str]]:
    """Return the decoded fields of a raw query string or urlencoded body; blank values are kept."""
    fields: dict[str, list[str]] = {}
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if "+" in part or "%" in part:
            name, value = unquote(name.replace("+", " ")), unquote(value.replace("+", " "))
        known = fields.get(name)
        if known is None:
            fields[name] = [value]
        else:
            known.append(value)
    return fields


def parse_cookies(header: str) -> dict[str, list[str]]:
    """Return the cookies of a request; of a repeated name the last one counts."""
    cookies: dict[str, list[str]] = {}
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            value = value.strip()
            cookies[name.strip()] = [value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value]
    return cookies


class Parameter:
    """One declared parameter."""

    def __init__(self, compiler: Compiler, node: Mapping[str, Any], where: str) -> None:
        self.name: str = node["name"]
        self.place: str = node["in"]
        self.required = node.get("required") is True
        self.argument = sanitized(self.name.replace("-", "_") if self.place == "path" else self.name)
        self._document = compiler.document
        self._node = node
        content = node.get("content")
        self._json = isinstance(content, dict) and bool(content)
        if isinstance(content, dict) and content:
            self.schema: Any = next(iter(content.values())).get("schema", {})
        elif compiler.document.swagger2:
            self.schema = _swagger2_schema(node)
        else:
            self.schema = node.get("schema", {})
        kinds = kinds_of(self._document, self.schema)
        self.kind = next((kind for kind in kinds if kind in ("array", "object")), kinds[0] if kinds else "")
        self.nullable = nullable(self._document, self.schema) or node.get("x-nullable") is True
        self._style, self._explode = self._written()
        self._checker = compiler.checker(self.schema, where)
        self._coerce = compiler.coercer(self.schema)
        self.default = self._default()

    @property
    def ignored(self) -> bool:
        """Whether OpenAPI 3 says that the definition shall be ignored."""
        return self.place == "header" and not self._document.swagger2 and self.name.lower() in _IGNORED

    @property
    def route_kind(self) -> str:
        """What a path parameter means for routing: its type, or `path` for the format of that name."""
        node = self._document.follow(self.schema)
        return "path" if self.kind == "string" and node.get("format") == "path" else self.kind

    def claims(self) -> tuple[set[str], tuple[str, ...]]:
        """Return the query names that belong to this parameter, and the beginnings of such names."""
        if self._style == "deepObject":
            return {self.name}, (f"{self.name}[",)
        names = {self.name}
        if self._exploded_object:
            names |= set(properties_of(self._document, self.schema))
        return names, ()

    @property
    def _exploded_object(self) -> bool:
        return self.place == "query" and self.kind == "object" and self._style == "form" and self._explode

    def _written(self) -> tuple[str, bool]:
        if self._document.swagger2 or self._json:
            return "form", False
        style = self._node.get("style", styles.DEFAULT_STYLE[self.place])
        return style, self._node.get("explode", style == "form") is True

    def _default(self) -> Any:
        node = self._document.follow(self.schema)
        node = node if isinstance(node, dict) else {}
        if "default" in self._node or "default" in node:
            default = self._node.get("default", node.get("default"))
            if default is None and self.nullable:
                return None
            return self._coerce(default)
        if self.kind == "object" and self.place == "query" and not self._document.swagger2:
            return self._nested(self.schema, (id(node),), [1_000])
        return MISSING

    def _nested(self, schema: Any, outer: tuple[int, ...], budget: list[int]) -> dict[str, Any]:
        """Gather the defaults of an object's members, as Connexion passes them when the object is absent or partial.

        `outer` are the objects around it: a recursive schema has no end of defaults. `budget` bounds the members
        looked at, for types that contain each other in many ways.
        """
        found: dict[str, Any] = {}
        for name, member in properties_of(self._document, schema).items():
            node = self._document.follow(member)
            budget[0] -= 1
            if budget[0] < 0 or not isinstance(node, dict):
                continue
            if "default" in node:
                found[name] = node["default"]
            elif node.get("type") == "object" and node.get("properties") and id(node) not in outer:
                found[name] = self._nested(member, (*outer, id(node)), budget)
        return found

    def binder(self) -> Binder:
        """Return the closure that takes this parameter from the fields of its place."""
        take, read = self._taker(), self._reader()
        label = f"Missing {self.place} parameter {self.name!r}"
        where = f"{self.place}.{self.name}"
        required, argument, default = self.required, self.argument, self.default
        mutable = isinstance(default, dict | list)
        merge = self.kind == "object" and isinstance(default, dict)

        def bind(fields: Fields, params: dict[str, Any], faults: list[Fault]) -> None:
            raw = take(fields)
            if raw is None:
                if required:
                    faults.append(Fault(where, label, label))
                elif default is not MISSING:
                    params[argument] = deepcopy(default) if mutable else default
                return
            value, found = read(raw)
            if found:
                faults.extend(locate(where, found))
            elif merge and isinstance(value, dict):
                params[argument] = merged(deepcopy(default), value)
            else:
                params[argument] = value

        return bind

    def _taker(self) -> Take:
        """Return what takes the raw value out of the fields: None where the parameter is absent."""
        name = self.name.lower() if self.place == "header" else self.name
        split = self._splitter()
        if self._style == "deepObject":
            return lambda fields: styles.deep_object(name, fields)
        if self._exploded_object:
            return self._exploded(split)
        if split is styles.last:

            def take_last(fields: Fields) -> Any:
                values = fields.get(name)
                return None if values is None else values[-1]

            return take_last

        def take(fields: Fields) -> Any:
            values = fields.get(name)
            return None if values is None else split(values)

        return take

    def _exploded(self, split: styles.Splitter) -> Take:
        name, members = self.name, tuple(properties_of(self._document, self.schema))
        arrays = {
            member: kinds_of(self._document, schema) == ("array",)
            for member, schema in properties_of(self._document, self.schema).items()
        }

        def take(fields: Fields) -> Any:
            if name in fields and name not in members:
                return split(fields[name])
            found = {m: fields[m] if arrays[m] else fields[m][-1] for m in members if m in fields}
            return found or None

        return take

    def _splitter(self) -> styles.Splitter:
        if self._json:
            return styles.last
        if self._document.swagger2:
            return styles.collection(self.schema) if self.kind == "array" else styles.last
        if self.place == "path":
            return styles.path_splitter(self.name, self._style, self.kind, explode=self._explode)
        if self.place == "header":
            return styles.header_splitter(self.kind, explode=self._explode)
        return styles.query_splitter(self._style, self.kind, explode=self._explode)

    def _reader(self) -> Callable[[Any], tuple[Any, list[Found]]]:
        checker, coerce = self._checker, self._coerce
        valid = checker.valid
        if self._json:
            return _json_reader(checker)
        if self.nullable or self._node.get("allowEmptyValue") is True:
            return self._lenient_reader()

        def read(raw: Any) -> tuple[Any, list[Found]]:
            value = coerce(raw)
            if valid(value):
                return value, _NOTHING
            return value, checker.faults(value)

        return read

    def _lenient_reader(self) -> Callable[[Any], tuple[Any, list[Found]]]:
        """For what may be null, or empty: an empty value that is no text counts as the default, or as null."""
        checker, coerce, can_be_null = self._checker, self._coerce, self.nullable
        empty = self._node.get("allowEmptyValue") is True and self.kind != "string"
        instead = None if self.default is MISSING else self.default

        def read(raw: Any) -> tuple[Any, list[Found]]:
            if can_be_null and is_null(raw):
                return None, _NOTHING
            if empty and raw in ("", [""]):
                return deepcopy(instead), _NOTHING
            value = coerce(raw)
            return value, _NOTHING if checker.valid(value) else checker.faults(value)

        return read


_NOTHING: list[Found] = []


def _json_reader(checker: Checker) -> Callable[[Any], tuple[Any, list[Found]]]:
    def read(raw: Any) -> tuple[Any, list[Found]]:
        try:
            value = parse_text(raw)
        except ValueError as err:
            return raw, [([], f"is not JSON: {err}")]
        return value, checker.faults(value)

    return read


def locate(where: str, found: list[Found]) -> list[Fault]:
    """Turn faults of a value into faults of the parameter at `where`."""
    faults = []
    for path, what in found:
        place = ".".join([where, *(str(step) for step in path)])
        faults.append(Fault(place, what, f"{what} - {place!r}"))
    return faults


def merged(into: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Lay `other` over `into`, object by object."""
    for key, value in other.items():
        known = into.get(key)
        into[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return into


def _swagger2_schema(node: Mapping[str, Any]) -> dict[str, Any]:
    outer = ("name", "in", "required", "description", "collectionFormat", "allowEmptyValue", "default")
    schema = {key: value for key, value in node.items() if key not in outer}
    if "collectionFormat" in node:
        schema["collectionFormat"] = node["collectionFormat"]
    return schema
