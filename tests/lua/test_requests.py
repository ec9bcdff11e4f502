"""What a request becomes: the message as a consumer of a real RabbitMQ gets it."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest
from lua_support.consumer import Consumer, Message, answer
from lua_support.nginx import Nginx


@pytest.fixture(autouse=True)
def _usual(consumer: Consumer) -> None:
    consumer.reply = lambda message: answer(200, b"hello")
    while not consumer.messages.empty():
        consumer.messages.get()


@pytest.fixture
def raw(frontend: Nginx) -> Callable[..., bytes]:
    """Send raw bytes on a connection and return everything until nginx closes it (or `stop` has come)."""

    def send(*pieces: bytes, stop: bytes | None = None) -> bytes:
        with socket.create_connection(("127.0.0.1", frontend.port), timeout=10) as sock:
            for piece in pieces:
                sock.sendall(piece)
            got = b""
            while stop is None or stop not in got:
                data = sock.recv(65536)
                if not data:
                    break
                got += data
            return got

    return send


def test_the_message_has_the_properties_and_headers_that_routing_needs(frontend: Nginx, consumer: Consumer) -> None:
    before = time.time()
    response = httpx.get(
        frontend.url + "/pets/1.0/a%20b/c:d?x=1&y",
        headers={"Host": "Api.Example:8080", "X-Request-Id": "req.1"},
    )
    assert response.status_code == 200
    message = consumer.take()
    assert (message.exchange, message.routing_key) == ("", "funcatron.firehose")
    properties = message.properties
    assert properties.reply_to == frontend.stats()["link"]["queue"]
    assert properties.correlation_id == "req.1"
    assert properties.expiration == "5000"
    assert properties.delivery_mode in {None, 1}
    headers = properties.headers
    assert headers["host"] == "api.example"
    assert headers["path"] == "/pets/1.0/a%20b/c:d"
    assert before + 4 < int(headers["deadline"]) / 1000 < time.time() + 6
    assert int(headers["content-length"]) == len(message.body)


def test_the_body_has_every_key_of_the_original(frontend: Nginx, consumer: Consumer) -> None:
    httpx.post(
        frontend.url + "/a/b?x=1&y=2&x=3&z&w=a%20b+c",
        content=b'{"a":"\xc3\xa9"}',
        headers={"Content-Type": "application/json", "Referer": "http://r/", "User-Agent": "agent", "X-Two": "2"},
        auth=("ada", "secret"),
    )
    message = consumer.take()
    body = message.json
    assert body["action"] == "service"
    assert body["version"] == 1
    assert uuid.UUID(body["msg-id"]).version == 4
    assert body["from"] == frontend.stats()["instance"]
    assert abs(body["at"] / 1000 - time.time()) < 5
    assert body["deadline"] == int(message.properties.headers["deadline"])
    assert body["request-id"] == message.properties.correlation_id
    assert body["reply-to"] == body["reply-queue"] == message.properties.reply_to
    assert body["method"] == "POST"
    assert body["host"] == "127.0.0.1"
    assert body["scheme"] == "http"
    assert body["uri"] == "/a/b"
    assert body["request-uri"] == "/a/b?x=1&y=2&x=3&z&w=a%20b+c"
    assert body["request"] == "POST /a/b?x=1&y=2&x=3&z&w=a%20b+c HTTP/1.1"
    assert body["args"] == "x=1&y=2&x=3&z&w=a%20b+c"
    assert body["uri-args"] == {"x": ["1", "3"], "y": "2", "z": True, "w": "a b c"}
    assert body["server-protocol"] == "HTTP/1.1"
    assert body["server-port"] == str(frontend.port)
    assert body["server-addr"] == body["remote-addr"] == "127.0.0.1"
    assert int(body["remote-port"]) > 0
    assert body["remote-user"] == "ada"
    assert body["http-referer"] == "http://r/"
    assert body["http-user-agent"] == "agent"
    assert body["content-type"] == "application/json"
    assert body["headers"]["x-two"] == "2"
    assert body["headers"]["content-type"] == "application/json"
    assert body["body-base64-encoded"] is False
    assert body["body"] == '{"a":"é"}'


def test_absent_things_are_absent(frontend: Nginx, consumer: Consumer, raw: Callable[..., bytes]) -> None:
    raw(b"GET /x HTTP/1.0\r\n\r\n")
    message = consumer.take()
    body = message.json
    assert {"args", "content-type", "http-referer", "http-user-agent", "remote-user"}.isdisjoint(body)
    assert body["headers"] == {}
    assert body["uri-args"] == {}
    assert body["host"] == ""
    assert (message.properties.headers["host"], message.properties.headers["path"]) == ("", "/x")
    assert body["body"] == ""


def test_a_long_path_is_whole_in_its_header(frontend: Nginx, consumer: Consumer) -> None:
    path = "/" + "x" * 4000
    httpx.get(frontend.url + path)
    assert consumer.take().properties.headers["path"] == path


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND", "M-SEARCH"])
def test_every_method_arrives(frontend: Nginx, consumer: Consumer, method: str) -> None:
    assert httpx.request(method, frontend.url + "/m").status_code == 200
    message = consumer.take()
    assert message.json["method"] == method


PATHS = [
    b"/a%2Fb", b"/a%2fb", b"/caf%C3%A9", "/café".encode(), b"/a+b%2Bc", b"/%7Euser/~user", b"//double//slash/",
    b"/a/../b/./c",
    b"/a:b;c=d,e@f!g$h&i'j(k)*l", b"/back\\slash", b'/quote"brace{}|^`<>', b"/?", b"/%25%2525", b"/a?b?c=/d%2F%00%0A",
]  # fmt: skip


@pytest.mark.parametrize("uri", PATHS, ids=repr)
def test_percent_encoding_and_odd_bytes_are_kept_as_they_came(
    consumer: Consumer, raw: Callable[..., bytes], uri: bytes
) -> None:
    got = raw(b"GET " + uri + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    message = consumer.take()
    path = uri.partition(b"?")[0].decode()
    assert message.json["request-uri"].encode() == uri
    assert message.properties.headers["path"] == path


def test_an_escaped_nul_in_the_path_is_refused_by_nginx_itself(raw: Callable[..., bytes]) -> None:
    got = raw(b"GET /a%00b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in got


def test_bytes_that_are_not_utf8_become_latin1(consumer: Consumer, raw: Callable[..., bytes]) -> None:
    raw(b"GET /\xe9?q=%E9&\xff=1 HTTP/1.1\r\nHost: h\r\nX-Name: Andr\xe9\r\nConnection: close\r\n\r\n")
    message = consumer.take()
    assert message.properties.headers["path"] == "/é"
    assert message.json["request-uri"] == "/é?q=%E9&ÿ=1"
    assert message.json["uri-args"] == {"q": "é", "ÿ": "1"}
    assert message.json["headers"]["x-name"] == "André"


def test_repeated_headers_become_arrays_and_names_lower_case(consumer: Consumer, raw: Callable[..., bytes]) -> None:
    raw(
        b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-a: 2\r\napi_key: k\r\nX.Dot!: d\r\nX-Empty:\r\n"
        b"Connection: close\r\n\r\n"
    )
    headers = consumer.take().json["headers"]
    assert headers["x-a"] == ["1", "2"]
    assert headers["api_key"] == "k"
    assert headers["x.dot!"] == "d"
    assert headers["x-empty"] == ""


def test_more_than_a_hundred_headers_and_parameters_arrive(frontend: Nginx, consumer: Consumer) -> None:
    many = {f"X-{i}": str(i) for i in range(150)}
    httpx.get(frontend.url + "/", headers=many, params={f"p{i}": str(i) for i in range(150)})
    body = consumer.take().json
    assert sum(name.startswith("x-") for name in body["headers"]) == 150
    assert len(body["uri-args"]) == 150


def test_hop_by_hop_headers_stay_behind(consumer: Consumer, raw: Callable[..., bytes]) -> None:
    raw(
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        b"Proxy-Connection: x\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\nTrailer: x\r\nTraceparent: 00-a-b-01\r\n\r\n"
    )
    assert consumer.take().json["headers"] == {"host": "h", "traceparent": "00-a-b-01"}


def test_a_sane_request_id_is_kept_and_another_one_replaced(frontend: Nginx, consumer: Consumer) -> None:
    assert httpx.get(frontend.url, headers={"X-Request-Id": "aB3._~-"}).headers["x-request-id"] == "aB3._~-"
    for bad in ("has space", "a" * 129, "a:b", "<x>"):
        made = httpx.get(frontend.url, headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert uuid.UUID(made).version == 4
    ids = {httpx.get(frontend.url).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


BODIES = [
    (b"", "application/json", False),
    (b"x", None, True),
    (b"plain", "text/plain", False),
    (b'"\\\x00\x1f\x7f/', "text/plain", False),
    ("ünïcode €😀".encode(), "application/json; charset=utf-8", False),
    (b"latin1 \xe9", "text/plain; charset=iso-8859-1", True),
    (bytes(range(256)), "application/octet-stream", True),
    (b"a=1&b=%20", "application/x-www-form-urlencoded", False),
    (b"\x00" * 70_000, "application/octet-stream", True),
    (b"t" * 70_000, "text/plain", False),
    (b"\x00\xff" * 1_500_000, "application/octet-stream", True),  # spooled to disk
    (b"long text " * 300_000, "text/plain", False),  # spooled, text
    (b"\xe9" * 3_000_000, "text/plain", True),  # spooled, text that is not UTF-8
]


@pytest.mark.parametrize(("body", "kind", "encoded"), BODIES, ids=[f"{len(b)}-{k}" for b, k, _ in BODIES])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_bodies_arrive_whole(
    frontend: Nginx, consumer: Consumer, body: bytes, kind: str | None, encoded: bool, chunked: bool
) -> None:
    headers = {"Content-Type": kind} if kind else {}

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    response = httpx.post(frontend.url + "/b", content=pieces() if chunked else body, headers=headers, timeout=20)
    assert response.status_code == 200
    message = consumer.take(20)
    assert message.payload == body
    if body:
        assert message.json["body-base64-encoded"] is encoded
    assert "transfer-encoding" not in message.json["headers"]


def test_expect_100_continue_is_answered_before_the_body(consumer: Consumer, raw: Callable[..., bytes]) -> None:
    with_body = raw(
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", b"body"
    )
    assert with_body.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert consumer.take().payload == b"body"


def test_http_1_0_gets_a_length_and_a_closed_connection(raw: Callable[..., bytes]) -> None:
    got = raw(b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"content-length: 5" in head.lower()
    assert b"chunked" not in head
    assert body == b"hello"


def test_pipelined_requests_are_answered_in_order(consumer: Consumer, raw: Callable[..., bytes]) -> None:
    consumer.reply = lambda message: answer(200, message.json["request-uri"].encode())
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % i for i in range(20))
    post = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    got = raw(requests + post + b"GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    bodies = [part.partition(b"\r\n\r\n")[2] for part in got.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"/%d" % i for i in range(20)] + [b"/p", b"/end"]


def test_an_absolute_uri_gives_host_and_path(consumer: Consumer, raw: Callable[..., bytes]) -> None:
    raw(b"GET http://Other.Example:81/p?q HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    headers = consumer.take().properties.headers
    assert (headers["host"], headers["path"]) == ("other.example", "/p")


def test_conditions_are_the_funcs_to_judge(frontend: Nginx, consumer: Consumer) -> None:
    validators = [["ETag", '"1"'], ["Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"]]
    consumer.reply = lambda message: answer(200, b"done", validators)
    for headers in (
        {"If-Match": '"0"'}, {"If-None-Match": '"1"'}, {"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"},
        {"If-Unmodified-Since": "Sun, 01 Jan 2023 00:00:00 GMT"}, {"Range": "bytes=0-1"},
    ):  # fmt: skip
        response = httpx.get(frontend.url + "/", headers=headers)
        assert (response.status_code, response.text) == (200, "done")
        assert next(iter(headers)).lower() in consumer.take().json["headers"]


def test_async_requests_are_persistent_and_have_nobody_to_reply_to(frontend: Nginx, consumer: Consumer) -> None:
    response = httpx.post(frontend.url + "/later", content=b"job", headers={"Prefer": "wait=1, respond-async"})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "respond-async"
    message = consumer.take()
    assert message.properties.delivery_mode == 2
    assert message.properties.reply_to is None
    assert message.properties.expiration is None
    assert message.properties.correlation_id == response.headers["x-request-id"]
    assert {"reply-to", "reply-queue", "deadline"}.isdisjoint(message.json)
    assert message.payload == b"job"


def test_the_access_log_has_one_json_line_a_request(frontend: Nginx, consumer: Consumer) -> None:
    sha = "ab" * 32
    consumer.reply = lambda message: answer(201, b"12345", sha=sha)
    httpx.post(frontend.url + '/log?q="\\', content=b"x" * 1000, headers={"X-Request-Id": "log-1"})
    line = frontend.line("log-1")
    assert line["status"] == 201
    assert line["method"] == "POST"
    assert line["path"].startswith("/log?q=")
    assert line["sha"] == sha
    assert 0 <= line["wait"] <= line["seconds"] + 0.001 < 5
    assert line["bytes-in"] > 1000
    assert line["bytes-out"] > 5
    assert line["component"] == "frontend"


def test_messages_are_json_with_a_true_length_whatever_comes(frontend: Nginx, consumer: Consumer) -> None:
    """Noise in every place that a client can fill."""
    taken: list[Message] = []
    for seed in range(40):
        noise = bytes((seed * 37 + i * 101) % 256 for i in range(60))
        value = bytes(b for b in noise if b >= 0x20 and b != 0x7F)
        query = bytes(b for b in noise if b > 0x20 and b not in b"#\x7f")
        with socket.create_connection(("127.0.0.1", frontend.port), timeout=5) as sock:
            head = b"POST /n?" + query + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Noise: " + value.strip()
            sock.sendall(head + b"\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(noise) + noise)
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
        message = consumer.take()
        taken.append(message)
        json.loads(message.body)
        assert message.payload == noise
    assert len(taken) == 40
