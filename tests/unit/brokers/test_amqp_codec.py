"""Frames of the hot loops, byte by byte, and against pika's own encoder and decoder."""

from __future__ import annotations

import pytest
from pika import frame, spec

from funcatron.brokers.amqp import codec
from funcatron.errors import BrokerError


def decoded(raw: bytes) -> list[object]:
    """Decode frames by pika."""
    frames = []
    while raw:
        size, one = frame.decode_frame(raw)
        assert one is not None
        frames.append(one)
        raw = raw[size:]
    return frames


def test_a_publish_is_what_the_specification_says() -> None:
    """Class 60, method 40, a reserved short, exchange, key, bits."""
    assert codec.publish_method(3, "ex", "key") == (
        b"\x01\x00\x03\x00\x00\x00\x0e\x00\x3c\x00\x28\x00\x00\x02ex\x03key\x00\xce"
    )


@pytest.mark.parametrize("mandatory", [True, False])
def test_a_publish_is_what_pika_would_write(mandatory: bool) -> None:
    """Non-ASCII keys, too."""
    method = spec.Basic.Publish(exchange="é", routing_key="k/ü" * 40, mandatory=mandatory)
    assert codec.publish_method(9, "é", "k/ü" * 40, mandatory=mandatory) == frame.Method(9, method).marshal()


def test_acks_and_nacks_are_what_pika_would_write() -> None:
    """One, or all up to it."""
    for tag in (1, 2**40):
        for multiple in (True, False):
            assert codec.ack(5, tag, multiple) == frame.Method(5, spec.Basic.Ack(tag, multiple)).marshal()
        for requeue in (True, False):
            assert codec.nack(5, tag, requeue) == frame.Method(5, spec.Basic.Nack(tag, False, requeue)).marshal()


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 8176, 8177, 100_000])
def test_a_body_is_split_into_frames_of_the_agreed_size(size: int) -> None:
    """No frame is larger, none is empty, and all of the body is there."""
    body = bytes(index % 251 for index in range(size))
    raw = b"".join(codec.message(b"", 2, b"\0\0", body, 4096))
    head, *bodies = decoded(raw)
    assert isinstance(head, frame.Header)
    assert head.body_size == size
    pieces = [it.fragment for it in bodies if isinstance(it, frame.Body)]
    assert b"".join(pieces) == body
    assert all(0 < len(it) <= 4088 for it in pieces)
    assert len(pieces) == -(-size // 4088)


def test_a_small_message_is_one_piece_of_bytes() -> None:
    """One write, and no copy of a large one."""
    method = codec.publish_method(1, "", "q")
    assert len(codec.message(method, 1, b"\0\0", b"x" * 100, 131_072)) == 1
    large = b"x" * 300_000
    views = [it for it in codec.message(method, 1, b"\0\0", large, 131_072) if isinstance(it, memoryview)]
    assert all(it.obj is large for it in views)
    assert sum(map(len, views)) == 300_000


def test_what_does_not_fit_is_an_error_before_anything_is_written() -> None:
    """A key over 255 bytes, and properties over a frame."""
    with pytest.raises(BrokerError, match="255"):
        codec.publish_method(1, "", "ü" * 128)
    with pytest.raises(BrokerError, match="properties"):
        codec.message(b"", 1, b"\0" * 5000, b"", 4096)
