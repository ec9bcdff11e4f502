"""AMQP 0-9-1 frames of the hot loops, as pure functions: basic.publish, basic.ack, basic.nack, message contents.

Everything else is encoded by pika. Layouts: AMQP 0-9-1 specification, sections 4.2.3 (frames) and 4.2.6 (contents).
"""

from __future__ import annotations

from struct import Struct

from funcatron.errors import BrokerError

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = 0xCE
END_BYTE = b"\xce"
OVERHEAD = 8  # bytes of a frame beside its payload

# (class << 16) | method
BASIC_PUBLISH, BASIC_DELIVER = 60 << 16 | 40, 60 << 16 | 60
BASIC_ACK, BASIC_NACK = 60 << 16 | 80, 60 << 16 | 120

FRAME = Struct(">BHI")  # kind, channel, size
METHOD_FRAME = Struct(">BHII")  # kind, channel, size, method
HEADER_FRAME = Struct(">BHIHHQ")  # kind, channel, size, class, weight, body size
TAG = Struct(">QB")  # delivery tag, bits
_ACK = Struct(">BHIIQBB")
_SIZES = [bytes((size,)) for size in range(256)]


def short(text: str | bytes) -> bytes:
    """Encode a short string. Raises BrokerError when it is longer than 255 bytes."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    size = len(raw)
    if size > 255:
        raise BrokerError(f"an AMQP short string is at most 255 bytes, this one is {size}: {raw[:40]!r}…")
    return _SIZES[size] + raw


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


def message(method: bytes, channel: int, values: bytes, body: bytes, frame_max: int) -> list[bytes | memoryview]:
    """Frame a message: its method frame, the content header with encoded properties, the body.

    A body that fits into a frame comes as one chunk with the rest. A larger one is split and not copied. Raises
    BrokerError when the properties do not fit into a frame.
    """
    size = len(body)
    if 20 + len(values) > frame_max:
        raise BrokerError(f"the message's properties take {len(values)} bytes; the broker allows {frame_max} a frame")
    head = HEADER_FRAME.pack(HEADER, channel, 12 + len(values), 60, 0, size)
    room = frame_max - OVERHEAD
    if size == 0:
        return [b"".join((method, head, values, END_BYTE))]
    if size <= room:
        return [b"".join((method, head, values, END_BYTE, FRAME.pack(BODY, channel, size), body, END_BYTE))]
    chunks: list[bytes | memoryview] = [b"".join((method, head, values, END_BYTE))]
    view = memoryview(body)
    for start in range(0, size, room):
        piece = view[start : start + room]
        chunks += (FRAME.pack(BODY, channel, len(piece)), piece, END_BYTE)
    return chunks
