"""The host's end of the socket: see `funcatron/hosts/protocol.py` for the frames."""

from __future__ import annotations

import json
import struct
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Deque, Dict, List, Optional, Tuple, Union

    Buffer = Union[bytes, bytearray, memoryview]
    Frame = Tuple[Dict[str, Any], Buffer]

READ = 256 * 1024
LARGE = 64 * 1024  # bodies above this are read into their place, and sent without a copy

_END = b"end"  # told by identity
_HEAD = struct.Struct(">II")
_unpack = _HEAD.unpack_from
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


class Reader:
    """Reads frames; one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._view = memoryview(bytearray(READ))  # once: a new large buffer for each read costs 50 µs of page faults
        self._rest: bytes = b""
        self._open: Optional[Tuple[Dict[str, Any], bytearray, int]] = None

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._sock.fileno()

    def read(self) -> Optional[List[Frame]]:
        """Block until at least one frame is whole and return what is there; None when the other side is gone."""
        while True:
            frames = self.read_some()
            if frames is None or frames:
                return frames

    def read_some(self) -> Optional[List[Frame]]:
        """Read once and return the frames that are whole now; None when the other side is gone."""
        if self._open is not None:
            return self._fill()
        count = self._sock.recv_into(self._view)
        if not count:
            return None
        data = self._view[:count].tobytes()
        if self._rest:
            data = self._rest + data
        frames: List[Frame] = []
        at = self._split(data, frames)
        if self._open is None:
            self._rest = data[at:] if at else data
        return frames

    def _split(self, data: bytes, frames: List[Frame]) -> int:
        """Append the whole frames of `data`; return where the rest begins."""
        at, end = 0, len(data)
        while end - at >= 8:
            json_length, body_length = _unpack(data, at)
            body_at = at + 8 + json_length
            body_end = body_at + body_length
            if body_end <= end:
                frames.append((_scan(data[at + 8 : body_at].decode(), 0)[0], data[body_at:body_end]))
                at = body_end
                continue
            if body_at <= end and body_length > LARGE:
                body = bytearray(body_length)
                body[: end - body_at] = data[body_at:]
                self._open = (_scan(data[at + 8 : body_at].decode(), 0)[0], body, end - body_at)
                self._rest = b""
            break
        return at

    def _fill(self) -> Optional[List[Frame]]:
        """Read more of a large body."""
        assert self._open is not None
        header, body, filled = self._open
        count = self._sock.recv_into(memoryview(body)[filled:])
        if not count:
            return None
        filled += count
        if filled < len(body):
            self._open = (header, body, filled)
            return []
        self._open = None
        return [(header, body)]


class Sender:
    """Gathers frames of all threads and sends them together.

    A thread may be interrupted by an exception between any two bytecodes (see engine.py) while it prints, which leads
    here. So taking frames from the queue and sending them is one step, done by C code: nothing is lost or doubled.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._send = sock.sendall
        self._lock = threading.Lock()
        self.waiting: Deque[Any] = deque()
        self._next = self.waiting.popleft

    def put(self, start: bytes, body: Buffer = b"") -> None:
        """Add a frame, `start` as `frame` makes it. It goes out with the next `flush`, with a large body at once."""
        if len(body) > LARGE:
            with self._lock:
                self._flush()
                self._run(map(self._send, (start, body)))
        elif body:
            self.waiting.append(start + body)
        else:
            self.waiting.append(start)

    def flush(self) -> None:
        """Send all that waits, in order, in one write."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        while self.waiting:
            self.waiting.append(_END)
            self._run(map(self._send, map(b"".join, (iter(self._next, _END),))))

    def _run(self, steps: Any) -> None:
        try:
            deque(steps, 0)
        except OSError:  # the Runner is gone; whoever reads learns it, and ends this process
            self.waiting.clear()


def frame(header: Dict[str, Any], length: int = 0) -> bytes:
    """Return a frame's start: lengths and JSON; `length` bytes of body follow."""
    text = json.dumps(header, separators=(",", ":"), default=str).encode()
    return _HEAD.pack(len(text), length) + text


def start(text: bytes, length: int) -> bytes:
    """As `frame`, for JSON that is already text."""
    return _HEAD.pack(len(text), length) + text
