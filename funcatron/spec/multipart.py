"""multipart/form-data bodies taken apart (RFC 7578)."""

from __future__ import annotations

import logging
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

_SILENT = logging.getLogger("funcatron.spec.multipart.parser")  # what clients send wrong is answered, not logged
_SILENT.disabled = True
MAX_PARTS = 2_000
MAX_HEADER_BYTES = 16 * 1024


class Malformed(ValueError):
    """The body is not what its content type says."""


class Part:
    """One part: a field, or a file where it has a file name."""

    __slots__ = ("charset", "content_type", "data", "filename", "name")

    def __init__(self, name: str, filename: str | None, content_type: str, charset: str, data: bytes) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.charset = charset
        self.data = data

    def text(self) -> str:
        """Return the value of a field; raises Malformed."""
        try:
            return self.data.decode(self.charset)
        except (UnicodeDecodeError, LookupError) as err:
            raise Malformed(f"the field {self.name!r} is not {self.charset} text") from err


def parse_multipart(body: bytes, boundary: str, charset: str) -> list[Part]:
    """Return the parts of `body` in their order; raises Malformed."""
    if not boundary:
        raise Malformed("the content type has no boundary")
    collector = _Collector(charset)
    try:
        parser = MultipartParser(boundary.encode("latin-1"), collector.callbacks())
        parser.logger = _SILENT
        parser.write(body)
        parser.finalize()
    except (MultipartParseError, UnicodeEncodeError) as err:
        raise Malformed(f"the multipart body is malformed: {err}") from err
    if not collector.ended:
        raise Malformed("the multipart body ends before its last boundary")
    return collector.parts


class _Collector:
    """Receives the parser's events."""

    def __init__(self, charset: str) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._charset = charset
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[str, bytes] = {}
        self._data = bytearray()
        self._size = 0

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise Malformed(f"the multipart body has more than {MAX_PARTS} parts")
        self._headers, self._data, self._size = {}, bytearray(), 0

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._value += data[start:end]

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEADER_BYTES:
            raise Malformed("a part of the multipart body has too large headers")

    def _header_end(self) -> None:
        self._headers[bytes(self._name).decode("latin-1").lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _part_end(self) -> None:
        disposition, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name")
        if disposition != b"form-data" or name is None:
            raise Malformed("a part of the multipart body has no name")
        filename = options.get(b"filename")
        content_type, parameters = parse_options_header(self._headers.get("content-type", b""))
        charset = parameters.get(b"charset", self._charset.encode()).decode("latin-1")
        self.parts.append(
            Part(
                _text(name),
                None if filename is None else _text(filename),
                content_type.decode("latin-1").lower(),
                charset,
                bytes(self._data),
            )
        )
        self._data = bytearray()

    def _end(self) -> None:
        self.ended = True


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
