"""One self-contained document made of all spec files of a bundle: every `$ref` in it is local."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from funcatron.errors import BadSpec
from funcatron.spec.reader import MAX_NODES, Unreadable, read

ENTRIES = ("funcatron.yaml", "funcatron.yml", "funcatron.json")
FILES_KEY = "x-funcatron-files"
_VALUES = frozenset({"example", "default", "enum", "const", "value"})  # under these keys stands data, not spec
_NAMED = frozenset(
    {"properties", "patternProperties", "definitions", "schemas", "parameters", "responses", "headers", "$defs",
     "requestBodies", "securitySchemes", "securityDefinitions", "links", "callbacks", "examples", "paths", "pathItems",
     "dependentSchemas", "encoding", "content", "variables", "webhooks"}
)  # fmt: skip  # under these keys stand names that the author chose


class Document:
    """The merged tree, and look-ups in it."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root

    @property
    def swagger2(self) -> bool:
        return "swagger" in self.root

    @property
    def openapi31(self) -> bool:
        return str(self.root.get("openapi", "")).startswith("3.1")

    def target(self, ref: str) -> Any:
        """Return what a local reference points at; raises KeyError."""
        node: Any = self.root
        for part in _parts(ref):
            if isinstance(node, list):
                if not part.isdecimal() or int(part) >= len(node):
                    raise KeyError(ref)
                node = node[int(part)]
                continue
            if isinstance(node, dict) and part not in node and isinstance(node.get("$ref"), str):
                node = self.follow(node)
            if not isinstance(node, dict) or part not in node:
                raise KeyError(ref)
            node = node[part]
        return node

    def follow(self, node: Any) -> Any:
        """Return `node`, or what its chain of references ends at. Keys beside a `$ref` fill what the target lacks."""
        seen: set[str] = set()
        beside: dict[str, Any] = {}
        while isinstance(node, dict) and isinstance(node.get("$ref"), str):
            ref = node["$ref"]
            if ref in seen:
                raise KeyError(f"{ref} refers to itself")
            seen.add(ref)
            beside = {**{key: value for key, value in node.items() if key != "$ref"}, **beside}
            node = self.target(ref)
        return {**beside, **node} if beside and isinstance(node, dict) else node


def load_document(files: Mapping[str, bytes], entry: str | None = None) -> Document:
    """Read `entry` (funcatron.yaml, .yml or .json by default) and what it refers to; raises BadSpec with all faults."""
    if entry is None:
        found = [name for name in ENTRIES if name in files]
        if not found:
            raise BadSpec(f"no spec: a bundle needs one of {', '.join(ENTRIES)} at its root")
        if len(found) > 1:
            raise BadSpec(f"more than one spec at the root of the bundle: {', '.join(found)}")
        entry = found[0]
    return _Merger(files, entry).merge()


def _parts(ref: str) -> list[str]:
    pointer = unquote(ref[1:])
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


class _Merger:
    """Copies the entry file and every file it refers to into one tree, and rewrites references on the way."""

    def __init__(self, files: Mapping[str, bytes], entry: str) -> None:
        self._files = files
        self._entry = entry
        self._order: list[str] = []
        self._problems: list[str] = []
        self._refs: list[tuple[str, str, str]] = []
        self._nodes = 0

    def merge(self) -> Document:
        root = self._file(self._entry)
        if not isinstance(root, dict):
            self._problems = self._problems or [f"{self._entry}: is not an object"]
            raise BadSpec("the spec cannot be read", self._problems)
        root = self._copy(root, self._entry, "", named=False)
        others: list[Any] = []
        while len(others) < len(self._order):
            name = self._order[len(others)]
            others.append(self._copy(self._file(name), name, "", named=False))
        if others:
            root[FILES_KEY] = others
        document = Document(root)
        self._check(document)
        if self._problems:
            raise BadSpec("the spec cannot be read", self._problems)
        return document

    def _file(self, name: str) -> Any:
        if name not in self._files:
            self._problems.append(f"{name}: is not in the bundle")
            return None
        try:
            return read(name, self._files[name])
        except Unreadable as err:
            self._problems.append(str(err))
            return None

    def _copy(self, node: Any, file: str, where: str, *, named: bool) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise BadSpec(f"the spec has more than {MAX_NODES} nodes")
        if isinstance(node, list):
            return [self._copy(item, file, f"{where}.{i}", named=False) for i, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        copy: dict[str, Any] = {}
        for key, value in node.items():
            place = f"{where}.{key}" if where else key
            if key == "$ref" and isinstance(value, str) and not named:
                copy[key] = self._reference(value, file, place)
            elif key in _VALUES and not named:
                copy[key] = value
            else:
                copy[key] = self._copy(value, file, place, named=key in _NAMED and not named)
        return copy

    def _reference(self, ref: str, file: str, where: str) -> str:
        url = urlsplit(ref)
        if url.scheme or url.netloc:
            self._problems.append(f"{file}: {where}: {ref} is outside the bundle; only files in it can be referred to")
            return ref
        if url.fragment and not url.fragment.startswith("/"):
            self._problems.append(f"{file}: {where}: {ref} is not a JSON pointer")
            return ref
        path = unquote(url.path)
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), path)) if path else file
        if target.startswith(("/", "..")):
            self._problems.append(f"{file}: {where}: {ref} is outside the bundle")
            return ref
        if target == self._entry:
            local = f"#{url.fragment}"
        else:
            if target not in self._order:
                self._order.append(target)
            local = f"#/{FILES_KEY}/{self._order.index(target)}{url.fragment}"
        self._refs.append((f"{file}: {where}", ref, local))
        return local

    def _check(self, document: Document) -> None:
        for where, ref, local in self._refs:
            try:
                document.follow({"$ref": local})
            except KeyError as err:
                loop = "refers to itself" in str(err)
                self._problems.append(f"{where}: {ref} {'refers to itself' if loop else 'leads nowhere'}")
            except RecursionError:
                self._problems.append(f"{where}: {ref} refers to itself")
