"""Frames between the Runner and a Func host: the same for every language.

A frame is two unsigned 32-bit numbers in network order, the length of the JSON and the length of the body, then that
JSON (an object in UTF-8 with kebab-case keys and a `type`), then the body's raw bytes. The types are described in
docs/adding-a-host-language.md. In a `call` the JSON has `context-length`: so many bytes at the body's start are the
context, a JSON object that a host only decodes when somebody asks for it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from json import dumps
from typing import Any

import orjson

from funcatron.errors import HostError

VERSION = 1
MAX_JSON = 16 * 1024 * 1024
MAX_BODY = 256 * 1024 * 1024
SMALL = 64 * 1024  # bodies up to this size are joined with what stands before them into one write

_HEAD = struct.Struct(">II")

Frame = tuple[dict[str, Any], bytes | bytearray | memoryview]


def encode(header: Mapping[str, Any], body_length: int = 0) -> bytes:
    """Return the frame's start: lengths and JSON; the caller sends `body_length` bytes after it."""
    try:
        json = orjson.dumps(header)
    except TypeError:  # an integer of more than 64 bits, which JSON may have
        json = dumps(header, ensure_ascii=False).encode()
    if len(json) > MAX_JSON or body_length > MAX_BODY:
        raise HostError(f"frame too large: {len(json)} bytes of JSON, {body_length} bytes of body")
    return _HEAD.pack(len(json), body_length) + json


class Decoder:
    """Decodes frames from pieces of any size. Large bodies are written once, into their final place."""

    def __init__(self) -> None:
        self._rest = b""
        self._header: dict[str, Any] | None = None  # of the frame whose large body is being filled
        self._body = bytearray()
        self._filled = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes. Raises HostError on what is not a frame; then close."""
        frames: list[Frame] = []
        if self._header is not None:
            data = self._fill(data, frames)
            if not data:
                return frames
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 8:
            json_length, body_length = _HEAD.unpack_from(data, at)
            if json_length > MAX_JSON or body_length > MAX_BODY:
                raise HostError(f"frame too large: {json_length} bytes of JSON, {body_length} bytes of body")
            body_at = at + 8 + json_length
            if end < body_at:
                break
            if end < body_at + body_length:
                if body_length <= SMALL:
                    break
                self._header = _decode(data[at + 8 : body_at])
                self._body = bytearray(body_length)
                self._filled = 0
                self._rest = b""
                self._fill(data[body_at:], frames)
                return frames
            frames.append((_decode(data[at + 8 : body_at]), data[body_at : body_at + body_length]))
            at = body_at + body_length
        self._rest = data[at:] if at else data
        return frames

    def _fill(self, data: bytes, frames: list[Frame]) -> bytes:
        """Copy `data` into the open body; return what is left when the body is complete."""
        assert self._header is not None
        wanted = len(self._body) - self._filled
        piece = data if len(data) <= wanted else memoryview(data)[:wanted]
        self._body[self._filled : self._filled + len(piece)] = piece
        self._filled += len(piece)
        if self._filled < len(self._body):
            return b""
        frames.append((self._header, self._body))
        self._header, self._body = None, bytearray()
        return data[len(piece) :]


def _decode(json: bytes) -> dict[str, Any]:
    try:
        header = orjson.loads(json)
    except orjson.JSONDecodeError as err:
        raise HostError(f"a frame's JSON cannot be decoded: {err}") from err
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise HostError("a frame's JSON is not an object with a type")
    return header
