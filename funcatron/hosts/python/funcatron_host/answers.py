"""From what a Func returned to status, headers and body. Follows Connexion 3's rules for what is a response."""

from __future__ import annotations

import re
from collections.abc import Iterator as IteratorABC

from . import jsons
from .api import NoContent, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence, Tuple

    Headers = List[Tuple[str, str]]

JSON = "application/json"
BINARY = "application/octet-stream"
AMBIGUOUS = (
    "Multiple response content types are defined in the operation spec, but the handler response "
    "did not specify which one to return."
)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_FORBIDDEN = re.compile(r"[\r\n\0]")
_HOP = frozenset(("connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length"))


class BadAnswer(Exception):
    """The Func returned something that is no answer; `public` may be told to the client."""

    def __init__(self, detail: str, public: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.public = public


class Made:
    """An answer: `stream` is set when the body comes bit by bit, `asgi` when the response must run to have one."""

    __slots__ = ("asgi", "body", "headers", "status", "stream")

    def __init__(self, status: int, headers: Headers, body: Any = b"", stream: Any = None, asgi: Any = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.stream = stream
        self.asgi = asgi


def make(value: Any, produces: Sequence[str]) -> Made:
    """Return the answer that `value` means, for an operation that `produces` these media types. Raises BadAnswer,
    or what the serialisation raises."""
    status: Any = None
    headers: Any = None
    if type(value) is tuple:
        value, status, headers = _unpack(value)
    if isinstance(value, Response):
        own = _pairs(value.headers)
        if value.content_type:
            own = [pair for pair in own if pair[0].lower() != "content-type"] + [("content-type", value.content_type)]
        return _plain(value.body, status or value.status, _merged(own, headers), produces)
    if is_response(value):
        made = _from_response(value)
        made.status = made.status if status is None else _status(status)
        made.headers = _merged(made.headers, headers)
        return made
    return _plain(value, status, _pairs(headers), produces)


def _unpack(value: Tuple[Any, ...]) -> Tuple[Any, Any, Any]:
    """(body,), (body, status), (body, headers) or (body, status, headers)."""
    if len(value) == 1:
        return value[0], None, None
    if len(value) == 2:
        second = value[1]
        if isinstance(second, int) or isinstance(getattr(second, "value", None), int):
            return value[0], second, None
        return value[0], None, second
    if len(value) == 3:
        return value
    raise BadAnswer(
        "The view function did not return a valid response tuple. The tuple must have the form (body), "
        "(body, status, headers), (body, status), or (body, headers)."
    )


def _status(status: Any) -> int:
    status = getattr(status, "value", status)  # an Enum
    if isinstance(status, bool) or not isinstance(status, int):
        raise BadAnswer(f"{status!r} is not an HTTP status")
    code = int(status)
    if not 200 <= code <= 599:
        raise BadAnswer(f"{code} is not a final HTTP status (200 to 599)")
    return code


def _pairs(headers: Any) -> Headers:
    """Headers as pairs of text, from a mapping (values may be lists), pairs, or a headers object of a framework."""
    if not headers:
        return []
    for name in ("multi_items", "items"):
        if callable(getattr(headers, name, None)):
            headers = getattr(headers, name)()
            break
    pairs: Headers = []
    try:
        for name, value in headers:
            for one in value if isinstance(value, (list, tuple)) else (value,):
                pairs.append((_text(name), _text(one)))
    except (TypeError, ValueError):
        raise BadAnswer(f"these are no headers: {headers!r}") from None
    for name, value in pairs:
        if not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            raise BadAnswer(f"the header {name!r}: {value!r} is not allowed in HTTP")
    return pairs


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _merged(own: Headers, over: Any) -> Headers:
    more = _pairs(over)
    names = {name.lower() for name, _ in more}
    return [pair for pair in own if pair[0].lower() not in names] + more


def _content_type(headers: Headers) -> Optional[str]:
    for name, value in headers:
        if name.lower() == "content-type":
            return value
    return None


def _plain(value: Any, status: Any, headers: Headers, produces: Sequence[str]) -> Made:
    """An answer from a value that is no response object."""
    empty = value is None or value is NoContent or _is_connexion_no_content(value)
    code = (204 if empty else 200) if status is None else _status(status)
    headers = _end_to_end(headers)
    if empty or code in (204, 304):
        return Made(code, headers)
    given = _content_type(headers)
    kind = given or infer(value, produces)
    if given is None:
        headers.append(("content-type", kind))
    if is_json(kind):
        if isinstance(value, (bytes, bytearray, memoryview)):
            return Made(code, headers, value)
        if not _streams(value):
            return Made(code, headers, jsons.dumps(value))
    return _raw(value, code, headers)


def _raw(value: Any, code: int, headers: Headers) -> Made:
    if isinstance(value, str):
        return Made(code, headers, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Made(code, headers, value)
    if _streams(value):
        return Made(code, headers, stream=value)
    return Made(code, headers, jsons.dumps(value))


def _streams(value: Any) -> bool:
    return isinstance(value, IteratorABC) or hasattr(value, "__anext__") or callable(getattr(value, "read", None))


def infer(value: Any, produces: Sequence[str]) -> str:
    """The content type of a value whose Func named none."""
    raw = isinstance(value, (bytes, bytearray, memoryview)) or _streams(value)
    kinds = list(dict.fromkeys(kind for kind in produces if "*" not in kind))
    if not kinds:
        if produces and isinstance(value, str):
            return "text/plain; charset=utf-8"
        return BINARY if raw else JSON
    if len(kinds) == 1:
        return _charset(kinds[0])
    wanted = "text/plain" if isinstance(value, str) else BINARY if raw else None
    for kind in kinds:
        if wanted is not None and wanted in kind:
            return _charset(kind)
    if not raw and not isinstance(value, str):
        for kind in kinds:
            if is_json(kind):
                return kind
    raise BadAnswer(AMBIGUOUS, public=True)


def _charset(kind: str) -> str:
    return kind + "; charset=utf-8" if kind.startswith("text/") and "charset" not in kind else kind


def is_json(kind: str) -> bool:
    """Whether a content type is JSON, `application/problem+json` and its like included."""
    kind = kind.partition(";")[0].strip().lower()
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))


# -- response objects of frameworks, by their looks --------------------------------------------------------------


def is_response(value: Any) -> bool:
    """Whether `value` is a response object: of Connexion, Flask, Starlette, Django, aiohttp …"""
    if isinstance(value, type) or not hasattr(value, "headers"):
        return False
    status = getattr(value, "status_code", getattr(value, "status", None))
    return isinstance(status, int) and any(hasattr(value, n) for n in ("get_data", "body", "content", "raw_headers"))


def _from_response(value: Any) -> Made:
    code = _status(getattr(value, "status_code", getattr(value, "status", None)))
    headers = _pairs(getattr(value, "raw_headers", None) or value.headers)
    if hasattr(value, "raw_headers") and callable(value) and _needs_running(value):
        return Made(code, _end_to_end(headers), asgi=value)
    if callable(getattr(value, "get_data", None)):  # werkzeug, Flask
        if getattr(value, "is_streamed", False):
            value.direct_passthrough = False
            return Made(code, _end_to_end(headers), stream=iter(value.iter_encoded()))
        body = value.get_data()
    else:
        body = getattr(value, "body", None) if hasattr(value, "body") else value.content
    content_type = getattr(value, "content_type", None) or getattr(value, "mimetype", None)
    if content_type and _content_type(headers) is None and isinstance(content_type, str):
        headers.append(("content-type", content_type))
    headers = _end_to_end(headers)
    if body is None or body is NoContent or body == b"" or code in (204, 304):
        return Made(code, headers)
    if _content_type(headers) is None:
        headers.append(("content-type", infer(body, ())))
    return _raw(body, code, headers)


def _needs_running(value: Any) -> bool:
    """A Starlette response whose body is not there yet, or that has work to do afterwards."""
    return not hasattr(value, "body") or getattr(value, "background", None) is not None


def _end_to_end(headers: Headers) -> Headers:
    """Leave out what belongs to one connection, also what `Connection` names (RFC 9110, 7.6.1)."""
    dropped = _HOP
    for name, value in headers:
        if name.lower() == "connection":
            dropped = dropped.union(each.strip().lower() for each in value.split(","))
    return [pair for pair in headers if pair[0].lower() not in dropped]


def _is_connexion_no_content(value: Any) -> bool:
    """Connexion's NoContent is a bare object(); it can only be told by identity."""
    if type(value) is not object:
        return False
    import sys

    module = sys.modules.get("connexion.datastructures")
    return module is not None and value is getattr(module, "NoContent", None)
