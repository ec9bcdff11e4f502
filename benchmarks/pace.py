"""Open-loop load at a constant rate: `python -m benchmarks.pace URL RATE SECONDS [CONNECTIONS]` prints JSON.

A closed loop (wrk's) sends the next request when the last one is answered, so while a server stalls it asks nothing,
and the stall counts once: "coordinated omission". Here request k is *due* at start + k/rate whatever the answers do.
It is sent on an idle connection, or, if there is none, waits for one; its latency counts from when it was due.

A kernel timer (timerfd) fires once per due request, so no time is lost to a poll's millisecond steps.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import json
import math
import os
import selectors
import socket
import struct
import sys
import time
import urllib.parse
from collections import deque
from dataclasses import asdict, dataclass

from benchmarks.figures import percentile

CONNECTIONS = 256
_SECOND = 1_000_000_000
_CLOCK_MONOTONIC, _TFD_TIMER_ABSTIME, _TFD_NONBLOCK = 1, 1, os.O_NONBLOCK
_LEAD_NS, _DRAIN_NS = 10_000_000, 5 * _SECOND


@dataclass(frozen=True, slots=True)
class Pace:
    """What an open-loop run saw. Latencies in seconds, from when each request was due."""

    requests: int
    unanswered: int
    failed: int
    rate: float
    p50: float
    p99: float
    late_p99: float  # how late the client itself sent: of p99, so much is not the server's


class Timer:
    """A timerfd that fires at `start_ns` (on the monotonic clock) and every `period_ns` after it."""

    def __init__(self, start_ns: int, period_ns: int) -> None:
        libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK)
        # struct itimerspec: interval, then first expiration, each in seconds and nanoseconds
        spec = struct.pack("@qqqq", *divmod(period_ns, _SECOND), *divmod(start_ns, _SECOND))
        if self._fd < 0 or libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, spec, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd")

    def fileno(self) -> int:
        """For the selector."""
        return int(self._fd)

    def read(self) -> None:
        """Take the count of expirations, so that the selector sleeps again."""
        os.read(self._fd, 8)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


class Connection:
    """One keep-alive connection with at most one request on it."""

    __slots__ = ("_got", "due", "sock", "status")

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port), timeout=5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.due = 0  # ns, monotonic
        self.status = b""
        self._got = b""

    def receive(self) -> bool:
        """Read what is there; True when an answer is whole. Raises ConnectionError when the server closed."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("closed by the server")
        got = self._got + data
        if not whole(got):
            self._got = got
            return False
        self.status, self._got = got[9:12], b""
        return True


def whole(answer: bytes) -> bool:
    """Whether an HTTP/1.1 answer with a Content-Length has come to its end."""
    head, mark, body = answer.partition(b"\r\n\r\n")
    if not mark:
        return False
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError("the answer has no Content-Length")
    end = lower.find(b"\r\n", at + 2)
    return len(body) >= int(lower[at + 17 : end if end > 0 else None])


class Pacer:
    """One run: who is idle, what is due, what came back."""

    def __init__(self, url: str, rate: float, seconds: float, connections: int) -> None:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        self._period_ns, self._total = round(_SECOND / rate), round(rate * seconds)
        self._selector = selectors.EpollSelector()
        self._connections = [Connection(host, port) for _ in range(connections)]
        self._idle = deque(self._connections)
        for connection in self._connections:
            self._selector.register(connection.sock, selectors.EVENT_READ, connection)
        self._sent = self._failed = 0
        self._latencies_ns: list[int] = []
        self._late_ns: list[int] = []

    def run(self) -> Pace:
        """Send all that is due, wait a bounded time for the rest, and sum up."""
        clock, select = time.monotonic_ns, self._selector.select
        start = clock() + _LEAD_NS
        timer = Timer(start, self._period_ns)
        self._selector.register(timer.fileno(), selectors.EVENT_READ, None)
        end = start + self._total * self._period_ns + _DRAIN_NS
        while len(self._latencies_ns) + self._failed < self._total and clock() < end:
            for key, _ in select(0.1):
                if key.data is None:
                    timer.read()
                else:
                    self._answered(key.data, clock())
            self._send_due(start, clock())
        elapsed = clock() - start
        timer.close()
        self._selector.close()
        for connection in self._connections:
            connection.sock.close()
        return self._summary(elapsed)

    def _send_due(self, start: int, now: int) -> None:
        due_count = min(self._total, (now - start) // self._period_ns + 1)
        while self._sent < due_count and self._idle:
            connection = self._idle.popleft()
            connection.due = start + self._sent * self._period_ns
            self._late_ns.append(now - connection.due)
            self._sent += 1
            connection.sock.send(self._request)

    def _answered(self, connection: Connection, now: int) -> None:
        if connection.receive():
            if connection.status == b"200":
                self._latencies_ns.append(now - connection.due)
            else:
                self._failed += 1
            self._idle.append(connection)

    def _summary(self, elapsed_ns: int) -> Pace:
        answered = sorted(self._latencies_ns)
        unanswered = self._total - len(answered) - self._failed
        rate = len(answered) * _SECOND / elapsed_ns
        answered.extend([_DRAIN_NS] * unanswered)  # they were at least that slow
        return Pace(
            requests=self._total,
            unanswered=unanswered,
            failed=self._failed,
            rate=rate,
            p50=percentile(answered, 50) / _SECOND if answered else math.inf,
            p99=percentile(answered, 99) / _SECOND if answered else math.inf,
            late_p99=percentile(sorted(self._late_ns), 99) / _SECOND,
        )


def main(argv: list[str]) -> None:
    """URL RATE SECONDS [CONNECTIONS]."""
    connections = int(argv[3]) if len(argv) > 3 else CONNECTIONS
    pacer = Pacer(argv[0], float(argv[1]), float(argv[2]), connections)
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection in this client would read as a stall of the server
    print(json.dumps(asdict(pacer.run())))


if __name__ == "__main__":
    main(sys.argv[1:])
