"""From method and raw path to the operation: concrete segments before templated ones, typed before free ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from funcatron.spec.faults import MethodNotAllowed, NoSuchPath, Redirect

if TYPE_CHECKING:
    from funcatron.spec.operation import Operation

Methods = dict[str, "Operation"]
PathParams = dict[str, str]
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)\Z", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+\Z", re.ASCII)
_TESTS: dict[str, Callable[[str], object]] = {"integer": _INTEGER.match, "number": _NUMBER.match}
_RANK = {"integer": 0, "number": 1, "": 3}


class Match:
    """What a method and a path lead to. `operation` is None for the automatic answer to OPTIONS (204 + `allow`)."""

    __slots__ = ("allow", "head", "operation", "path_params")

    def __init__(
        self,
        operation: Operation | None,
        path_params: PathParams,
        head: bool = False,
        allow: tuple[str, ...] = (),
    ) -> None:
        self.operation = operation
        self.path_params = path_params
        self.head = head
        self.allow = allow


class _Node:
    """One level of the tree of segments."""

    __slots__ = ("branches", "concrete", "methods", "tails")

    def __init__(self) -> None:
        self.concrete: dict[str, _Node] = {}
        self.branches: list[tuple[_Segment, _Node]] = []
        self.tails: list[tuple[str, _Node]] = []  # parameters that take any number of segments
        self.methods: Methods = {}

    def ends(self, segments: list[str], index: int) -> Iterable[int]:
        """Return where a parameter that leads here, and takes segments from `index` on, may end: the longest first."""
        if self.concrete or self.branches or self.tails:
            return range(len(segments), index, -1)
        return (len(segments),)


class _Segment:
    """A segment with parameters in it: a whole typed one, or text and parameters mixed."""

    __slots__ = ("key", "names", "rank", "read")

    def __init__(self, text: str, types: Mapping[str, str]) -> None:
        self.names = tuple(_TEMPLATE.findall(text))
        self.read: Callable[[str], tuple[str, ...] | None]
        if _TEMPLATE.fullmatch(text):
            kind = types.get(self.names[0], "")
            kind = kind if kind in _TESTS else ""
            self.rank: tuple[int, int] = (_RANK[kind], 0)
            self.read = _whole(_TESTS.get(kind))
        else:
            self.rank = (2, -len(_TEMPLATE.sub("", text)))
            self.read = _mixed(text, types, self.names)
        self.key = (text, self.rank)


def _whole(test: Callable[[str], object] | None) -> Callable[[str], tuple[str, ...] | None]:
    def read(segment: str) -> tuple[str, ...] | None:
        return (segment,) if segment and (test is None or test(segment)) else None

    return read


def _mixed(text: str, types: Mapping[str, str], names: tuple[str, ...]) -> Callable[[str], tuple[str, ...] | None]:
    parts = _TEMPLATE.split(text)
    last = len(parts) - 2  # names stand at the odd places; the last one takes what is left
    pattern = "".join(
        re.escape(part) if i % 2 == 0 else "(.+)" if i == last else "(.+?)" for i, part in enumerate(parts)
    )
    match = re.compile(pattern, re.DOTALL).fullmatch
    tests = [_TESTS.get(types.get(name, "")) for name in names]

    def read(segment: str) -> tuple[str, ...] | None:
        found = match(segment)
        if found is None or not all(test is None or test(v) for test, v in zip(tests, found.groups(), strict=True)):
            return None
        return found.groups()

    return read


class Router:
    """All operations of an Api by path and method."""

    def __init__(self, base_path: str) -> None:
        self._base = "" if base_path == "/" else base_path
        self._static: dict[str, Methods] = {}
        self._root = _Node()

    def add(self, operation: Operation, types: Mapping[str, str]) -> None:
        """Add an operation; `types` are the types of its path parameters (`path`: any number of segments)."""
        template = operation.path
        if "{" not in template:
            self._static.setdefault(self._base + template, {})[operation.method] = operation
        node = self._root
        for text in template.split("/")[1:]:
            names = _TEMPLATE.findall(text)
            if not names:
                node = node.concrete.setdefault(text, _Node())
            elif types.get(names[0]) == "path" and _TEMPLATE.fullmatch(text):
                node = self._tail(node, names[0])
            else:
                node = self._branch(node, _Segment(text, types))
        node.methods[operation.method] = operation

    @staticmethod
    def _tail(node: _Node, name: str) -> _Node:
        for known, child in node.tails:
            if known == name:
                return child
        node.tails.append((name, _Node()))
        return node.tails[-1][1]

    @staticmethod
    def _branch(node: _Node, segment: _Segment) -> _Node:
        for known, child in node.branches:
            if known.key == segment.key:
                return child
        child = _Node()
        node.branches.append((segment, child))
        node.branches.sort(key=lambda pair: pair[0].rank)
        return child

    def match(self, method: str, path: str) -> Match:
        """Return what `method` and the raw `path` lead to; raises NoSuchPath, Redirect or MethodNotAllowed."""
        methods = self._static.get(path)
        if methods is not None:
            operation = methods.get(method)
            if operation is not None:
                return Match(operation, {})
        segments = self._segments(path)
        if segments is not None:
            found = _find(self._root, segments, 0, method)
            if found is not None:
                return Match(found[0], dict(found[1]))
        return self._search(method, path)

    def _search(self, method: str, path: str) -> Match:
        """Find what else the path may mean: HEAD by GET, OPTIONS, another method, a wrong slash."""
        allowed: dict[str, None] = {}
        head: Match | None = None
        for methods, params in self._candidates(path):
            if method == "HEAD" and head is None and "GET" in methods:
                head = Match(methods["GET"], params, head=True)
            allowed.update(dict.fromkeys(methods))
        if head is not None:
            return head
        if not allowed:
            self._miss(path)
        if "GET" in allowed:
            allowed["HEAD"] = None
        allowed["OPTIONS"] = None
        allow = tuple(sorted(allowed))
        if method == "OPTIONS":
            return Match(None, {}, allow=allow)
        raise MethodNotAllowed(allow)

    def _miss(self, path: str) -> None:
        other = path[:-1] if path.endswith("/") else f"{path}/"
        # a location that starts with two slashes would lead to another host
        if other and not other.startswith("//") and next(self._candidates(other), None) is not None:
            raise Redirect(other)
        raise NoSuchPath(path)

    def _candidates(self, path: str) -> Iterator[tuple[Methods, PathParams]]:
        """Yield every set of methods that the path leads to, the most specific first."""
        segments = self._segments(path)
        if segments is not None:
            yield from _walk(self._root, segments, 0, ())

    def _segments(self, path: str) -> list[str] | None:
        """Return the decoded segments after the base path; None where the path is not below it."""
        base = self._base
        if base and not (path.startswith(base) and path[len(base) : len(base) + 1] == "/"):
            decoded = _decoded_base(path, base)
            if decoded is None:
                return None
            path, base = decoded, ""
        raw = path[len(base) :].split("/")
        if len(raw) < 2 or raw[0]:
            return None
        return raw[1:] if "%" not in path else [unquote(segment) for segment in raw[1:]]


def _decoded_base(path: str, base: str) -> str | None:
    """Return the rest of a path whose base path came percent-encoded; None if it is another one."""
    if "%" not in path:
        return None
    count = base.count("/")
    raw = path.split("/")
    if len(raw) <= count + 1 or [unquote(part) for part in raw[: count + 1]] != base.split("/"):
        return None
    return "/" + "/".join(raw[count + 1 :])


_Found = tuple["Operation", list[tuple[str, str]]]


def _find(node: _Node, segments: list[str], index: int, method: str) -> _Found | None:
    """Return the most specific operation with this method, without looking further."""
    if index == len(segments):
        operation = node.methods.get(method)
        return None if operation is None else (operation, [])
    segment = segments[index]
    child = node.concrete.get(segment)
    if child is not None:
        found = _find(child, segments, index + 1, method)
        if found is not None:
            return found
    for reader, branch in node.branches:
        values = reader.read(segment)
        if values is not None:
            found = _find(branch, segments, index + 1, method)
            if found is not None:
                found[1].extend(zip(reader.names, values, strict=True))
                return found
    for name, child in node.tails:
        for end in child.ends(segments, index):
            found = _find(child, segments, end, method)
            if found is not None:
                found[1].append((name, "/".join(segments[index:end])))
                return found
    return None


def _walk(
    node: _Node, segments: list[str], index: int, values: tuple[tuple[str, str], ...]
) -> Iterator[tuple[Methods, PathParams]]:
    if index == len(segments):
        if node.methods:
            yield node.methods, dict(values)
        return
    segment = segments[index]
    child = node.concrete.get(segment)
    if child is not None:
        yield from _walk(child, segments, index + 1, values)
    for reader, branch in node.branches:
        found = reader.read(segment)
        if found is not None:
            yield from _walk(branch, segments, index + 1, (*values, *zip(reader.names, found, strict=True)))
    for name, child in node.tails:
        for end in child.ends(segments, index):
            yield from _walk(child, segments, end, (*values, (name, "/".join(segments[index:end]))))
