"""The service message: ours, the original's, foreign front ends', and broken ones."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from funcatron.errors import BadMessage
from funcatron.message import ServiceMessage, control, encode

PLAIN: dict[str, Any] = {"action": "service", "method": "GET", "request-uri": "/x", "headers": {}}


def decode(**changes: Any) -> ServiceMessage:
    """Decode a plain message with changes; None removes."""
    message = {**PLAIN, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return ServiceMessage.decode(orjson.dumps({name: value for name, value in message.items() if value is not None}))


def test_all_that_was_sent_is_there() -> None:
    """Path and query raw, header names lower-case, body as bytes."""
    sent = control.service(
        "f-1",
        "r-1",
        "POST",
        "/a%2Fb/%00/ü?x=1&y=%20?",
        {"content-type": "text/plain", "cookie": ["a=1", "b=2"]},
        body="grüße\0",
        deadline=1_700_000_000_000,
        host="example.com",
        **{"reply-to": "back", "scheme": "https", "remote-addr": "::1"},
    )
    got = ServiceMessage.decode(encode(sent))
    assert (got.method, got.path, got.query) == ("POST", "/a%2Fb/%00/ü", "x=1&y=%20?")
    assert got.headers == {"content-type": "text/plain", "cookie": ["a=1", "b=2"]}
    assert got.body == "grüße\0".encode()
    assert (got.request_id, got.deadline, got.reply_to) == ("r-1", 1_700_000_000_000, "back")
    assert (got.host, got.scheme, got.remote_addr) == ("example.com", "https", "::1")


def test_what_is_absent_has_a_plain_value() -> None:
    """Nobody waits, no body, no host."""
    got = decode()
    assert (got.body, got.query, got.host, got.scheme, got.remote_addr) == (b"", "", "", "http", "")
    assert (got.request_id, got.deadline, got.reply_to) == ("", None, None)


@pytest.mark.parametrize("request_id", ["x" * 255, "ü" * 127, "x" * 128])
def test_request_ids_may_be_long(request_id: str) -> None:
    """As long as a transport takes them."""
    assert decode(request_id=request_id).request_id == request_id


@pytest.mark.parametrize("body", [bytes(range(256)), b"", b"x" * 1_000_000])
def test_binary_bodies_are_base64(body: bytes) -> None:
    """With line breaks, too, as MIME encoders write it."""
    text = base64.b64encode(body).decode()
    assert decode(body=text, body_base64_encoded=True).body == body
    assert decode(body=base64.encodebytes(body).decode(), body_base64_encoded=True).body == body


def test_a_body_of_which_nothing_is_said_is_text() -> None:
    """Even if it looks like base64."""
    assert decode(body="aGk=").body == b"aGk="


def test_a_foreign_front_end_may_send_the_body_as_json_itself() -> None:
    """It becomes the bytes of that JSON."""
    assert orjson.loads(decode(body={"name": "Rex"}).body) == {"name": "Rex"}


def test_foreign_header_names_and_values_are_made_regular() -> None:
    """Names in any case, numbers and booleans as values, nulls left out, the same name twice."""
    got = decode(headers={"Accept": "a", "accept": "b", "X-Count": 7, "x-on": True, "x-none": None, "x-l": ["a", 1]})
    assert got.headers == {"accept": ["a", "b"], "x-count": "7", "x-on": "true", "x-l": ["a", "1"]}


def test_the_content_type_beside_the_headers_counts_when_there_is_a_body() -> None:
    """The original sends both."""
    assert decode(content_type="text/plain", body="x").headers == {"content-type": "text/plain"}
    assert decode(content_type="a/b", body="x", headers={"content-type": "c/d"}).headers == {"content-type": "c/d"}


@pytest.mark.parametrize(
    ("changes", "path", "query"),
    [
        ({"request_uri": None, "uri": "/only/uri"}, "/only/uri", ""),
        ({"request_uri": None, "uri": "/u", "args": "a=1"}, "/u", "a=1"),
        ({"request_uri": "http://host:80/abs?x"}, "/abs", "x"),
        ({"request_uri": "http://host?x=/"}, "/", "x=/"),
        ({"request_uri": "*"}, "/*", ""),
        ({"request_uri": "/?"}, "/", ""),
        ({"request_uri": "//a//b/?/?"}, "//a//b/", "/?"),
    ],
)
def test_path_and_query_are_found(changes: dict[str, Any], path: str, query: str) -> None:
    """In the request target, or in the fields of the original."""
    got = decode(**changes)
    assert (got.path, got.query) == (path, query)


@pytest.mark.parametrize("deadline", [1_700_000_000_000, "1700000000000", 1_700_000_000_000.7])
def test_a_deadline_may_be_a_number_or_its_digits(deadline: Any) -> None:
    """Milliseconds since 1970."""
    assert decode(deadline=deadline).deadline == 1_700_000_000_000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"action": "answer"}, "action"),
        ({"method": None}, "method"),
        ({"method": 7}, "method"),
        ({"request_uri": None}, "request-uri"),
        ({"request_uri": "x/y"}, "request-uri"),
        ({"request_uri": 7, "uri": "x"}, "request-uri"),
        ({"headers": []}, "headers"),
        ({"headers": {"x": {"y": 1}}}, "header x"),
        ({"headers": {"x": ["a", ["b"]]}}, "header x"),
        ({"body": "=!", "body_base64_encoded": True}, "body"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": True}, "deadline"),
        ({"deadline": "9" * 30}, "deadline"),
        ({"request_id": {}}, "request-id"),
        ({"request_id": "x" * 256}, "request-id"),
        ({"request_id": "ü" * 128}, "request-id"),
        ({"host": []}, "host"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], named: str) -> None:
    """In one short sentence."""
    with pytest.raises(BadMessage, match=named) as caught:
        decode(**changes)
    assert len(str(caught.value)) < 300
