"""AMQP 0-9-1 frames of the hot loops, as pure functions: basic.publish, basic.ack, basic.nack, content headers, tables.

Everything else is encoded by pika. Layouts: AMQP 0-9-1 specification, sections 4.2.3 (frames), 4.2.5 (data types),
4.2.6 (content framing), and RabbitMQ's errata for the field types.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from struct import Struct, error

from funcatron.brokers.base import Outgoing, Properties
from funcatron.errors import BadMessage, BrokerError

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = 0xCE
END_BYTE = b"\xce"
OVERHEAD = 8  # bytes of a frame beside its payload

# (class << 16) | method
BASIC_PUBLISH, BASIC_RETURN, BASIC_DELIVER = 60 << 16 | 40, 60 << 16 | 50, 60 << 16 | 60
BASIC_ACK, BASIC_NACK = 60 << 16 | 80, 60 << 16 | 120

FRAME = Struct(">BHI")  # kind, channel, size
METHOD_FRAME = Struct(">BHII")  # kind, channel, size, method
HEADER_FRAME = Struct(">BHIHHQ")  # kind, channel, size, class, weight, body size
TAG = Struct(">QB")  # delivery tag, bits
_ACK = Struct(">BHIIQBB")
_LONG = Struct(">I")
_LONGLONG = Struct(">Q")
_SHORT = Struct(">H")

# property flags, in the order in which the values stand
CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
PRIORITY, CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID = 1 << 11, 1 << 10, 1 << 9, 1 << 8, 1 << 7

_MAX_DEPTH = 32


def short(text: str | bytes) -> bytes:
    """Encode a short string. Raises BrokerError when it is longer than 255 bytes."""
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > 255:
        raise BrokerError(f"an AMQP short string is at most 255 bytes, this one is {len(raw)}: {raw[:40]!r}…")
    return bytes((len(raw),)) + raw


def publish_method(channel: int, exchange: str, routing_key: str, *, mandatory: bool = False) -> bytes:
    """Encode a basic.publish method frame."""
    arguments = b"\0\0" + short(exchange) + short(routing_key) + (b"\x01" if mandatory else b"\0")
    return METHOD_FRAME.pack(METHOD, channel, 4 + len(arguments), BASIC_PUBLISH) + arguments + END_BYTE


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    """Encode a basic.ack frame: of one delivery, or of all up to and including `tag`."""
    return _ACK.pack(METHOD, channel, 13, BASIC_ACK, tag, multiple, END)


def nack(channel: int, tag: int, requeue: bool) -> bytes:
    """Encode a basic.nack frame for one delivery."""
    return _ACK.pack(METHOD, channel, 13, BASIC_NACK, tag, requeue << 1, END)


def table(items: Mapping[str, str]) -> bytes:
    """Encode a field table of strings."""
    parts: list[bytes] = []
    for name, value in items.items():
        raw = value.encode()
        parts += (short(name), b"S", _LONG.pack(len(raw)), raw)
    body = b"".join(parts)
    return _LONG.pack(len(body)) + body


def properties(message: Outgoing, message_id: bytes | None = None) -> bytes:
    """Encode flags and values of a message's properties."""
    flags = CONTENT_TYPE | DELIVERY_MODE
    parts = [short(message.content_type)]
    if message.headers:
        flags |= HEADERS
        parts.append(table(message.headers))
    parts.append(b"\x02" if message.persistent else b"\x01")
    if message.correlation_id is not None:
        flags |= CORRELATION_ID
        parts.append(short(message.correlation_id))
    if message.reply_to is not None:
        flags |= REPLY_TO
        parts.append(short(message.reply_to))
    if message.expiration_ms is not None:
        flags |= EXPIRATION
        parts.append(short(str(max(0, message.expiration_ms))))
    if message_id is not None:
        flags |= MESSAGE_ID
        parts.append(short(message_id))
    return _SHORT.pack(flags) + b"".join(parts)


def content(channel: int, values: bytes, body: bytes, frame_max: int) -> list[bytes | memoryview]:
    """Frame a message's content: the header, then the body, split so that no frame is larger than `frame_max`.

    A body of one frame comes as one chunk; a larger one is not copied. Raises BrokerError when the properties do not
    fit into a frame.
    """
    size = len(body)
    if 12 + len(values) + OVERHEAD > frame_max:
        raise BrokerError(f"the message's properties take {len(values)} bytes; the broker allows {frame_max} a frame")
    head = HEADER_FRAME.pack(HEADER, channel, 12 + len(values), 60, 0, size) + values + END_BYTE
    room = frame_max - OVERHEAD
    if size == 0:
        return [head]
    if size <= room:
        return [b"".join((head, FRAME.pack(BODY, channel, size), body, END_BYTE))]
    chunks: list[bytes | memoryview] = [head]
    view = memoryview(body)
    for start in range(0, size, room):
        piece = view[start : start + room]
        chunks += (FRAME.pack(BODY, channel, len(piece)), piece, END_BYTE)
    return chunks


