"""The `answer` message: encoded once a request, fast; decoded by whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import pybase64

from funcatron.errors import BadMessage
from funcatron.message.envelope import VERSION, message_id
from funcatron.message.service import decode_base64

Headers = Iterable[Sequence[str]]

_TEXTS = ("json", "xml", "javascript", "x-www-form-urlencoded", "yaml")


@lru_cache(maxsize=512)
def is_text(content_type: str) -> bool:
    """Whether bodies of a content type are sent as text, when they are valid UTF-8."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("text/"):
        return True
    sub = kind.partition("/")[2]
    return sub in _TEXTS or sub.rpartition("+")[2] in _TEXTS


def encode_body(body: bytes, content_type: str) -> tuple[str, bool]:
    """Return a body as it travels, and whether that is base64: text travels as text, the rest as base64."""
    if is_text(content_type):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return pybase64.b64encode_as_string(body), True


def answer_bytes(
    request_id: str,
    status: int,
    headers: Headers,
    body: bytes,
    *,
    sender: str = "",
    sha: str | None = None,
    operation: str | None = None,
    reason: str | None = None,
    file: str | None = None,
) -> bytes:
    """Encode an answer. `headers` are name and value pairs, in their order; `body` are its bytes, however large; `file`
    names the file in the shared folder that holds it instead.

    Raises BadMessage when a header is no text that JSON can carry.
    """
    if type(headers) is not list:
        headers = list(headers)
    answer: dict[str, Any] = {"status": status, "headers": headers}
    if reason is not None:
        answer["reason"] = reason
    if body:
        content_type = ""
        for name, value in headers:
            if len(name) == 12 and name.lower() == "content-type":
                content_type = value
                break
        answer["body"], answer["body-base64-encoded"] = encode_body(body, content_type)
    else:
        answer["body"], answer["body-base64-encoded"] = "", False
    if file is not None:
        answer["body-file"] = file
    message: dict[str, Any] = {
        "action": "answer",
        "msg-id": message_id(),
        "from": sender,
        "at": int(time.time() * 1000),
        "version": VERSION,
        "request-id": request_id,
    }
    if sha is not None:
        message["sha"] = sha
    if operation is not None:
        message["operation"] = operation
    message["answer"] = answer
    try:
        return orjson.dumps(message)
    except (TypeError, UnicodeEncodeError) as err:
        raise BadMessage(f"The answer cannot be encoded: {err}.") from err


class Answer(NamedTuple):
    """An answer as a front end needs it."""

    request_id: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    reason: str | None = None
    sha: str | None = None
    operation: str | None = None

    @classmethod
    def decode(cls, data: bytes) -> Answer:
        """Decode a message. A body of which nothing else is said is base64, as in the original. Raises BadMessage."""
        try:
            raw = orjson.loads(data)
        except orjson.JSONDecodeError as err:
            raise BadMessage(f"The message is not JSON: {err}.") from err
        if type(raw) is not dict or raw.get("action") != "answer" or type(raw.get("answer")) is not dict:
            raise BadMessage("The message is no answer.")
        answer = raw["answer"]
        status, request_id = answer.get("status"), raw.get("request-id")
        if type(status) is not int or not 100 <= status <= 999:
            raise BadMessage(f"The answer's status is {str(status)[:60]}, not a number from 100 to 999.")
        if type(request_id) is not str:
            raise BadMessage("The answer names no request.")
        return cls(
            request_id,
            status,
            _headers(answer.get("headers")),
            _decoded(answer),
            _string(answer.get("reason")),
            _string(raw.get("sha")),
            _string(raw.get("operation")),
        )


def _headers(found: object) -> list[tuple[str, str]]:
    if found is None:
        return []
    if type(found) is not list:
        raise BadMessage("The answer's headers are no list of pairs.")
    headers = []
    for pair in found:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str:
            raise BadMessage("One of the answer's headers is no pair of name and value.")
        headers.append((pair[0], pair[1] if type(pair[1]) is str else str(pair[1])))
    return headers


def _decoded(answer: dict[str, Any]) -> bytes:
    body = answer.get("body")
    if not body:
        return b""
    if type(body) is not str:
        raise BadMessage("The answer's body is no string.")
    if answer.get("body-base64-encoded", True) is False:
        return body.encode("utf-8", "surrogatepass")
    return decode_base64(body, "The answer's body")


def _string(value: object) -> str | None:
    return value if type(value) is str else None
