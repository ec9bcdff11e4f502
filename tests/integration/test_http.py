"""Any request, any answer: through real nginx, RabbitMQ, Tron, Runner and host, by HTTP only."""

from __future__ import annotations

import base64
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack import PrivateStack


@pytest.fixture(scope="module")
def client(trial: PrivateStack) -> Iterator[httpx.Client]:
    """A client of the Frontend."""
    with httpx.Client(base_url=trial.url, timeout=30) as made:
        yield made


def raw(stack: PrivateStack, request: bytes, *, until: bytes = b"", timeout: float = 20.0) -> bytes:
    """Send bytes as they are and read until the peer closes (or `until` has come)."""
    with socket.create_connection(("127.0.0.1", stack.settings.http_port), timeout=timeout) as link:
        link.sendall(request)
        got = b""
        while not (until and until in got):
            more = link.recv(65536)
            if not more:
                break
            got += more
    return got


def test_an_answer_comes_back_with_the_id_of_its_request(client: httpx.Client) -> None:
    answer = client.get("/trial/echo", params={"value": "x"}, headers={"X-Request-Id": "my-id.1"})
    assert (answer.status_code, answer.json()) == (200, {"value": "x"})
    assert answer.headers["x-request-id"] == "my-id.1"


def test_an_insane_request_id_is_replaced(client: httpx.Client) -> None:
    answer = client.get("/trial/echo", params={"value": "x"}, headers={"X-Request-Id": 'a b"{}' + "x" * 500})
    assert answer.status_code == 200
    assert 8 <= len(answer.headers["x-request-id"]) <= 64


@pytest.mark.parametrize("value", ["a/b", "a b", "a+b", "ä€𝄞", "100%", "a&b=c", "\0\x01\x7f", ""])
def test_a_query_value_arrives_as_it_was_meant(client: httpx.Client, value: str) -> None:
    assert client.get("/trial/echo", params={"value": value}).json() == {"value": value}


@pytest.mark.parametrize("kind", ["a%2Fb", "%C3%A4", "a+b", "%25"])
def test_percent_encoding_in_a_path_segment_stays_in_the_segment(trial: PrivateStack, kind: str) -> None:
    answer = raw(trial, f"GET /trial/answers/{kind} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 500 ")  # it reached the Func, which knows no such answer


def test_the_path_is_seen_as_the_client_sent_it(trial: PrivateStack, client: httpx.Client) -> None:
    answer = raw(trial, b"GET /trial/headers?a=%2F&b=+%20 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert seen["path"] == "/trial/headers"
    assert seen["method"] == "GET"
    assert 0 < seen["left"] <= 60


def test_hop_by_hop_headers_do_not_reach_the_func(client: httpx.Client) -> None:
    sent = {"Connection": "X-Private", "X-Private": "1", "TE": "trailers", "X-Kept": "1", "traceparent": "00-a-b-01"}
    seen = {name.lower(): value for name, value in client.get("/trial/headers", headers=sent).json()["headers"].items()}
    assert "x-private" not in seen
    assert "connection" not in seen
    assert seen["x-kept"] == "1"
    assert seen["traceparent"] == "00-a-b-01"


@pytest.mark.parametrize("size", [0, 1, 1023, 70_000, 1_000_000, 9_000_000])
def test_a_binary_body_comes_back_as_it_went(client: httpx.Client, size: int) -> None:
    body = os.urandom(size)
    answer = client.post("/trial/echo", content=body, headers={"Content-Type": "application/octet-stream"})
    if size == 0:
        assert answer.status_code == 400
    else:
        assert answer.status_code == 200
        assert answer.content == body


def test_a_chunked_body_arrives_whole(client: httpx.Client) -> None:
    parts = [os.urandom(40_000) for _ in range(20)]
    answer = client.post("/trial/echo", content=iter(parts), headers={"Content-Type": "application/octet-stream"})
    assert answer.content == b"".join(parts)


def test_a_text_body_with_every_odd_character_arrives_whole(client: httpx.Client) -> None:
    text = "".join(map(chr, range(1, 0x250))) + '\0€𝄞\\"\n'
    answer = client.post("/trial/echo", content=text.encode(), headers={"Content-Type": "text/plain; charset=utf-8"})
    assert answer.content.decode() == text


def test_expect_100_continue_is_answered_before_the_body(trial: PrivateStack) -> None:
    head = (
        b"POST /trial/echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", trial.settings.http_port), timeout=10) as link:
        link.sendall(head)
        assert link.recv(1000).startswith(b"HTTP/1.1 100 ")
        link.sendall(b"hello")
        answer = b""
        while more := link.recv(65536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"hello")


