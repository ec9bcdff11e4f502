"""A crowd that waits, and is answered."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from benchmarks.crowd import Crowd
from benchmarks.processes import BenchError


class Halting(http.server.ThreadingHTTPServer):
    """Takes every request, and answers none before `go` is set."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.go = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Halting)
        self.server.go.wait(10)
        self.send_response(200 if self.path.startswith("/x") else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def halting() -> Iterator[Halting]:
    with Halting() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.go.set()
        server.shutdown()
        thread.join(5)


def test_all_wait_until_the_server_goes_on_and_then_all_are_answered(halting: Halting) -> None:
    crowd = Crowd(f"http://127.0.0.1:{halting.server_port}/x?y", 20)
    crowd.ask()
    with pytest.raises(BenchError, match="20 of 20"):
        crowd.collect(0.1)

    halting.go.set()
    seconds = crowd.collect(10)
    crowd.leave()

    assert crowd.answered == {b"200": 20}
    assert seconds < 10


def test_answers_are_counted_by_status(halting: Halting) -> None:
    halting.go.set()
    crowd = Crowd(f"http://127.0.0.1:{halting.server_port}/nowhere", 3)
    crowd.ask()
    crowd.collect(10)
    crowd.leave()

    assert crowd.answered == {b"404": 3}
