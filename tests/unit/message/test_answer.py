"""The answer message: encoded, decoded, and read as the original would."""

from __future__ import annotations

import base64
import time

import orjson
import pytest

from funcatron.errors import BadMessage
from funcatron.message import Answer, answer_bytes, encode_body, is_text

JSON = [("Content-Type", "application/json")]


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("application/json", b'{"a": "\xc3\xbc"}', True),
        ("application/problem+json; charset=utf-8", b"{}", True),
        ("text/html", b"<p>", True),
        ("TEXT/Plain", b"a\0b", True),
        ("image/svg+xml", b"<svg/>", True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("text/plain; charset=latin-1", b"\xfc", False),
        ("application/json", b"\xff", False),
        ("application/json", b"\xed\xa0\x80", False),
        ("application/octet-stream", b"abc", False),
        ("image/png", b"\x89PNG", False),
        ("", b"abc", False),
    ],
)
def test_text_travels_as_text_and_the_rest_as_base64(content_type: str, body: bytes, text: bool) -> None:
    """Text needs a text-like type and valid UTF-8. What arrives is what was sent."""
    raw = answer_bytes("r-1", 200, [("x", "y"), ("content-type", content_type)], body)
    answer = orjson.loads(raw)["answer"]
    assert answer["body-base64-encoded"] is not text
    assert answer["body"] == (body.decode() if text else base64.b64encode(body).decode())
    assert Answer.decode(raw).body == body


def test_all_of_an_answer_travels() -> None:
    """Repeated headers keep their order; who answered is named."""
    headers = [("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Ü", "é")]
    raw = answer_bytes("r-1", 201, headers, b"", sender="runner-1", sha="ab", operation="pets.add", reason="Made")
    message = orjson.loads(raw)
    assert (message["from"], message["version"]) == ("runner-1", 1)
    assert abs(message["at"] - time.time() * 1000) < 60_000
    assert message["answer"]["body"] == ""
    assert Answer.decode(raw) == Answer("r-1", 201, headers, b"", "Made", "ab", "pets.add")


def test_headers_may_come_from_a_generator() -> None:
    """And are gone through once."""
    raw = answer_bytes("r-1", 200, (pair for pair in JSON), b"{}")
    assert Answer.decode(raw)[2:4] == (JSON, b"{}")


def test_a_body_of_which_nothing_is_said_is_base64() -> None:
    """The original's contract for answers."""
    raw = {"action": "answer", "request-id": "r", "answer": {"status": 200, "headers": [], "body": "aGk="}}
    assert Answer.decode(orjson.dumps(raw)).body == b"hi"


def test_large_bodies_travel() -> None:
    """Text and binary, ten megabytes."""
    for content_type, body in (("text/plain", b"\xc3\xbc" * 5_000_000), ("a/b", bytes(range(256)) * 40_000)):
        raw = answer_bytes("r", 200, [("content-type", content_type)], body)
        assert Answer.decode(raw).body == body


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"status": "200"},
        {"status": 99},
        {"status": True},
        {"status": 200, "headers": {}},
        {"status": 200, "headers": [["a"]]},
        {"status": 200, "headers": [[1, "b"]]},
        {"status": 200, "body": 7},
        {"status": 200, "body": "!"},
    ],
)
def test_what_is_no_answer_is_a_bad_message(answer: object) -> None:
    """Said in a short sentence."""
    with pytest.raises(BadMessage) as caught:
        Answer.decode(orjson.dumps({"action": "answer", "request-id": "r", "answer": answer}))
    assert len(str(caught.value)) < 200


def test_a_header_that_no_json_can_carry_is_a_bad_message() -> None:
    """A lone surrogate, or no string at all."""
    for value in ("\ud800", object()):
        with pytest.raises(BadMessage):
            answer_bytes("r", 200, [("a", value)], b"")  # type: ignore[list-item]


def test_text_types_are_told_from_others() -> None:
    """By what stands before the parameters."""
    assert all(map(is_text, ("application/yaml", "application/javascript", "text/x", "a/b+json ; x=y")))
    assert not any(map(is_text, ("application/jsonx", "image/gif", "json", "multipart/form-data")))
    assert encode_body(b"", "text/plain") == ("", False)