def test_http_1_0_is_served(trial: PrivateStack) -> None:
    answer = raw(trial, b"GET /trial/echo?value=old HTTP/1.0\r\n\r\n")
    assert b" 200 " in answer.split(b"\r\n")[0]
    assert answer.endswith(b'{"value":"old"}\n') or b'"old"' in answer


def test_pipelined_requests_are_answered_in_order(trial: PrivateStack) -> None:
    one = b"GET /trial/echo?value=%d HTTP/1.1\r\nHost: x\r\n%s\r\n"
    wanted = b"".join(one % (number, b"Connection: close\r\n" if number == 9 else b"") for number in range(10))
    answer = raw(trial, wanted)
    places = [answer.index(b'"%d"' % number) for number in range(10)]
    assert places == sorted(places)


def test_a_body_over_the_limit_is_413_at_once(trial: PrivateStack, client: httpx.Client) -> None:
    size = trial.settings.max_body + 1
    head = f"POST /trial/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    answer = raw(trial, head, until=b"request-id")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_head_has_the_length_of_get_and_no_body(trial: PrivateStack, client: httpx.Client) -> None:
    got = client.get("/trial/bytes", params={"size": 12345})
    head = raw(trial, b"HEAD /trial/bytes?size=12345 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert got.headers["content-length"] == "12345"
    assert b"content-length: 12345" in head.lower()
    assert head.endswith(b"\r\n\r\n")


def test_options_tells_what_is_allowed(client: httpx.Client) -> None:
    answer = client.options("/trial/echo")
    assert answer.status_code in {200, 204}
    assert {"GET", "HEAD", "OPTIONS", "POST"} <= {verb.strip() for verb in answer.headers["allow"].split(",")}


def test_every_header_of_an_answer_comes_back_repeated_ones_too(client: httpx.Client) -> None:
    answer = client.get("/trial/answers/cookies")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(("kind", "status"), [("none", 204), ("not-modified", 304)])
def test_an_answer_that_may_have_no_body_has_none(trial: PrivateStack, kind: str, status: int) -> None:
    answer = raw(trial, f"GET /trial/answers/{kind} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.endswith(b"\r\n\r\n")
    assert b"chunked" not in answer.lower()


def test_a_status_keeps_its_meaning_and_its_body(client: httpx.Client) -> None:
    answer = client.get("/trial/answers/teapot")
    assert (answer.status_code, answer.text) == (418, "short and stout")


def test_an_informational_status_is_not_an_answer(client: httpx.Client) -> None:
    assert client.get("/trial/answers/continue").status_code in {500, 502}


def test_an_answer_cannot_inject_headers(client: httpx.Client) -> None:
    answer = client.get("/trial/answers/injection")
    assert "x-injected" not in answer.headers
    assert answer.status_code in {200, 500, 502}


def test_hop_by_hop_headers_of_an_answer_are_not_passed_on(client: httpx.Client) -> None:
    answer = client.get("/trial/answers/hop")
    assert "x-private" not in answer.headers
    assert answer.headers["x-good"] == "1"


def test_a_binary_answer_comes_back_byte_for_byte(client: httpx.Client) -> None:
    answer = client.get("/trial/answers/binary")
    assert answer.content == bytes(range(256))
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_text_answer_keeps_its_charset(client: httpx.Client) -> None:
    answer = client.get("/trial/answers/text")
    assert answer.text == "grüße"


@pytest.mark.parametrize("size", [0, 5_000_000, 20_000_000])
def test_a_large_answer_comes_back_whole(client: httpx.Client, size: int) -> None:
    assert len(client.get("/trial/bytes", params={"size": size}).content) == size


def test_no_func_is_a_404_problem(client: httpx.Client) -> None:
    for path in ("/nowhere", "/trialx/echo", "/trial/none", "/"):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request-id"] == answer.headers["x-request-id"]


def test_a_wrong_verb_is_a_405_that_says_what_is_allowed(client: httpx.Client) -> None:
    answer = client.delete("/trial/echo")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


def test_a_bad_parameter_is_a_400_that_says_where_and_why(client: httpx.Client) -> None:
    answer = client.get("/trial/wait", params={"seconds": "soon"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    (fault,) = answer.json()["errors"]
    assert fault["where"] == "query.seconds"
    assert "number" in fault["what"]


def test_a_raised_exception_is_a_500_without_its_text_and_its_trace_is_logged(
    trial: PrivateStack, client: httpx.Client
) -> None:
    answer = client.get("/trial/raise", headers={"X-Request-Id": "raise-1"})
    assert answer.status_code == 500
    assert "secret" not in answer.text

    def logged() -> bool:
        return any(
            line.get("request-id") == "raise-1" and "a secret of the Func" in json.dumps(line) and line.get("sha")
            for line in lines_of(trial)
        )

    trial.wait_for(logged, "the trace is in the log with request id and SHA")


def test_what_a_func_prints_and_logs_carries_the_request_id(trial: PrivateStack, client: httpx.Client) -> None:
    assert client.get("/trial/log", headers={"X-Request-Id": "log-1"}).status_code == 200
    wanted = {"printed", "warned", "informed", "from a thread"}

    def logged() -> bool:
        lines = [line for line in lines_of(trial) if line.get("request-id") == "log-1"]
        return wanted <= {line["message"] for line in lines} and all(line.get("sha") for line in lines)

    trial.wait_for(logged, f"{wanted} are in the log")


def test_a_func_sees_no_credentials_and_cannot_read_them(trial: PrivateStack, client: httpx.Client) -> None:
    secret = trial.data / "secrets" / "broker"
    seen = client.get("/trial/peek", params={"path": str(secret)}).json()
    assert trial.password not in json.dumps(seen)
    assert not [name for name in seen["environment"] if name.startswith("RABBIT")]
    if os.geteuid() == 0:
        assert seen["uid"] != 0
        assert seen["error"] == "PermissionError"


def test_nobody_waits_gives_202_and_the_func_is_applied(
    trial: PrivateStack, client: httpx.Client, data_folder: Path
) -> None:
    folder = Path(tempfile.mkdtemp(dir=data_folder))
    folder.chmod(0o777)  # hosts run as users of their own
    mark = folder / "async"
    answer = client.post("/trial/wait", params={"seconds": 0, "mark": str(mark)}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["x-request-id"]
    trial.wait_for(mark.exists, "the Func was applied")


def test_pages_of_the_frontend_tell_how_it_is(client: httpx.Client) -> None:
    assert client.get("/__health").status_code == 200
    assert client.get("/__ready").status_code == 200
    table = client.get("/__routes").json()
    assert "trial" in json.dumps(table["routes"])


def test_basic_credentials_reach_the_func(client: httpx.Client) -> None:
    given = "Basic " + base64.b64encode(b"a:b").decode()
    seen = client.get("/trial/headers", headers={"Authorization": given}).json()["headers"]
    assert given in seen.values()


def lines_of(stack: PrivateStack) -> Iterator[dict[str, object]]:
    """All JSON lines of the Runners' logs."""
    for file in sorted(stack.stack.folders.log.glob("runner*.log")):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)


@pytest.mark.parametrize("size", [120_000, 200_000, 5_000_000])
def test_a_binary_body_comes_back_whatever_its_size(trial: PrivateStack, client: httpx.Client, size: int) -> None:
    """In its message, or by the folder that is shared; nothing stays there."""
    body = os.urandom(size)
    answer = client.post("/trial/echo", content=body, headers={"Content-Type": "application/octet-stream"})
    assert (answer.status_code, answer.content == body) == (200, True)
    assert trial.settings.bodies is None  # the stack chose the folder
    folder = trial.settings.data / "bodies"
    assert [file for place in ("requests", "answers") for file in (folder / place).iterdir()] == []