def delivery_mode(raw: bytes, at: int = 0) -> int:
    """Read the delivery mode (1 transient, 2 persistent) from encoded properties at an offset; 1 when it is not set."""
    high = raw[at]
    if not high & 0x10:
        return 1
    at += 2
    if high & 0x80:  # content type
        at += 1 + raw[at]
    if high & 0x40:  # content encoding
        at += 1 + raw[at]
    if high & 0x20:  # headers
        at += 4 + int.from_bytes(raw[at : at + 4], "big")
    return raw[at]


def with_message_id(values: bytes, message_id: bytes) -> tuple[bytes, bytes]:
    """Return the properties with a message id, and the id: the one that is there, else the given one."""
    flags = values[0] << 8 | values[1]
    at = _up_to_message_id(values, flags)
    if flags & MESSAGE_ID:
        return values, values[at + 1 : at + 1 + values[at]]
    return _SHORT.pack(flags | MESSAGE_ID) + values[2:at] + short(message_id) + values[at:], message_id


def message_id(values: bytes) -> bytes | None:
    """Read the message id from encoded properties."""
    flags = values[0] << 8 | values[1]
    if not flags & MESSAGE_ID:
        return None
    at = _up_to_message_id(values, flags)
    return values[at + 1 : at + 1 + values[at]]


def _up_to_message_id(values: bytes, flags: int) -> int:
    at = 2
    for flag in (CONTENT_TYPE, CONTENT_ENCODING):
        if flags & flag:
            at += 1 + values[at]
    if flags & HEADERS:
        at += 4 + int.from_bytes(values[at : at + 4], "big")
    for flag in (DELIVERY_MODE, PRIORITY):
        if flags & flag:
            at += 1
    for flag in (CORRELATION_ID, REPLY_TO, EXPIRATION):
        if flags & flag:
            at += 1 + values[at]
    return at


_DECODED = (
    CONTENT_TYPE,
    CONTENT_ENCODING,
    HEADERS,
    DELIVERY_MODE,
    PRIORITY,
    CORRELATION_ID,
    REPLY_TO,
    EXPIRATION,
)


def decode_properties(values: bytes) -> Properties:
    """Decode properties leniently: what a foreign publisher sent as a number, a table, a time … becomes a string.

    Raises BadMessage when the bytes are cut short or malformed.
    """
    try:
        return _decode_properties(values)
    except (error, IndexError, ValueError, OverflowError) as err:
        raise BadMessage(f"the message's properties are malformed: {err}") from err


def _decode_properties(values: bytes) -> Properties:
    (flags,) = _SHORT.unpack_from(values)
    at = 2
    strings: dict[int, str] = {}
    headers: dict[str, str] = {}
    mode = 1
    for flag in _DECODED:
        if not flags & flag:
            continue
        if flag == HEADERS:
            headers, at = decode_headers(values, at)
        elif flag == DELIVERY_MODE:
            mode = values[at]
            at += 1
        elif flag == PRIORITY:
            at += 1
        else:
            strings[flag], at = _short_at(values, at)
    expiration = strings.get(EXPIRATION)
    return Properties(
        headers=headers,
        reply_to=strings.get(REPLY_TO),
        correlation_id=strings.get(CORRELATION_ID),
        expiration_ms=int(expiration) if expiration and expiration.isascii() and expiration.isdigit() else None,
        persistent=mode == 2,
        content_type=strings.get(CONTENT_TYPE),
    )


def headers_of(values: bytes, at: int = 0) -> dict[str, str]:
    """Decode only the headers of encoded properties at an offset. Raises BadMessage when they are malformed."""
    try:
        (flags,) = _SHORT.unpack_from(values, at)
        if not flags & HEADERS:
            return {}
        at += 2
        for flag in (CONTENT_TYPE, CONTENT_ENCODING):
            if flags & flag:
                at += 1 + values[at]
        return decode_headers(values, at)[0]
    except (error, IndexError, ValueError, OverflowError) as err:
        raise BadMessage(f"the message's headers are malformed: {err}") from err


def decode_headers(raw: bytes, at: int) -> tuple[dict[str, str], int]:
    """Decode a field table at an offset into strings; returns it and the offset behind it."""
    (size,) = _LONG.unpack_from(raw, at)
    at += 4
    end = at + size
    if end > len(raw):
        raise ValueError("a table is longer than what is there")
    found: dict[str, str] = {}
    while at < end:
        name, at = _short_at(raw, at)
        if raw[at] == 0x53:  # "S": what nearly all are
            (size,) = _LONG.unpack_from(raw, at + 1)
            at += 5
            found[name] = _text(raw[at : at + size])
            at += size
        else:
            value, at = _field(raw, at, 0)
            found[name] = as_text(value)
    if at != end:
        raise ValueError("a table's fields do not fit its length")
    return found, end


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
