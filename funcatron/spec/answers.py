"""Answers of Funcs, checked against the responses that the spec declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from funcatron.spec.body import point
from funcatron.spec.compiler import Compiler
from funcatron.spec.faults import Fault
from funcatron.spec.jsontext import parse_bytes, parse_text
from funcatron.spec.media import MediaRanges, category, parse
from funcatron.spec.validator import Checker


class _Response:
    """One declared response."""

    def __init__(self, compiler: Compiler, node: Mapping[str, Any], where: str) -> None:
        headers = node.get("headers") or {}
        follow = compiler.document.follow
        self.headers = {
            name.lower(): name for name, header in headers.items() if follow(header).get("required") is True
        }
        self._nullable = node.get("x-nullable") is True
        self._ranges = MediaRanges(())
        self._checkers: dict[str, Checker] = {}
        if compiler.document.swagger2:
            schema = node.get("schema")
            if schema is not None and follow(schema).get("type") != "file":
                self._ranges = MediaRanges(("*/*",))
                self._checkers["*/*"] = compiler.checker(schema, where, "response")
        else:
            content = {key: media for key, media in (node.get("content") or {}).items() if "schema" in media}
            self._ranges = MediaRanges(content)
            self._checkers = {
                key: compiler.checker(media["schema"], f"{where}: {key}", "response") for key, media in content.items()
            }

    def body_faults(self, media_type: str, charset: str, body: bytes) -> list[Fault]:
        key = self._ranges.find(media_type)
        kind = category(media_type)
        if key is None or not (kind == "json" or media_type == "text/plain"):
            return []
        checker = self._checkers[key]
        try:
            value = (parse_bytes(body, charset) if body else None) if kind == "json" else body.decode(charset)
        except (ValueError, LookupError) as err:
            return [Fault("body", f"cannot be read: {err}", f"cannot be read: {err}")]
        if value is None and self._nullable:
            return []
        if checker.valid(value) or (kind == "text" and _valid_as_json(checker, str(value))):
            return []
        return point(checker.faults(value))


def _valid_as_json(checker: Checker, text: str) -> bool:
    """Numbers and booleans may be declared for text/plain as well."""
    try:
        return checker.valid(parse_text(text))
    except ValueError:
        return False


class Answers:
    """All declared responses of one operation."""

    def __init__(
        self, compiler: Compiler, responses: Mapping[str, Any], produces: tuple[str, ...], method: str, where: str
    ) -> None:
        self._produces = MediaRanges(produces)
        self._head = method == "HEAD"
        self._responses = {
            str(status).upper(): _Response(compiler, compiler.document.follow(node), f"{where}: response {status}")
            for status, node in responses.items()
            if not str(status).startswith("x-")
        }

    def check(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> list[dict[str, str]]:
        """Return the faults of an answer. What the spec does not declare is not judged, as in Connexion."""
        given = {name.lower(): value for name, value in reversed(headers)}
        faults: list[Fault] = []
        media_type, parameters = self._media_type(given)
        if status < 400 and self._produces.keys and self._produces.find(media_type) is None:
            what = f"Invalid Response Content-type ({media_type}), expected {list(self._produces.keys)}"
            faults.append(Fault("header.content-type", what, what))
        response = self._find(status)
        if response is not None:
            for lower, name in response.headers.items():
                if lower not in given:
                    what = f"Missing response header {name!r}"
                    faults.append(Fault(f"header.{name}", what, what))
            if not self._head and status not in (204, 304):
                faults += response.body_faults(media_type, parameters.get("charset", "utf-8"), body)
        return [fault.entry for fault in faults]

    def _media_type(self, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        header = headers.get("content-type")
        if header is not None:
            return parse(header)
        return (parse(self._produces.keys[0])[0] if self._produces.keys else "application/octet-stream"), {}

    def _find(self, status: int) -> _Response | None:
        found = self._responses
        return found.get(str(status)) or found.get(f"{status // 100}XX") or found.get("DEFAULT")


def conformance_detail(faults: Sequence[Mapping[str, str]]) -> str:
    """Say in one sentence why an answer is refused (`validate-responses: strict`)."""
    first = faults[0]
    if first["where"].startswith("body"):
        return f"Response body does not conform to specification. {first['what']}"
    if first["where"] == "header.content-type":
        return first["what"]
    missing = [
        fault["where"].removeprefix("header.").lower() for fault in faults if fault["where"].startswith("header.")
    ]
    return f"Keys in response header don't match response specification. Difference: {', '.join(missing)}"
