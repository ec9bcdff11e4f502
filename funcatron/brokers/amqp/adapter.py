"""The bytes under pika: a pika adapter on an asyncio (or uvloop) transport that keeps the hot frames to itself.

pika opens and closes connection and channels, authenticates, keeps heartbeats and does every rare method. Frames of
deliveries and confirms on channels that are registered here never reach it, and publishes, acks and nacks are written
beside it, so that a message costs no pika object. Everything that one loop turn writes goes out in one write, in the
order in which it was written, acks last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from pika import exceptions, frame
from pika.connection import Connection, Parameters

from funcatron.brokers.amqp.codec import (
    BASIC_ACK,
    BASIC_DELIVER,
    BASIC_NACK,
    BODY,
    END,
    FRAME,
    HEADER,
    METHOD,
    METHOD_FRAME,
    OVERHEAD,
    TAG,
)
from funcatron.brokers.amqp.tags import Tags
from funcatron.errors import BrokerAway

log = logging.getLogger("funcatron.brokers.amqp")

HIGH_WATER = 1024 * 1024  # bytes in the transport's buffer from which on acks are held back
MAX_WAITING = 64 * 1024 * 1024  # bytes that may wait for a broker that does not read


class HotChannel(Protocol):
    """A channel whose content frames are handled here."""

    tags: Tags

    def deliver(self, data: bytes, start: int, stop: int, end: int) -> int:
        """Take the basic.deliver frame at data[start:stop], and what follows of its content up to `end`. Returns the
        offset behind what was taken."""

    def header(self, data: bytes, start: int, stop: int) -> None:
        """Take a content header frame."""

    def body(self, data: bytes, start: int, stop: int) -> None:
        """Take a body frame."""


class Confirms(Protocol):
    """A channel on which the broker confirms what was published."""

    def confirmed(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker took, or refused, the publish with that tag (or all up to it)."""


