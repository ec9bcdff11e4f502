"""From the bytes of one spec file to plain data: JSON or YAML, nothing but JSON's types, with limits.

YAML is built from libyaml's events rather than by PyYAML's constructor, which accepts duplicate keys in silence, makes
dates of strings, and lets a few aliases stand for a billion nodes.
"""

from __future__ import annotations

import json
import math
from typing import Any

import yaml

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 400_000  # with every alias expanded
MAX_DEPTH = 150

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTRUCT = yaml.constructor.SafeConstructor()
_MERGE = "\0<<"
_TAG = "tag:yaml.org,2002:"
_SCALARS: dict[str, Any] = {
    "null": lambda node: None,
    "bool": _CONSTRUCT.construct_yaml_bool,
    "int": _CONSTRUCT.construct_yaml_int,
    "float": _CONSTRUCT.construct_yaml_float,
    "str": lambda node: node.value,
}
_IMPLICIT: dict[str, list[tuple[str, Any]]] = {
    first: [(tag[len(_TAG) :], pattern) for tag, pattern in rules if tag[len(_TAG) :] in _SCALARS]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Unreadable(Exception):
    """The file is not JSON or YAML, or breaks a limit; the text has the place."""


def read(name: str, data: bytes) -> Any:
    """Return the content of the file `name`; raises Unreadable."""
    if len(data) > MAX_BYTES:
        raise Unreadable(f"{name}: is larger than {MAX_BYTES // 1024 // 1024} MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise Unreadable(f"{name}: is not UTF-8 text (byte {err.start})") from err
    try:
        return _read_json(name, text) if name.endswith(".json") else _Builder(name).build(text)
    except RecursionError as err:
        raise Unreadable(f"{name}: is nested too deeply") from err


def _read_json(name: str, text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            for key, value in pairs:
                if _meaning(value) != _meaning(result[key]):
                    raise Unreadable(f"{name}: duplicate key {key!r}")
        return result

    def refuse(constant: str) -> Any:
        raise Unreadable(f"{name}: {constant} is not JSON")

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except ValueError as err:
        raise Unreadable(f"{name}: is not JSON: {err}") from err
    _measure(name, value)
    return value


def _measure(name: str, value: Any) -> None:
    """Hold data that was parsed elsewhere to the same limits, without recursion."""
    level, nodes, depth = [value], 1, 0
    while level:
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        nodes, depth = nodes + len(level), depth + 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise Unreadable(f"{name}: has more than {MAX_DEPTH} levels or {MAX_NODES} nodes")


def _meaning(value: Any) -> Any:
    """Return a value without what only people read: a key may stand twice if both times it says the same."""
    if isinstance(value, dict):
        return {key: _meaning(part) for key, part in value.items() if key not in ("description", "summary")}
    return [_meaning(part) for part in value] if isinstance(value, list) else value


class _Frame:
    """An object or array that is being filled."""

    __slots__ = ("anchor", "key", "merged", "start", "twice", "value")

    def __init__(self, value: dict[str, Any] | list[Any], anchor: str | None, start: int) -> None:
        self.value = value
        self.anchor = anchor
        self.start = start
        self.key: str | None = None
        self.merged: list[Any] = []
        self.twice: list[tuple[str, Any, str]] = []


class _Builder:
    """Builds one document; keeps count of its nodes as if each alias were written out."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes = 0
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._result: list[Any] = []

    def build(self, text: str) -> Any:
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except yaml.YAMLError as err:
            mark = getattr(err, "problem_mark", None)
            what = getattr(err, "problem", None) or str(err)
            raise Unreadable(f"{self._at(mark)}: {what}") from err
        if len(self._result) != 1:
            raise Unreadable(f"{self._name}: has {len(self._result) or 'no'} documents, not one")
        return self._result[0]

    def _at(self, mark: Any) -> str:
        return self._name if mark is None else f"{self._name}:{mark.line + 1}:{mark.column + 1}"

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(event)

    def _scalar(self, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._key(frame, event)
            return
        self._count(1, event)
        value = self._value(event)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._add(value)

    def _key(self, frame: _Frame, event: Any) -> None:
        key = event.value
        if key == "<<" and event.implicit[0]:
            frame.key = _MERGE
            return
        if key in frame.value:
            frame.twice.append((key, frame.value[key], self._at(event.start_mark)))
        frame.key = key

    def _value(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        if tag is not None and tag != "!":
            kind = tag[len(_TAG) :] if tag.startswith(_TAG) else ""
        elif event.implicit[0]:
            rules = _IMPLICIT.get(text[:1], [])
            kind = next((kind for kind, pattern in rules if pattern.match(text)), "str")
        else:
            kind = "str"
        convert = _SCALARS.get(kind)
        if convert is None:
            raise Unreadable(f"{self._at(event.start_mark)}: the tag {tag} is not allowed")
        try:
            value = convert(yaml.ScalarNode(f"{_TAG}{kind}", text))
        except (ValueError, KeyError) as err:
            raise Unreadable(f"{self._at(event.start_mark)}: {text[:40]!r} is not a {kind}") from err
        if isinstance(value, float) and not math.isfinite(value):
            raise Unreadable(f"{self._at(event.start_mark)}: {text} is not JSON")
        return value

    def _alias(self, event: Any) -> None:
        known = self._anchors.get(event.anchor)
        if known is None:
            raise Unreadable(f"{self._at(event.start_mark)}: the alias *{event.anchor} is unknown or contains itself")
        self._count(known[1], event)
        frame = self._stack[-1]
        if isinstance(frame.value, dict) and frame.key is None:
            raise Unreadable(f"{self._at(event.start_mark)}: a key must be text")
        self._add(known[0])

    def _open(self, event: Any) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            raise Unreadable(f"{self._at(event.start_mark)}: a key must be text")
        if event.tag not in (None, "!", f"{_TAG}map", f"{_TAG}seq"):
            raise Unreadable(f"{self._at(event.start_mark)}: the tag {event.tag} is not allowed")
        if len(self._stack) >= MAX_DEPTH:
            raise Unreadable(f"{self._at(event.start_mark)}: is nested deeper than {MAX_DEPTH} levels")
        self._count(1, event)
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Frame(value, event.anchor, self._nodes - 1))

    def _close(self, event: Any) -> None:
        frame = self._stack.pop()
        if isinstance(frame.value, dict):
            for key, first, where in frame.twice:
                if _meaning(first) != _meaning(frame.value[key]):
                    raise Unreadable(f"{where}: duplicate key {key!r}")
            for source in frame.merged:
                for part in source if isinstance(source, list) else [source]:
                    if not isinstance(part, dict):
                        raise Unreadable(f"{self._at(event.start_mark)}: << needs an object or a list of objects")
                    frame.value.update({key: part[key] for key in part if key not in frame.value})
        if frame.anchor:
            self._anchors[frame.anchor] = (frame.value, self._nodes - frame.start)
        self._add(frame.value)

    def _add(self, value: Any) -> None:
        if not self._stack:
            self._result.append(value)
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key == _MERGE:
            frame.merged.append(value)
            frame.key = None
        elif frame.key is not None:
            frame.value[frame.key] = value
            frame.key = None

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise Unreadable(f"{self._at(event.start_mark)}: has more than {MAX_NODES} nodes (aliases count in full)")
