"""The open-loop client against a server whose stalls are known."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.pace import Pacer, whole

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length:0\r\n\r\n",
    ],
)
def test_an_answer_is_whole_with_its_last_byte(answer: bytes) -> None:
    assert whole(answer)
    assert not any(whole(answer[:end]) for end in range(len(answer)))


def test_an_answer_without_a_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        whole(b"HTTP/1.1 200 OK\r\n\r\n")


class Server:
    """Answers one request after the other; stalls once, at request number `stall_at`, for `stall` seconds."""

    def __init__(self, stall_at: int, stall: float, answer: bytes = ANSWER) -> None:
        self._stall_at, self._stall, self._answer = stall_at, stall, answer
        self._seen, self._lock = 0, threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/x?y=1"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                with self._lock:  # the stall holds up everybody, as that of a real server does
                    self._seen += 1
                    if self._seen == self._stall_at:
                        time.sleep(self._stall)
                    connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def stalling() -> Iterator[Server]:
    server = Server(stall_at=50, stall=0.3)
    yield server
    server.close()


def test_a_stall_counts_for_every_request_that_was_due_in_it(stalling: Server) -> None:
    """A closed loop with these two connections would see two slow requests of 200: its p90 would be fast."""
    seen = Pacer(stalling.url, rate=200, seconds=1.0, connections=2).run()

    assert seen.requests == 200
    assert seen.unanswered == seen.failed == 0
    # 60 of 200 requests fell due while the server stood still
    assert seen.p99 > 0.2
    assert seen.p50 < 0.2


def test_answers_that_are_no_200_are_failures() -> None:
    server = Server(0, 0, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    try:
        seen = Pacer(server.url, rate=100, seconds=0.1, connections=2).run()
    finally:
        server.close()

    assert seen.failed == seen.requests == 10
    assert seen.p50 == math.inf


def test_the_rate_is_kept(stalling: Server) -> None:
    began = time.monotonic()
    seen = Pacer(stalling.url, rate=40, seconds=0.5, connections=4).run()

    assert seen.requests == 20
    assert time.monotonic() - began >= 19 / 40
    assert seen.rate == pytest.approx(40, rel=0.3)