class Adapter(Connection, asyncio.Protocol):  # type: ignore[misc]  # pika has no types
    """A pika connection over an asyncio transport: call `start` once after the transport connects to it."""

    def __init__(self, parameters: Parameters, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._out: list[bytes | memoryview] = []
        self._waiting = 0  # bytes in _out while paused
        self._dirty: list[Tags] = []
        self._scheduled = False
        self._large = False  # whether a body in _out is better not copied
        self._paused = False
        self.frame_max = 4096  # as agreed, once the connection is open; until then the least that AMQP allows
        self.hot: dict[int, HotChannel] = {}
        self.confirms: dict[int, Confirms] = {}
        self.opened: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        super().__init__(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_end,
            on_close_callback=self._on_end,
            internal_connection_workflow=False,
        )

    # the life of the connection

    def _on_open(self, _connection: Connection) -> None:
        self.frame_max = self.params.frame_max
        if not self.opened.done():
            self.opened.set_result(None)

    def _on_end(self, _connection: Connection, error: BaseException) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
        if not self.lost.done():
            self.lost.set_result(_reason(error))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The stream is up: say hello."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._on_stream_connected()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is down: tell pika, which tells its channels and us."""
        self._transport = None
        self.hot.clear()
        self.confirms.clear()
        if self._error is None and exc is None:
            exc = exceptions.StreamLostError("the broker closed the connection")
        if not self.is_closed:
            self._on_stream_terminated(exc)

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # reading

    def data_received(self, data: bytes) -> None:
        """Split what came into frames and hand each to whom it concerns."""
        self.bytes_received += len(data)  # pika's heartbeat checker looks at it
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            if data[:4] == b"AMQP":  # the broker speaks another version of the protocol
                raise exceptions.IncompatibleProtocolError(f"the broker speaks {data[4:8]!r}, not AMQP 0-9-1")
            at = self._take(data)
        except Exception as err:  # whatever a malformed frame raises ends the connection, not the process
            log.error("dropping the connection to the broker: a frame cannot be read: %s", err, exc_info=err)
            self._terminate_stream(exceptions.AMQPError(f"a frame cannot be read: {err}"))
            return
        if at < len(data):
            self._rest = data[at:]
        if self._out or self._dirty:
            self._flush()

    def _take(self, data: bytes) -> int:
        at, end = 0, len(data)
        hot, unpack = self.hot, FRAME.unpack_from
        while end - at >= OVERHEAD:
            kind, channel, size = unpack(data, at)
            stop = at + OVERHEAD + size
            if stop > end:
                if size > self.params.frame_max:
                    raise exceptions.InvalidFrameError(f"a frame of {size} bytes, {self.params.frame_max} were agreed")
                break
            if data[stop - 1] != END:
                raise exceptions.InvalidFrameError("a frame does not end where it should")
            taker = hot.get(channel)
            if taker is None:
                at += self._cold(data, at, stop, channel)
            elif kind == METHOD:
                if METHOD_FRAME.unpack_from(data, at)[3] == BASIC_DELIVER:
                    at = taker.deliver(data, at, stop, end)
                else:
                    at += self._cold(data, at, stop, channel)
            else:
                if kind == BODY:
                    taker.body(data, at, stop)
                elif kind == HEADER:
                    taker.header(data, at, stop)
                at = stop
        return at

    def _cold(self, data: bytes, start: int, stop: int, channel: int) -> int:
        confirms = self.confirms.get(channel)
        if confirms is not None and data[start] == METHOD:
            method = METHOD_FRAME.unpack_from(data, start)[3]
            if method in (BASIC_ACK, BASIC_NACK):
                tag, bits = TAG.unpack_from(data, start + 11)
                confirms.confirmed(tag, bool(bits & 1), method == BASIC_ACK)
                return stop - start
        size, decoded = frame.decode_frame(data[start:stop])
        if decoded is None:
            raise exceptions.InvalidFrameError("a frame does not end where it should")
        self._process_frame(decoded)
        return int(size)

    # writing

    def write(self, chunk: bytes | memoryview) -> None:
        """Write bytes of whole frames, with whatever else this loop turn writes."""
        self._out.append(chunk)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def write_message(self, chunks: list[bytes | memoryview]) -> None:
        """Write the frames of a message. Raises BrokerAway when the broker has not read for so long that too much
        waits."""
        if self._paused:
            if self._waiting > MAX_WAITING:
                raise BrokerAway(f"{self._waiting} bytes wait for the broker, which does not read")
            self._waiting += sum(map(len, chunks))
        if len(chunks) > 1:
            self._large = True
        self._out += chunks
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def write_frames(self, chunks: tuple[bytes, ...]) -> None:
        """Write frames whose number the prefetch bounds already."""
        self._out += chunks
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def settle(self, tags: Tags) -> None:
        """Ack what is settled on a channel at the end of this loop turn."""
        if tags.dirty:
            return
        tags.dirty = True
        self._dirty.append(tags)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def flush(self) -> None:
        """Write now what this loop turn has to write."""
        self._flush()

    def _flush(self) -> None:
        self._scheduled = False
        transport = self._transport
        if transport is None:
            self._out.clear()
            self._dirty.clear()
            return
        if self._paused:  # the broker does not read; no acks either, so that it sends no more
            return
        out = self._out
        for tags in self._dirty:
            out += tags.take()
        self._dirty.clear()
        if not out:
            return
        self._out = []
        if self._large:  # a large body is not copied
            self._large = False
            transport.writelines(out)
        else:
            transport.write(b"".join(out))

    def pause_writing(self) -> None:
        """The transport holds more than HIGH_WATER bytes that the broker has not read."""
        self._paused = True

    def resume_writing(self) -> None:
        """The broker reads again."""
        self._paused = False
        self._waiting = 0
        self._flush()

    @property
    def paused(self) -> bool:
        """Whether the broker does not read what was written."""
        return self._paused

    # what pika asks of an adapter

    def _adapter_call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay, callback)

    def _adapter_remove_timeout(self, timeout_id: asyncio.TimerHandle) -> None:
        timeout_id.cancel()

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(callback)

    def _adapter_connect_stream(self) -> None:
        raise NotImplementedError("the broker driver connects the stream")

    def _adapter_disconnect_stream(self) -> None:
        if self._transport is None:
            return
        self._paused = False
        self._flush()
        # Not close(): it waits for a peer that may never read. What pika sent last (CloseOk) is nobody's loss.
        self._transport.abort()

    def _adapter_emit_data(self, data: bytes) -> None:
        self.write(data)


def _reason(error: BaseException) -> str:
    return str(error) or repr(error)
