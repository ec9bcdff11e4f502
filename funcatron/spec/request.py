"""The values that go into the engine and come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

BodyKind = Literal["none", "json", "text", "form", "binary"]
Headers = Mapping[str, "str | list[str]"]


class Request:
    """One HTTP request as it came: raw path and query, lower-case header names, undecoded body."""

    __slots__ = ("body", "headers", "method", "path", "query")

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        query: str = "",
        headers: Headers | None = None,
        body: bytes = b"",
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers: Headers = {} if headers is None else headers
        self.body = body

    def header(self, name: str) -> str | None:
        """Return a header by its lower-case name; of repeated ones the first."""
        value = self.headers.get(name)
        return value if value is None or isinstance(value, str) else value[0] if value else None

    def cookies(self) -> str:
        """Return all cookies as one header; HTTP/2 may send several (RFC 9113 section 8.2.3)."""
        value = self.headers.get("cookie", "")
        return value if isinstance(value, str) else "; ".join(value)


class FilePart:
    """One uploaded file.

    `name` is the argument's name, `many` says that the argument is a list of files, whatever their number.
    """

    __slots__ = ("content_type", "data", "filename", "many", "name")

    def __init__(self, name: str, filename: str, content_type: str, data: bytes, many: bool = False) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.data = data
        self.many = many


class Arguments:
    """What the Func is called with.

    `params` by argument name; `body` under `body_name` unless `body_kind` is `none`. `verbatim` says that `body` is
    just what the raw bytes mean as UTF-8 JSON or text: whoever has these bytes need not be sent the value again.
    """

    __slots__ = ("body", "body_kind", "body_name", "files", "params", "verbatim")

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.body: Any = None
        self.body_name = "body"
        self.body_kind: BodyKind = "none"
        self.files: list[FilePart] = []
        self.verbatim = False
