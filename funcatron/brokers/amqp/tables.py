"""Field tables (AMQP 0-9-1, section 4.2.5.5, and RabbitMQ's errata): of strings encoded, of anything decoded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from struct import Struct

from funcatron.brokers.amqp.codec import short

_LONG = Struct(">I")
_LONGLONG = Struct(">Q")
_STRING = 0x53
_MAX_DEPTH = 32
_MAX_NAMES = 1024
_names: dict[bytes, str] = {}  # of headers: a few, again and again


def encode(items: Mapping[str, str]) -> bytes:
    """Encode a field table of strings."""
    parts: list[bytes] = []
    for name, value in items.items():
        raw = value.encode("utf-8", "surrogateescape")
        parts += (short(name), b"S", _LONG.pack(len(raw)), raw)
    body = b"".join(parts)
    return _LONG.pack(len(body)) + body


def decode(raw: bytes, at: int) -> tuple[dict[str, str], int]:
    """Decode a table at an offset into strings; returns it and the offset behind it.

    Raises ValueError, IndexError or struct.error when it is malformed.
    """
    end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
    at += 4
    if end > len(raw):
        raise ValueError("a table is longer than what is there")
    found: dict[str, str] = {}
    while at < end:
        start = at + 1
        at = start + raw[at]
        name = _names.get(raw[start:at]) or _name(raw[start:at])
        if raw[at] == _STRING:  # what nearly all are
            start = at + 5
            at = start + int.from_bytes(raw[at + 1 : start], "big")
            found[name] = raw[start:at].decode("utf-8", "replace")
        else:
            value, at = _field(raw, at, 0)
            found[name] = as_text(value)
    if at != end:
        raise ValueError("a table's fields do not fit its length")
    return found, end


def _name(raw: bytes) -> str:
    name = _text(raw)
    if len(_names) >= _MAX_NAMES:
        _names.clear()
    _names[raw] = name
    return name


def as_text(value: object) -> str:
    """Write a decoded field as a string: `true`/`false`, ISO 8601 times, JSON-like lists and tables, "" for void."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {as_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_text, value)) + "]"
    return str(value)


# type byte and the format that it stands for
_PAIRS = ("bb", "BB", "sh", "uH", "Ii", "iI", "lq", "Lq", "ff", "dd")
_NUMBERS = {ord(pair[0]): Struct(">" + pair[1]) for pair in _PAIRS}


def _field(raw: bytes, at: int, depth: int) -> tuple[object, int]:
    """Decode one field value (type byte first) at an offset."""
    if depth > _MAX_DEPTH:
        raise ValueError("tables are nested too deeply")
    kind = raw[at]
    at += 1
    number = _NUMBERS.get(kind)
    if number is not None:
        return number.unpack_from(raw, at)[0], at + number.size
    match chr(kind):
        case "S" | "x":
            (size,) = _LONG.unpack_from(raw, at)
            return _text(raw[at + 4 : at + 4 + size]), at + 4 + size
        case "t":
            return raw[at] != 0, at + 1
        case "V":
            return None, at
        case "T":
            return _time(_LONGLONG.unpack_from(raw, at)[0]), at + 8
        case "D":
            (scaled,) = Struct(">i").unpack_from(raw, at + 1)
            return f"{scaled / 10 ** raw[at]:.{raw[at]}f}" if raw[at] < 30 else str(scaled), at + 5
        case "F" | "A":
            return _nested(raw, at, named=kind == 0x46, depth=depth + 1)
    raise ValueError(f"field type {kind:#x} is unknown")


def _nested(raw: bytes, at: int, *, named: bool, depth: int) -> tuple[object, int]:
    (size,) = _LONG.unpack_from(raw, at)
    at += 4
    end = at + size
    if end > len(raw):
        raise ValueError("a table is longer than what is there")
    fields: dict[str, object] = {}
    items: list[object] = []
    while at < end:
        name = ""
        if named:
            name, at = _short_at(raw, at)
        value, at = _field(raw, at, depth)
        if named:
            fields[name] = value
        else:
            items.append(value)
    return (fields if named else items), end


def _time(seconds: int) -> object:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # a time that no calendar holds: as the number it is
        return seconds


def _short_at(raw: bytes, at: int) -> tuple[str, int]:
    size = raw[at]
    at += 1
    if at + size > len(raw):
        raise ValueError("a string is cut short")
    return _text(raw[at : at + size]), at + size


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
