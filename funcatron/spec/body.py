"""The request body: which media type it has, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Protocol

from funcatron.spec.compiler import Compiler
from funcatron.spec.faults import Fault
from funcatron.spec.form import FormReader
from funcatron.spec.jsontext import UTF8, parse_bytes
from funcatron.spec.media import FORMS, MediaRanges, category, parse
from funcatron.spec.parameters import MISSING
from funcatron.spec.request import Arguments, Request
from funcatron.spec.validator import Found, Missing


class Reader(Protocol):
    """Reads bodies of one media type into the arguments; adds faults."""

    arguments: frozenset[str]

    def read(
        self, body: bytes, media_type: str, parameters: Mapping[str, str], arguments: Arguments, faults: list[Fault]
    ) -> None: ...


class Body:
    """The declared body of one operation. Without a declaration (`content` empty) only the media type is checked."""

    def __init__(
        self,
        compiler: Compiler,
        content: Mapping[str, Mapping[str, Any]],
        where: str,
        *,
        name: str,
        required: bool,
        declared: bool,
        by_name: bool,
        strict: bool,
    ) -> None:
        self.name = name
        self._ranges = MediaRanges(content)
        self._declared = declared
        self._only_fields = by_name and all(category(parse(key)[0]) in ("urlencoded", "multipart") for key in content)
        self._first = parse(next(iter(content)))[0] if content else "application/octet-stream"
        self._readers: dict[tuple[str, str], Reader] = {}
        if declared:
            for key, media in content.items():
                kinds = _categories(key)
                for kind in kinds:
                    at = f"{where}: body {key}"
                    self._readers[key, kind] = _reader(
                        compiler, media, kind, at, required=required, by_name=by_name, strict=strict
                    )

    @property
    def arguments(self) -> frozenset[str]:
        """The arguments that bodies can supply: the body itself, or the fields of a 2.0 form; and files."""
        if not self._declared:
            return frozenset()
        own: frozenset[str] = frozenset() if self._only_fields else frozenset((self.name,))
        return own.union(*(reader.arguments for reader in self._readers.values()))

    def read(self, request: Request, arguments: Arguments, faults: list[Fault]) -> bool:
        """Put the body into `arguments`. Returns False, with a fault, where the media type is not accepted."""
        header = request.header("content-type")
        if header is None:
            media_type, parameters = self._first, _NO_PARAMETERS
        else:
            media_type, parameters = parse(header)
        key = self._ranges.find(media_type)
        if key is None:
            if self._ranges.keys and (self._declared or request.body):
                detail = f"Invalid Content-type ({media_type}), expected {list(self._ranges.keys)}"
                faults.append(Fault("header.content-type", detail, detail))
                return False
            return True
        if self._declared:
            arguments.body_name = self.name
            self._readers[key, category(media_type)].read(request.body, media_type, parameters, arguments, faults)
        return True


_NO_PARAMETERS: dict[str, str] = {}


def _categories(key: str) -> tuple[str, ...]:
    kind = parse(key)[0]
    return (category(kind),) if "*" not in kind else ("json", "urlencoded", "multipart", "text", "other")


def _reader(
    compiler: Compiler,
    media: Mapping[str, Any],
    kind: str,
    where: str,
    *,
    required: bool,
    by_name: bool,
    strict: bool,
) -> Reader:
    schema = media.get("schema", {})
    if kind == "json":
        return JsonReader(compiler, schema, media.get("x-nullable") is True, where, required=required)
    if kind in ("urlencoded", "multipart"):
        encoding = media.get("encoding") or {}
        return FormReader(compiler, schema, encoding, where, by_name=by_name, strict=strict)
    return RawReader(compiler, schema, where, text=kind == "text", required=required)


class JsonReader:
    """JSON bodies, checked by their schema."""

    arguments: frozenset[str] = frozenset()

    def __init__(self, compiler: Compiler, schema: Any, is_nullable: bool, where: str, *, required: bool) -> None:
        node = compiler.document.follow(schema)
        self._default = node.get("default", MISSING) if isinstance(node, dict) else MISSING
        if self._default is None:
            self._default = MISSING
        self._required = required
        self._checker = compiler.checker(schema, where)
        self._nullable = is_nullable or self._checker.valid(None)
        if self._default is not MISSING:
            for _, what in self._checker.faults(self._default)[:1]:
                compiler.problem(where, f"the default does not fit its schema: {what}")

    def read(
        self, body: bytes, media_type: str, parameters: Mapping[str, str], arguments: Arguments, faults: list[Fault]
    ) -> None:
        arguments.body_kind = "json"
        if not body:
            self._absent(arguments, faults)
            return
        try:
            value = parse_bytes(body, parameters.get("charset"))
        except ValueError as err:
            faults.append(Fault("body", str(err), str(err)))
            return
        if value is None and self._nullable:
            return
        if value is None:
            faults.append(_EMPTY)
        elif not self._checker.valid(value):
            faults.extend(point(self._checker.faults(value)))
        arguments.body = value
        arguments.verbatim = parameters.get("charset", "utf-8").lower() in UTF8

    def _absent(self, arguments: Arguments, faults: list[Fault]) -> None:
        if self._default is not MISSING:
            arguments.body = deepcopy(self._default)
        elif self._required:
            faults.append(Fault("body", "RequestBody is required", "RequestBody is required"))
        elif not self._nullable:
            faults.append(_EMPTY)


_EMPTY = Fault("body", "Request body must not be empty", "Request body must not be empty")


class RawReader:
    """Everything else passes as it is; text is decoded, and checked where its schema declares a string."""

    arguments: frozenset[str] = frozenset()

    def __init__(self, compiler: Compiler, schema: Any, where: str, *, text: bool, required: bool) -> None:
        self._text = text
        self._required = required
        node = compiler.document.follow(schema)
        declared = text and isinstance(node, dict) and node.get("type") == "string"
        self._checker = compiler.checker(schema, where) if declared else None

    def read(
        self, body: bytes, media_type: str, parameters: Mapping[str, str], arguments: Arguments, faults: list[Fault]
    ) -> None:
        if not body and self._required:
            faults.append(Fault("body", "RequestBody is required", "RequestBody is required"))
        if not self._text:
            arguments.body_kind = "binary"
            return
        charset = parameters.get("charset", "utf-8")
        try:
            value = body.decode(charset)
        except (UnicodeDecodeError, LookupError):
            what = f"the body is not {charset} text"
            faults.append(Fault("body", what, what))
            return
        arguments.body_kind, arguments.body = "text", value
        arguments.verbatim = charset.lower() in UTF8
        if body and self._checker is not None and not self._checker.valid(value):
            faults.extend(point(self._checker.faults(value)))


def point(found: list[Found]) -> list[Fault]:
    """Turn faults of a JSON body into faults with a JSON pointer; the detail has the dotted path, as Connexion's."""
    faults = []
    for path, what in found:
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
        there = path[:-1] if path and isinstance(path[-1], Missing) else path
        dotted = ".".join(str(step) for step in there)
        faults.append(Fault(f"body#{pointer}", what, f"{what} - {dotted!r}" if dotted else what))
    return faults


def form_content(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of `kinds` are forms; both forms where none is, for a 2.0 operation that has form parameters."""
    forms = tuple(kind for kind in kinds if parse(kind)[0] in FORMS or "*" in kind)
    return forms or FORMS
