"""The `service` message as the Runner needs it: decoded once, leniently where foreign front ends differ."""

from __future__ import annotations

from typing import Any

import orjson
import pybase64

from funcatron.errors import BadMessage

_MAX_ID = 255  # bytes: it is the answer's correlation id, and AMQP takes no more

HeaderValue = str | list[str]


class ServiceMessage:
    """A request for a Func. `path` and `query` are raw, as the client sent them; `headers` have lower-case names."""

    __slots__ = (
        "bodies",
        "body",
        "body_file",
        "deadline",
        "headers",
        "host",
        "method",
        "path",
        "query",
        "raw",
        "remote_addr",
        "reply_to",
        "request_id",
        "scheme",
    )

    method: str
    path: str
    query: str
    headers: dict[str, HeaderValue]
    body: bytes
    body_file: str | None  # where the body lies instead, in the folder `bodies`
    bodies: str | None  # the id of the folder that the front end shares with Runners
    request_id: str  # "" if there is none
    deadline: int | None  # ms since 1970
    reply_to: str | None  # what the body says; the property of the transport goes before it
    host: str
    scheme: str
    remote_addr: str
    raw: dict[str, Any]  # the whole message but its body

    @classmethod
    def decode(cls, data: bytes) -> ServiceMessage:
        """Decode a message. Raises BadMessage with a sentence that says what is wrong."""
        try:
            raw = orjson.loads(data)
        except orjson.JSONDecodeError as err:
            raise BadMessage(f"The message is not JSON: {err}.") from err
        if type(raw) is not dict:
            raise BadMessage("The message is not a JSON object.")
        get = raw.get
        if get("action", "service") != "service":
            raise BadMessage(f"The action is {_shown(get('action'))}, not service.")
        self = cls.__new__(cls)
        self.raw = raw
        method = get("method")
        if type(method) is not str or not method:
            raise BadMessage(f"method is {_shown(method)}, not the name of an HTTP method.")
        self.method = method
        self.path, self.query = _target(raw)
        headers = get("headers")
        if type(headers) is not dict:
            raise BadMessage(f"headers is {_shown(headers)}, not an object.")
        for name, value in headers.items():
            if type(value) is not str or not name.islower():
                headers = _normal_headers(headers)
                break
        self.headers = headers
        body = raw.pop("body", None)
        self.body = _body(body, get("body-base64-encoded")) if body else b""
        if body and "content-type" not in headers and type(get("content-type")) is str:
            headers["content-type"] = raw["content-type"]
        bodies, file = get("bodies"), get("body-file")
        self.bodies = bodies if bodies is None or type(bodies) is str else _text(raw, "bodies")
        self.body_file = file if file is None or type(file) is str else _text(raw, "body-file")
        request_id = get("request-id")
        self.request_id = request_id if type(request_id) is str else _text(raw, "request-id") or ""
        if len(self.request_id) > _MAX_ID // 4 and len(self.request_id.encode()) > _MAX_ID:
            raise BadMessage(f"request-id has more than {_MAX_ID} bytes.")
        deadline = get("deadline")
        self.deadline = deadline if type(deadline) is int else _deadline(deadline)
        reply_to, host, scheme, address = get("reply-to"), get("host"), get("scheme"), get("remote-addr")
        # the checks are written out since nearly all are strings, and each call would cost as much as the check
        self.reply_to = reply_to if type(reply_to) is str else _text(raw, "reply-to")
        self.host = host if type(host) is str else _text(raw, "host") or ""
        self.scheme = scheme if type(scheme) is str and scheme else _text(raw, "scheme") or "http"
        self.remote_addr = address if type(address) is str else _text(raw, "remote-addr") or ""
        return self


def _target(raw: dict[str, Any]) -> tuple[str, str]:
    """Return path and query: of `request-uri`, which is as the client sent it, else of `uri` and `args`."""
    target = raw.get("request-uri")
    if type(target) is str and target:
        if target[0] != "/":
            target = _origin_form(target)
        path, _, query = target.partition("?")
        return path, query
    uri = raw.get("uri")
    if type(uri) is not str or not uri.startswith("/"):
        raise BadMessage(f"request-uri is {_shown(target)}, not a path; nor is uri.")
    return uri, _text(raw, "args") or ""


def _origin_form(target: str) -> str:
    """Take the path of a target in absolute form (RFC 9112, 3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if not separator or not scheme.isalpha():
        if target == "*":  # OPTIONS *
            return "/*"
        raise BadMessage(f"request-uri is {_shown(target)}, which does not begin with /.")
    at = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    return rest[at:] if rest[at : at + 1] == "/" else "/" + rest[at:]


def _normal_headers(headers: dict[str, Any]) -> dict[str, HeaderValue]:
    """Lower-case the names, join what differed in case only, and make strings of numbers and booleans."""
    normal: dict[str, HeaderValue] = {}
    for name, value in headers.items():
        if type(value) is list:
            values = [_header_value(name, item) for item in value]
        elif value is None:
            continue
        else:
            values = [_header_value(name, value)]
        lower = name.lower()
        before = normal.get(lower)
        if before is not None:
            values = (before if type(before) is list else [str(before)]) + values
        if values:
            normal[lower] = values[0] if len(values) == 1 else values
    return normal


def _header_value(name: str, value: object) -> str:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) in (int, float):
        return str(value)
    raise BadMessage(f"The header {name[:100]} is {_shown(value)}, not a string or a list of strings.")


def _body(body: object, encoded: object) -> bytes:
    if type(body) is not str:
        return orjson.dumps(body)  # a foreign front end's JSON body as it is
    if encoded is True:
        return decode_base64(body, "body")
    try:
        return body.encode()
    except UnicodeEncodeError as err:
        raise BadMessage("body is no valid Unicode text.") from err


def decode_base64(text: str, what: str) -> bytes:
    """Decode base64, with or without line breaks. Raises BadMessage."""
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        pass
    try:
        return pybase64.b64decode("".join(text.split()), validate=True)
    except ValueError as err:
        raise BadMessage(f"{what} is not base64: {err}.") from err


def _deadline(value: object) -> int | None:
    if value is None:
        return None
    if type(value) in (int, float):
        return int(value)  # type: ignore[call-overload, no-any-return]  # the line above says that it is a number
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    raise BadMessage(f"deadline is {_shown(value)}, not a number of milliseconds.")


def _text(raw: dict[str, Any], name: str) -> str | None:
    value = raw.get(name)
    if value is None or type(value) is str:
        return value
    if type(value) in (int, float):
        return str(value)
    raise BadMessage(f"{name} is {_shown(value)}, not a string.")


def _shown(value: object) -> str:
    """Name a value in an error: short, whatever it is."""
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
