"""What an answer becomes: the HTTP response as a client gets it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from lua_support.consumer import Consumer, answer
from lua_support.nginx import Nginx
from lua_support.waiting import until


def fetch(nginx: Nginx, method: str = "GET", path: str = "/") -> tuple[int, str, list[tuple[str, str]], bytes]:
    """Status, reason, headers and all bytes of the body, without an HTTP library in between."""
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=20) as sock:
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while data := sock.recv(1 << 16):
            got += data
    head, _, body = got.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    _, status, reason = first.split(" ", 2)
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return int(status), reason, headers, body


def shared(folder: Path) -> Path:
    """A folder for large bodies as the stack makes it."""
    for name in ("requests", "answers"):
        (folder / name).mkdir()
    (folder / "id").write_text("5e0c7a9e\n")
    return folder


def values(headers: list[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in headers if key == name]


def test_a_binary_body_comes_out_as_it_went_in(frontend: Nginx, consumer: Consumer) -> None:
    body = bytes(range(256)) * 5000
    consumer.reply = lambda message: answer(200, body, [["Content-Type", "application/x-mine"]])
    status, reason, headers, got = fetch(frontend)
    assert (status, reason) == (200, "OK")
    assert got == body
    assert values(headers, "content-length") == [str(len(body))]
    assert values(headers, "content-type") == ["application/x-mine"]
    assert values(headers, "transfer-encoding") == []


def test_a_text_body_comes_out_as_utf8(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(200, "grün €\0".encode(), encoded=False)
    assert fetch(frontend)[3] == "grün €\0".encode()


@pytest.mark.parametrize("status", [200, 400, 404, 413, 500, 503])
def test_an_empty_body_is_empty_whatever_the_status(frontend: Nginx, consumer: Consumer, status: int) -> None:
    consumer.reply = lambda message: answer(status)
    got, _, headers, body = fetch(frontend)
    assert (got, body) == (status, b"")
    assert values(headers, "content-length") == ["0"]
    assert values(headers, "content-type") == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [(201, "Created"), (202, "Accepted"), (301, "Moved Permanently"), (401, "Unauthorized"), (405, "Not Allowed"),
     (409, "Conflict"), (415, "Unsupported Media Type"), (429, "Too Many Requests"), (502, "Bad Gateway"),
     (418, ""), (422, ""), (299, ""), (599, "")],
)  # fmt: skip
def test_statuses_keep_their_number_and_a_body(frontend: Nginx, consumer: Consumer, status: int, reason: str) -> None:
    consumer.reply = lambda message: answer(status, b"body")
    got, phrase, _, body = fetch(frontend)
    assert (got, phrase, body) == (status, reason, b"body")


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body(frontend: Nginx, consumer: Consumer, status: int) -> None:
    consumer.reply = lambda message: answer(status, b"must not be sent", [["ETag", '"x"']])
    got, _, headers, body = fetch(frontend)
    assert (got, body) == (status, b"")
    assert values(headers, "etag") == ['"x"']
    assert values(headers, "content-length") == values(headers, "transfer-encoding") == []


def test_repeated_headers_stay_apart_and_in_order(frontend: Nginx, consumer: Consumer) -> None:
    cookies = ["a=1; Path=/", "b=2; HttpOnly", "c=3"]
    listed = [["Set-Cookie", c] for c in cookies] + [["X-Twice", "1"], ["X-Once", "o"], ["x-twice", "2"]]
    consumer.reply = lambda message: answer(200, b"", listed)
    headers = fetch(frontend)[2]
    assert values(headers, "set-cookie") == cookies
    assert values(headers, "x-twice") == ["1", "2"]
    assert values(headers, "x-once") == ["o"]


def test_odd_but_lawful_header_names_and_values_pass(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(
        200,
        b"",
        [["under_score", "1"], ["X.Dot", "é"], ["X-Number", 5], ["X-Empty", ""], ["X-True", True]],  # type: ignore[list-item]
    )
    headers = dict(fetch(frontend)[2])
    assert headers["under_score"] == "1"
    assert headers["x.dot"].encode("latin-1").decode() == "é"
    assert headers["x-number"] == "5"
    assert headers["x-empty"] == ""
    assert headers["x-true"] == "true"


def test_a_relative_location_stays_relative(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(302, b"", [["Location", "/there?x=1"]])
    assert values(fetch(frontend)[2], "location") == ["/there?x=1"]


def test_header_injection_is_impossible(frontend: Nginx, consumer: Consumer) -> None:
    evil = "x\r\nSet-Cookie: evil=1\r\n\r\n<script>"
    consumer.reply = lambda message: answer(
        200,
        b"body",
        [["X-Value", evil], ["X-Nul", "a\0b"], ["X-LF", "a\nInjected: 1"], ["Na\r\nme: x", "v"], ["Na me", "v"],
         ["Nam:e", "v"], ["", "v"], ["Set-Cookie", "a=1\r\nInjected: 1"], ["Location", "/\r\nInjected: 1"]],
    )  # fmt: skip
    status, _, headers, body = fetch(frontend)
    assert (status, body) == (200, b"body")
    names = {name for name, _ in headers}
    assert "injected" not in names
    assert names.isdisjoint({"na", "me", "na me", "nam"})
    assert values(headers, "set-cookie") == ["a=1 Injected: 1"]
    assert values(headers, "x-value") == ["x Set-Cookie: evil=1 <script>"]
    assert values(headers, "x-nul") == ["a b"]
    assert "are replaced" in frontend.errors()
    assert "is dropped" in frontend.errors()


def test_hop_by_hop_headers_of_an_answer_stay_behind(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(
        200,
        b"12345",
        [["Transfer-Encoding", "chunked"], ["Content-Length", "3"], ["Keep-Alive", "x"], ["Connection", "x-mine"],
         ["X-Mine", "1"], ["Upgrade", "h2c"], ["Trailer", "x"], ["X-Other", "2"], ["X-Request-Id", "another"]],
    )  # fmt: skip
    _, _, headers, body = fetch(frontend)
    assert body == b"12345"
    assert values(headers, "content-length") == ["5"]
    assert values(headers, "connection") == ["close"]
    names = {name for name, _ in headers}
    assert names.isdisjoint({"transfer-encoding", "keep-alive", "x-mine", "upgrade", "trailer"})
    assert values(headers, "x-other") == ["2"]
    assert values(headers, "x-request-id") != ["another"]


def test_head_has_the_length_of_the_body_and_no_body(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(200, b"12345", [["Content-Type", "text/plain"]])
    status, _, headers, body = fetch(frontend, "HEAD")
    assert (status, body) == (200, b"")
    assert values(headers, "content-length") == ["5"]
    consumer.reply = lambda message: answer(200, b"", [["Content-Length", "777"]])
    _, _, headers, body = fetch(frontend, "HEAD")
    assert body == b""
    assert values(headers, "content-length") == ["777"]


@pytest.mark.parametrize("status", [100, 101, 103, 199, 0, 600, 1000, "200"])
def test_a_status_that_is_not_final_is_a_bad_gateway(frontend: Nginx, consumer: Consumer, status: Any) -> None:
    consumer.reply = lambda message: answer(status, b"body")
    got, reason, headers, body = fetch(frontend)
    assert (got, reason) == (502, "Bad Gateway")
    problem = json.loads(body)
    assert values(headers, "content-type") == ["application/problem+json"]
    assert problem["status"] == 502
    assert problem["request-id"] == values(headers, "x-request-id")[0]


@pytest.mark.parametrize(
    "made", [b"", b"{", b"[]", b"\xff\xfe", b'{"action":"answer"}', b'{"answer":{"status":200,"body":"%"}}']
)
def test_an_answer_that_cannot_be_read_is_a_bad_gateway(frontend: Nginx, consumer: Consumer, made: bytes) -> None:
    consumer.reply = lambda message: made
    assert httpx.get(frontend.url).status_code == 502


def test_an_answer_by_the_original_contract_is_base64_without_saying_so(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: json.dumps(
        {"action": "answer", "request-id": message.properties.correlation_id,
         "answer": {"headers": [["Content-Type", "text/plain"]], "status": 200, "body": "aGVsbG8="}}
    ).encode()  # fmt: skip
    assert httpx.get(frontend.url).text == "hello"


def test_internal_keys_of_an_answer_never_leave(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(200, b"x", sha="f" * 64, operation="secret.op")
    _, _, headers, _ = fetch(frontend)
    assert {name for name, _ in headers} == {"server", "date", "content-length", "connection", "x-request-id"}


def test_a_large_answer_arrives_whole_at_a_slow_client(frontend: Nginx, consumer: Consumer) -> None:
    body = bytes(range(256)) * 80_000  # 20 MB
    consumer.reply = lambda message: answer(200, body)
    with httpx.stream("GET", frontend.url, timeout=30) as response:
        assert int(response.headers["content-length"]) == len(body)
        assert b"".join(response.iter_raw(1 << 16)) == body


def test_a_client_that_goes_away_frees_its_slot(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: None
    before = frontend.stats()["ended"]
    with socket.create_connection(("127.0.0.1", frontend.port)) as sock:
        sock.sendall(b"GET /gone HTTP/1.1\r\nHost: h\r\nX-Request-Id: gone-1\r\n\r\n")
        until(lambda: frontend.stats()["waiting"] == 1, 5)
    until(lambda: frontend.stats()["waiting"] == 0, 5)
    assert frontend.stats()["ended"]["abandoned"] == before["abandoned"] + 1
    assert frontend.line("gone-1")["status"] == 499
    message = consumer.take()
    while message.properties.correlation_id != "gone-1":
        message = consumer.take()
    consumer.later(lambda: consumer.send_answer(message, answer(200)))
    until(lambda: frontend.stats()["ended"]["late"] == before["late"] + 1, 5)


def test_a_deadline_that_passes_is_a_gateway_timeout(frontend: Nginx, consumer: Consumer) -> None:
    consumer.reply = lambda message: None
    response = httpx.get(frontend.url + "/slow", timeout=20)
    assert response.status_code == 504
    problem = response.json()
    assert problem["title"] == "Gateway Timeout"
    assert problem["type"] == "about:blank"
    assert problem["request-id"] == response.headers["x-request-id"]
    assert 4.9 < frontend.line(problem["request-id"])["wait"] < 6


def test_a_body_in_the_shared_folder_is_sent_and_its_file_is_gone(
    start_nginx: Any, consumer: Consumer, rabbit: Any, tmp_path: Path
) -> None:
    """Only files among the answers can be named."""
    folder = shared(tmp_path)
    nginx = start_nginx(rabbit.frontend(FUNCATRON_BODIES=str(folder)))
    body = bytes(range(256)) * 5000
    (folder / "answers" / "abc-1").write_bytes(body)
    made = {"status": 201, "headers": [["Content-Type", "application/x-mine"]], "body": "", "body-file": "abc-1"}
    consumer.reply = lambda message: {"answer": made}
    status, _, headers, got = fetch(nginx)
    assert (status, got) == (201, body)
    assert values(headers, "content-length") == [str(len(body))]
    assert values(headers, "content-type") == ["application/x-mine"]
    assert not list((folder / "answers").iterdir())
    assert fetch(nginx)[0] == 502  # it is gone
    made["body-file"] = "../id"
    assert fetch(nginx)[0] == 502
    assert (folder / "id").exists()


def test_a_head_of_a_body_in_the_shared_folder_has_its_length(
    start_nginx: Any, consumer: Consumer, rabbit: Any, tmp_path: Path
) -> None:
    folder = shared(tmp_path)
    nginx = start_nginx(rabbit.frontend(FUNCATRON_BODIES=str(folder)))
    (folder / "answers" / "abc-2").write_bytes(b"x" * 300_000)
    consumer.reply = lambda message: {"answer": {"status": 200, "headers": [], "body": "", "body-file": "abc-2"}}
    status, _, headers, got = fetch(nginx, "HEAD")
    assert (status, values(headers, "content-length"), got) == (200, ["300000"], b"")


def test_a_large_body_is_named_in_its_message_and_there_as_long_as_its_request(
    start_nginx: Any, consumer: Consumer, rabbit: Any, tmp_path: Path
) -> None:
    """A small one, and one whose request ends at once, travel in the message."""
    folder = shared(tmp_path)
    nginx = start_nginx(rabbit.frontend(FUNCATRON_BODIES=str(folder), FUNCATRON_INLINE_BODY="100000"))
    found: list[bytes] = []
    ids: list[str | None] = []

    def reply(message: Any) -> dict[str, Any]:
        named = message.json.get("body-file")
        found.append((folder / named).read_bytes() if named else message.payload)
        ids.append(message.json.get("bodies"))
        return answer(200, b"yes" if named else b"no")

    consumer.reply = reply
    sent = [(b"y" * 200_000, {}), (b"n" * 50_000, {}), (b"n" * 200_000, {"Prefer": "respond-async"})]
    got = [httpx.post(nginx.url, content=body, headers=more) for body, more in sent]
    assert [(it.status_code, it.text) for it in got[:2]] == [(200, "yes"), (200, "no")]
    assert got[2].status_code == 202
    until(lambda: len(found) == 3, 5, "the third message")
    assert found == [body for body, _ in sent]
    assert ids == ["5e0c7a9e", "5e0c7a9e", None]
    until(lambda: not list((folder / "requests").iterdir()), 5, "its end")
