"""The conversation with one Func host: calls out, answers in. What the host's process is, `process.Host` knows.

The hot path of a Runner: all that one turn of the event loop sends goes out in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from funcatron.errors import HostError
from funcatron.hosts import protocol

Body = bytes | bytearray | memoryview


@dataclass(slots=True)
class Answer:
    """What a host answered. `failed`: user code raised, and the trace is in the log."""

    status: int
    headers: list[list[str]] = field(default_factory=list)
    body: bytes | bytearray | memoryview = b""
    reason: str | None = None
    failed: bool = False
    error: dict[str, Any] | None = None
    authorized: bool = False  # the outcome of `authorize`: the request may pass


Done = Callable[[Answer | None], None]


class Link(asyncio.Protocol):
    """The Runner's end of the socket. For the event loop's thread. What it cannot do itself, the host does: `other`
    gets frames that are not about calls, `broken` is told when the host does not keep to the protocol."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, Done] = {}
        self._partial: dict[int, tuple[Answer, bytearray]] = {}
        self._serial = 0
        self._out: list[Body] = []
        self._decoder = protocol.Decoder()
        self._transport: asyncio.Transport | None = None

    def other(self, header: dict[str, Any]) -> None:
        """Take a frame that is not about a call. Raises KeyError, TypeError or ValueError if it is wrong."""
        raise NotImplementedError

    def broken(self, what: str) -> None:
        """The host does not keep to the protocol."""
        raise NotImplementedError

    # -- calls --------------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Calls that have no answer yet."""
        return len(self._calls)

    def call(self, header: dict[str, Any], body: Body, done: Done) -> int:
        """Pass a call on; `header` is the `call` message without type and id, and belongs to the host from now on.

        `done` gets the answer, or None when the host dies. Returns the call's id, for `cancel`.
        """
        header["type"] = "call"
        return self._send(header, body, done)

    def authorize(self, header: dict[str, Any], done: Done) -> int:
        """Run only the security plan of a request; the answer is a refusal, or has `authorized`."""
        header["type"] = "authorize"
        return self._send(header, b"", done)

    def ping(self, done: Done) -> int:
        """Ask whether the host still reads its socket."""
        return self._send({"type": "ping"}, b"", done)

    def cancel(self, call_id: int) -> None:
        """Ask the host to give a call up. Its answer still comes, with status 504 if it yields; else kill the host."""
        if call_id in self._calls:
            self.write(protocol.encode({"type": "cancel", "id": call_id}))

    def abandon(self) -> None:
        """The host is dead: tell all that wait."""
        calls, self._calls = self._calls, {}
        for done in calls.values():
            done(None)

    def _send(self, header: dict[str, Any], body: Body, done: Done) -> int:
        self._serial += 1
        header["id"] = self._serial
        context = orjson.dumps(header.pop("context", {}))
        header["context-length"] = len(context)
        start = protocol.encode(header, len(context) + len(body))
        if self._transport is None or self.lost.is_set():
            self._loop.call_soon(done, None)
            return self._serial
        self._calls[self._serial] = done
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(start)
        out.append(context)
        if body:
            out.append(body)
        return self._serial

    def write(self, data: bytes) -> None:
        """Send a whole frame."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        """Write what one turn of the loop has gathered, small pieces joined, large ones as they are."""
        out, self._out = self._out, []
        if self._transport is None or self._transport.is_closing():
            return
        small: list[Body] = []
        for piece in out:
            if len(piece) <= protocol.SMALL:
                small.append(piece)
                continue
            if small:
                self._transport.write(b"".join(small))
                small = []
            self._transport.write(piece)
        if small:
            self._transport.write(small[0] if len(small) == 1 else b"".join(small))

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The host is connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        """The host is gone, or about to be."""
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        """Take what the host sends; a frame that is wrong ends the conversation."""
        try:
            frames = self._decoder.feed(data)
        except HostError as err:
            self.broken(str(err))
            return
        for header, body in frames:
            try:
                answer = self._read(header, body)
            except (KeyError, TypeError, ValueError) as err:
                self.broken(f"a wrong {header['type']} frame: {err!r}")
                return
            if answer is not None:
                done = self._calls.pop(header["id"], None)
                if done is not None:
                    done(answer)

    def _read(self, header: dict[str, Any], body: Body) -> Answer | None:
        """Return the answer that a frame is, or completes."""
        kind = header["type"]
        if kind == "answer":
            return self._answer(header, body)
        if kind == "chunk":
            return self._chunk(header, body)
        if kind == "authorized":
            return Answer(0, authorized=True)
        if kind == "pong":
            return Answer(0)
        self.other(header)
        return None

    def _answer(self, header: dict[str, Any], body: Body) -> Answer | None:
        call_id = header["id"]
        answer = Answer(_status(header), header["headers"], body)
        if len(header) > 4:
            answer.reason = header.get("reason")
            answer.failed = header.get("failed", False)
            answer.error = header.get("error")
            if header.get("more"):
                if call_id in self._calls:
                    self._partial[call_id] = (answer, bytearray(body))
                return None
        return answer

    def _chunk(self, header: dict[str, Any], body: Body) -> Answer | None:
        call_id = header["id"]
        if call_id not in self._partial:
            return None  # given up: it had grown too large
        answer, whole = self._partial[call_id]
        whole += body
        if len(whole) > protocol.MAX_BODY:
            self.cancel(call_id)
            detail = f"more than {protocol.MAX_BODY} bytes"
            answer = Answer(500, failed=True, error={"kind": "too-large", "detail": detail})
        elif header.get("more"):
            return None
        else:
            answer.body = whole
            answer.failed = header.get("failed", False)
            answer.error = header.get("error")
        del self._partial[call_id]
        return answer


def _status(header: Mapping[str, Any]) -> int:
    status = header["status"]
    if type(status) is not int or not 200 <= status <= 599 or type(header["headers"]) is not list:
        raise ValueError(f"status {status!r}")
    return status
