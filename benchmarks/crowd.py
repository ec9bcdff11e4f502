"""A crowd of clients that all wait at once, each on a connection of its own."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
import urllib.parse

from benchmarks.pace import whole
from benchmarks.processes import BenchError


class Crowd:
    """So many connections, each with one request under way."""

    def __init__(self, url: str, size: int) -> None:
        parts = urllib.parse.urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._request = f"GET {target} HTTP/1.1\r\nHost: {self._address[0]}\r\nConnection: close\r\n\r\n".encode()
        self.size = size
        self._socks: list[socket.socket] = []
        self.answered: dict[bytes, int] = {}  # by status
        self.examples: dict[bytes, str] = {}  # the first answer of each status

    def ask(self) -> None:
        """Connect all and send all requests; their answers stay out while the server cannot answer."""
        for _ in range(self.size):
            sock = socket.create_connection(self._address, timeout=10)
            self._socks.append(sock)
            sock.sendall(self._request)
            sock.setblocking(False)

    def collect(self, seconds: float) -> float:
        """Read all answers; returns how long that took, raises BenchError when some are missing in time."""
        began = time.monotonic()
        with selectors.EpollSelector() as selector:
            got = {}
            for sock in self._socks:
                got[sock] = b""
                selector.register(sock, selectors.EVENT_READ)
            while got:
                if time.monotonic() - began > seconds:
                    raise BenchError(f"{len(got)} of {self.size} waiting requests got no answer in {seconds:.0f} s")
                for key, _ in selector.select(0.5):
                    self._read(selector, got, key.fileobj)  # type: ignore[arg-type]
        return time.monotonic() - began

    def _read(self, selector: selectors.EpollSelector, got: dict[socket.socket, bytes], sock: socket.socket) -> None:
        data = sock.recv(65536)
        got[sock] += data
        if not data or whole(got[sock]):
            answer = got.pop(sock)
            status = answer[9:12]
            self.answered[status] = self.answered.get(status, 0) + 1
            self.examples.setdefault(status, answer.decode("latin-1"))
            selector.unregister(sock)

    def leave(self) -> None:
        """Close all connections."""
        with contextlib.ExitStack() as stack:
            for sock in self._socks:
                stack.callback(sock.close)
        self._socks = []
