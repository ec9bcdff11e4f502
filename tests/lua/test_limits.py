"""Limits: sizes, numbers, and what nginx itself refuses; every error in one shape."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from lua_support.consumer import Consumer, answer
from lua_support.nginx import Nginx
from lua_support.rabbit import Rabbit
from lua_support.stomp_server import Connection, Frame, StompServer
from lua_support.waiting import until

Start = Callable[..., Nginx]


@pytest.fixture(autouse=True)
def _usual(consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(200, str(len(message.payload)).encode())
    while not consumer.messages.empty():
        consumer.messages.get()


@pytest.fixture
def small(start_nginx: Start, rabbit: Rabbit) -> Nginx:
    """A Frontend that takes bodies of 1,000 bytes, and three requests at once."""
    return start_nginx(rabbit.frontend(FUNCATRON_MAX_BODY="1000", FUNCATRON_MAX_WAITING="3"))


FIREHOSE = "/amq/queue/funcatron.firehose"


def problem(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["request-id"] == response.headers["x-request-id"]
    assert body["title"]
    assert body["type"] == "about:blank"


def test_a_body_over_the_limit_is_refused_by_its_length(small: Nginx, consumer: Consumer) -> None:
    problem(httpx.post(small.url, content=b"x" * 1001, headers={"X-Request-Id": "big"}), 413)
    assert httpx.post(small.url, content=b"x" * 1000).text == "1000"


def test_it_is_refused_before_the_body_is_sent(small: Nginx, consumer: Consumer) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=5) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_refused_when_it_passes_the_limit(small: Nginx, consumer: Consumer) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=5) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nX-Request-Id: c-1\r\nTransfer-Encoding: chunked\r\n\r\n")
        sock.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        sock.sendall(b"1\r\nx\r\n")  # and no end
        got = sock.recv(2000)
        assert got.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in got
        assert b"X-Request-Id: c-1" in got
    assert consumer.messages.empty()


def test_more_waiting_requests_than_allowed_are_refused_at_once(small: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: None
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(httpx.get, small.url, timeout=20) for _ in range(3)]
        messages = [consumer.take() for _ in waiting]
        began = time.monotonic()
        refused = httpx.get(small.url)
        assert time.monotonic() - began < 1
        problem(refused, 503)
        assert refused.headers["retry-after"] == "1"
        assert not small.ready()
        consumer.reply = lambda message: answer(200)
        for message in messages:
            consumer.later(lambda message=message: consumer.send_answer(message, answer(200)))  # type: ignore[misc]
        assert [w.result().status_code for w in waiting] == [200, 200, 200]
    assert httpx.get(small.url).status_code == 200


def raw(nginx: Nginx, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=5) as sock:
        sock.sendall(data)
        got = b""
        while piece := sock.recv(65536):
            got += piece
        return got


POST = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
WRONG = {
    "a request line that is none": (b"nonsense\r\n\r\n", 400),
    "an unknown HTTP version": (b"GET / HTTP/9.9\r\nHost: h\r\n\r\n", 505),
    "HTTP/1.1 without a host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400),
    "a header name with a space": (b"GET / HTTP/1.1\r\nHost: h\r\nna me: x\r\nConnection: close\r\n\r\n", 400),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 405),
    "a URI of 20 kB": (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
    "a header of 20 kB": (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
    "both lengths": (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a length that is none": (POST + b"Content-Length: x\r\n\r\n", 400),
    "an unknown transfer encoding": (POST + b"Transfer-Encoding: br\r\n\r\n", 501),
    "chunks that are none": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_nginx_refuses_is_a_problem_with_a_request_id(frontend: Nginx, what: str) -> None:
    request, status = WRONG[what]
    got = raw(frontend, request)
    head, _, body = got.partition(b"\r\n\r\n")
    if what == "an unknown HTTP version":
        assert b"505" in got or b"400" in got
        return
    assert head.startswith(b"HTTP/1.1 %d " % status), got
    assert b"\r\nContent-Type: application/problem+json" in head
    assert b"\r\nX-Request-Id: " in head
    assert b'"request-id":"' in body
    assert b'"status":%d' % status in body


def test_the_status_of_refused_requests_is_logged_as_json(frontend: Nginx) -> None:
    raw(frontend, b"nonsense\xff\r\n\r\n")
    until(lambda: any(line["status"] == 400 for line in frontend.lines()), 5)


def test_nothing_of_the_refused_counts_as_under_way(start_nginx: Start, rabbit: Rabbit, consumer: Consumer) -> None:
    nginx = start_nginx(rabbit.frontend())
    for request, _ in WRONG.values():
        raw(nginx, request)
    assert httpx.get(nginx.url).status_code == 200
    began = time.monotonic()
    assert nginx.stop(signal.SIGQUIT) == 0  # a request that still counted would hold the worker back
    assert time.monotonic() - began < 5


@pytest.fixture
def large(start_nginx: Start, rabbit: Rabbit) -> Nginx:
    return start_nginx(rabbit.frontend(FUNCATRON_MAX_BODY=str(200 * 2**20), FUNCATRON_MAX_MESSAGE=str(256 * 2**20)))


def rss(pid: int) -> float:
    """Resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def test_a_body_of_100_mb_goes_through_and_its_memory_comes_back(large: Nginx, consumer: Consumer) -> None:
    body = bytes(range(256)) * (100 * 4096)
    worker = large.workers()[0]
    response = httpx.post(large.url, content=body, timeout=60)
    assert response.text == str(len(body))
    assert consumer.take().payload == body
    for _ in range(200):  # what garbage there is is collected as work goes on
        httpx.post(large.url, content=b"x" * 100_000)
    assert rss(worker) < 120


