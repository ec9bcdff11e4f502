"""A message's properties (AMQP 0-9-1, section 4.2.6.1): encoded, and decoded leniently."""

from __future__ import annotations

from struct import Struct, error

from funcatron.brokers.amqp import tables
from funcatron.brokers.amqp.codec import short
from funcatron.brokers.base import Outgoing, Properties
from funcatron.errors import BadMessage, BrokerError

# flags, in the order in which the values stand
CONTENT_TYPE, CONTENT_ENCODING, HEADERS, DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
PRIORITY, CORRELATION_ID, REPLY_TO, EXPIRATION, MESSAGE_ID = 1 << 11, 1 << 10, 1 << 9, 1 << 8, 1 << 7

_SHORT = Struct(">H")
_ANSWER = _SHORT.pack(CORRELATION_ID)


def encode(message: Outgoing) -> bytes:
    """Encode flags and values. Raises BrokerError for a string that is too long or no Unicode text."""
    try:
        return _encode(message)
    except UnicodeEncodeError as err:
        raise BrokerError(f"a property of the message is no Unicode text: {err}") from err


def _encode(message: Outgoing) -> bytes:
    headers, content_type = message.headers, message.content_type
    raw = message.correlation_id
    bare = not headers and not content_type and message.reply_to is None and message.expiration_ms is None
    if bare and raw is not None and not message.persistent:  # an answer
        return _ANSWER + short(raw)
    flags, parts = 0, []
    if content_type:
        flags = CONTENT_TYPE
        parts.append(short(content_type))
    if headers:
        flags |= HEADERS
        parts.append(tables.encode(headers))
    flags |= DELIVERY_MODE
    parts.append(b"\x02" if message.persistent else b"\x01")
    if raw is not None:
        flags |= CORRELATION_ID
        parts.append(short(raw))
    if message.reply_to is not None:
        flags |= REPLY_TO
        parts.append(short(message.reply_to))
    if message.expiration_ms is not None:
        flags |= EXPIRATION
        parts.append(short(str(max(0, message.expiration_ms))))
    return _SHORT.pack(flags) + b"".join(parts)


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


def origin(values: bytes) -> tuple[str | None, str | None]:
    """Decode only reply-to and correlation id. Raises BadMessage when the bytes are cut short."""
    try:
        flags = values[0] << 8 | values[1]
        at = 2
        if flags & CONTENT_TYPE:
            at = 3 + values[2]
        if flags & CONTENT_ENCODING:
            at += 1 + values[at]
        if flags & HEADERS:
            at += 4 + int.from_bytes(values[at : at + 4], "big")
        if flags & DELIVERY_MODE:
            at += 1
        if flags & PRIORITY:
            at += 1
        reply_to = correlation_id = None
        if flags & CORRELATION_ID:
            start = at + 1
            at = start + values[at]
            correlation_id = values[start:at].decode("utf-8", "replace")
        if flags & REPLY_TO:
            start = at + 1
            at = start + values[at]
            reply_to = values[start:at].decode("utf-8", "replace")
    except IndexError as err:
        raise BadMessage(f"the message's properties are malformed: {err}") from err
    if at > len(values):
        raise BadMessage("the message's properties are cut short")
    return reply_to, correlation_id


def decode(values: bytes) -> Properties:
    """Decode properties leniently: what a foreign publisher sent as a number, a table, a time … becomes a string.

    Raises BadMessage when the bytes are cut short or malformed.
    """
    try:
        return _decode(values)
    except (error, IndexError, ValueError, OverflowError) as err:
        raise BadMessage(f"the message's properties are malformed: {err}") from err


def _decode(values: bytes) -> Properties:
    # Written out, not in a loop over the flags: every message comes through here.
    flags = values[0] << 8 | values[1]
    at = 2
    headers: dict[str, str] = {}
    content_type = correlation_id = reply_to = expiration = None
    persistent = False
    if flags & CONTENT_TYPE:
        start = at + 1
        at = start + values[at]
        content_type = values[start:at].decode("utf-8", "replace")
    if flags & CONTENT_ENCODING:
        at += 1 + values[at]
    if flags & HEADERS:
        headers, at = tables.decode(values, at)
    if flags & DELIVERY_MODE:
        persistent = values[at] == 2
        at += 1
    if flags & PRIORITY:
        at += 1
    if flags & CORRELATION_ID:
        start = at + 1
        at = start + values[at]
        correlation_id = values[start:at].decode("utf-8", "replace")
    if flags & REPLY_TO:
        start = at + 1
        at = start + values[at]
        reply_to = values[start:at].decode("utf-8", "replace")
    if flags & EXPIRATION:
        start = at + 1
        at = start + values[at]
        expiration = values[start:at]
    if at > len(values):
        raise ValueError("they are cut short")
    milliseconds = int(expiration) if expiration and expiration.isdigit() else None
    return Properties(headers, reply_to, correlation_id, milliseconds, persistent, content_type)


def headers_of(raw: bytes, at: int = 0) -> dict[str, str]:
    """Decode only the headers of encoded properties at an offset. Raises BadMessage when they are malformed."""
    try:
        (flags,) = _SHORT.unpack_from(raw, at)
        if not flags & HEADERS:
            return {}
        at += 2
        for flag in (CONTENT_TYPE, CONTENT_ENCODING):
            if flags & flag:
                at += 1 + raw[at]
        return tables.decode(raw, at)[0]
    except (error, IndexError, ValueError, OverflowError) as err:
        raise BadMessage(f"the message's headers are malformed: {err}") from err