def test_a_body_too_large_for_a_message_of_the_broker_is_refused(
    start_nginx: Start, rabbit: Rabbit, consumer: Consumer
) -> None:
    nginx = start_nginx(rabbit.frontend(FUNCATRON_MAX_BODY="10000000", FUNCATRON_MAX_MESSAGE="100000"))
    problem(httpx.post(nginx.url, content=b"\xff" * 90_000), 413)  # 120,000 as base64
    assert httpx.post(nginx.url, content=b"\xff" * 60_000).status_code == 200
    assert nginx.stats()["link"]["connects"] == 1


def test_an_idle_worker_is_small(frontend: Nginx) -> None:
    assert rss(frontend.workers()[0]) < 25


async def test_waiting_requests_cost_little_memory_and_waking_one_does_not_depend_on_the_others(
    start_nginx: Start, stomp_server: StompServer
) -> None:
    """2,000 wait in one worker (measured apart: 10,000 cost as much each)."""
    held: list[str] = []

    def script(connection: Connection, frame: Frame) -> bool:
        if frame.headers.get("destination") != FIREHOSE:
            return False
        held.append(frame.headers["correlation-id"])
        return True

    stomp_server.script = script
    env = {"RABBIT_HOST": "127.0.0.1", "RABBIT_PORT": str(stomp_server.port)}
    nginx = await asyncio.to_thread(start_nginx, env)
    worker, count = nginx.workers()[0], 2000
    before = rss(worker)
    connections = [await asyncio.open_connection("127.0.0.1", nginx.port) for _ in range(count)]
    for i, (_, writer) in enumerate(connections):
        writer.write(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i)
    await asyncio.to_thread(until, lambda: len(held) == count, 20, "all wait")
    assert nginx.stats()["waiting"] == count
    assert (rss(worker) - before) * 1024 / count < 20  # kB each
    body = b'{"action":"answer","answer":{"status":200,"headers":[],"body":"aGk="}}'
    data = b"".join(
        b"MESSAGE\nsubscription:reply\ncorrelation-id:%b\ncontent-length:%d\n\n%b\0\n" % (i.encode(), len(body), body)
        for i in reversed(held)
    )
    await asyncio.to_thread(stomp_server.last.send, data)
    for reader, writer in connections:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()
    assert nginx.stats()["waiting"] == 0
