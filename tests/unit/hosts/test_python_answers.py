"""What a return value or an exception means, without a host around it."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import http.client
import json
import pathlib
import urllib.error
import uuid
from http import HTTPStatus
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteException
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from funcatron.hosts.python.funcatron_host import api, jsons, problems, uploads
from funcatron.hosts.python.funcatron_host.answers import AMBIGUOUS, BadAnswer, infer, is_response, make

JSON = ("application/json",)


def made(value: Any, produces: tuple[str, ...] = JSON) -> tuple[int, dict[str, str], bytes]:
    answer = make(value, produces)
    return answer.status, {name.lower(): text for name, text in answer.headers}, bytes(answer.body)


class Werkzeug:
    """As werkzeug's and Flask's response looks."""

    is_streamed = False
    direct_passthrough = True

    def __init__(self, parts: list[bytes]) -> None:
        self.status_code = 202
        self.headers = [
            ("Content-Type", "text/html"),
            ("Set-Cookie", "a=b"),
            ("Set-Cookie", "c=d"),
            ("Content-Length", "9"),
        ]
        self.parts = parts

    def get_data(self) -> bytes:
        return b"".join(self.parts)

    def iter_encoded(self) -> Any:
        return iter(self.parts)


class ConnexionLike:
    """As Connexion's ConnexionResponse looks."""

    status_code, mimetype, content_type, body = 201, "text/csv", "text/csv", "a,b"
    headers: dict[str, str] = {}  # noqa: RUF012


def test_a_text_is_text_where_the_operation_makes_text_and_json_where_it_makes_json() -> None:
    assert made("x", ("text/plain",)) == (200, {"content-type": "text/plain; charset=utf-8"}, b"x")
    assert made("x") == (200, {"content-type": "application/json"}, b'"x"\n')
    assert made("x", ()) == (200, {"content-type": "application/json"}, b'"x"\n')
    assert made("x", ("application/x.own+json",))[2] == b'"x"\n'


def test_several_content_types_are_told_apart_by_the_value_else_it_is_an_error() -> None:
    several = ("application/xml", "application/json", "text/plain", "application/octet-stream")
    assert infer("x", several) == "text/plain; charset=utf-8"
    assert infer(b"x", several) == "application/octet-stream"
    assert infer({}, several) == "application/json"
    assert infer("x", ("*/*",)) == "text/plain; charset=utf-8"
    with pytest.raises(BadAnswer) as caught:
        infer("x", ("application/json", "application/xml"))
    assert (caught.value.detail, caught.value.public) == (AMBIGUOUS, True)


def test_a_content_type_that_the_func_names_wins() -> None:
    status, headers, body = made(("<a/>", 200, {"Content-Type": "application/xml"}))
    assert (status, headers, body) == (200, {"content-type": "application/xml"}, b"<a/>")
    assert made(({"a": 1}, {"content-type": "application/hal+json"}))[1]["content-type"] == "application/hal+json"


def test_statuses_come_in_every_form_people_write_them() -> None:
    odd = enum.Enum("odd", {"OK": 200})
    assert made(({}, HTTPStatus.CREATED))[0] == 201
    assert made(({}, odd.OK))[0] == 200  # type: ignore[attr-defined]
    for wrong in (True, 100, 600, "200"):
        with pytest.raises(BadAnswer):
            make((None, wrong, {}), JSON)


def test_headers_that_belong_to_one_hop_are_left_out() -> None:
    headers = {"Connection": "close", "Transfer-Encoding": "chunked", "Content-Length": "7", "X-A": "b"}
    assert made(("x", 200, headers))[1] == {"x-a": "b", "content-type": "application/json"}


@pytest.mark.parametrize("header", [("X-A", "b\nc"), ("X-A", "\0"), ("X A", "b"), ("", "b"), ("X:A", "b"), ("Ä", "b")])
def test_header_injection_is_impossible(header: tuple[str, str]) -> None:
    with pytest.raises(BadAnswer):
        make(("x", 200, [header]), JSON)


def test_responses_of_frameworks_are_told_by_their_looks() -> None:
    answer = make(Werkzeug([b"a", b"b"]), JSON)
    assert (answer.status, answer.body) == (202, b"ab")
    assert answer.headers == [("Content-Type", "text/html"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]
    assert made((Werkzeug([b"a"]), 409, {"X-A": "b"}))[0] == 409
    assert made(ConnexionLike()) == (201, {"content-type": "text/csv"}, b"a,b")
    assert made(JSONResponse({"a": 1}, 203)) == (203, {"content-type": "application/json"}, b'{"a":1}')
    assert made(PlainTextResponse("x"))[1] == {"content-type": "text/plain; charset=utf-8"}
    streaming = StreamingResponse(iter([b"x"]))
    assert make(streaming, JSON).asgi is streaming
    streamed = Werkzeug([b"a"])
    streamed.is_streamed = True
    assert list(make(streamed, JSON).stream) == [b"a"]
    assert not is_response({"headers": 1})
    assert not is_response(JSONResponse)


def test_our_response_takes_a_content_type() -> None:
    assert made(api.Response("x", 202, {"X-A": "b", "content-type": "text/a"}, content_type="text/b")) == (
        202,
        {"x-a": "b", "content-type": "text/b"},
        b"x",
    )
    assert made(api.Response()) == (200, {}, b"")
    assert made((api.Response({"a": 1}, 201), 202))[0] == 202


def test_generators_and_files_are_streams() -> None:
    assert make((part for part in "ab"), JSON).stream is not None
    with open(__file__, "rb") as file:
        assert make(file, JSON).stream is file


# -- JSON ------------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    inner: list[Any]


class Pet(BaseModel):
    name: str
    born: datetime.date


class Attrs:
    class _Field:
        name = "x"

    __attrs_attrs__ = (_Field(),)

    def __init__(self) -> None:
        self.x = 1


class Own:
    def __json__(self) -> list[int]:
        return [1]


Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(2000, 1, 2, 3, 4, 5), '"2000-01-02T03:04:05Z"'),
        (datetime.datetime(2000, 1, 2, tzinfo=datetime.UTC), '"2000-01-02T00:00:00+00:00"'),
        (datetime.date(2000, 1, 2), '"2000-01-02"'),
        (datetime.time(1, 2), '"01:02:00"'),
        (datetime.timedelta(minutes=1), "60.0"),
        (decimal.Decimal("2"), "2.0"),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (pathlib.PurePosixPath("/a"), '"/a"'),
        (Colour.RED, '"red"'),
        (Level.HIGH, "3"),
        (Point(1, [Point(2, [])]), '{"x":1,"inner":[{"x":2,"inner":[]}]}'),
        (Pet(name="Rex", born=datetime.date(2000, 1, 2)), '{"name":"Rex","born":"2000-01-02"}'),
        (Attrs(), '{"x":1}'),
        (Own(), "[1]"),
        (Pair(1, 2), "[1,2]"),
        ({1: 2, None: False}, '{"1":2,"null":false}'),
        (collections.deque([1]), "[1]"),
        (collections.OrderedDict(a=1), '{"a":1}'),
        (frozenset([1]), "[1]"),
        ("ü", '"ü"'),
        ("\ud800", '"\\ud800"'),
        ({"a": "\ud800"}, '{"a":"\\ud800"}'),
    ],
)
def test_json_of_everything_people_return(value: Any, text: str) -> None:
    assert jsons.dumps(value) == text.encode() + b"\n"


def test_what_is_no_json_is_an_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (object(), {"a": b"x"}, float("nan"), [float("inf")], {(1, 2): 3}, endless, {"a": endless}, Point):
        with pytest.raises((TypeError, ValueError, RecursionError)):
            jsons.dumps(value)


# -- exceptions ------------------------------------------------------------------------------------------------------


class WerkzeugException(Exception):
    code, name, description, response = 418, "I'm a teapot", "short and stout", None

    def get_headers(self) -> list[tuple[str, str]]:
        return [("Content-Type", "text/html"), ("Retry-After", "5")]


WerkzeugException.__name__ = "HTTPException"


class ProblemException(Exception):
    """As Connexion's looks."""

    status = 402
    title, detail, type, instance, headers = "Pay", "first", "urn:pay", "urn:1", {"X-A": "b"}
    ext = {"amount": 23.0}  # noqa: RUF012


def answered(err: Exception) -> tuple[int, dict[str, Any]]:
    answer = problems.from_exception(err, "r1", JSON)
    assert answer is not None
    headers = {name.lower(): value for name, value in answer.headers}
    assert headers["content-type"] == "application/problem+json"
    return answer.status, json.loads(answer.body) | {"headers": headers}


def test_http_exceptions_are_told_by_their_looks() -> None:
    status, body = answered(WerkzeugException())
    assert (status, body["title"], body["detail"]) == (418, "I'm a teapot", "short and stout")
    assert body["headers"]["retry-after"] == "5"
    status, body = answered(ProblemException())
    assert {key: body[key] for key in ("type", "title", "detail", "instance", "amount", "status", "request-id")} == {
        "type": "urn:pay",
        "title": "Pay",
        "detail": "first",
        "instance": "urn:1",
        "amount": 23.0,
        "status": 402,
        "request-id": "r1",
    }
    status, body = answered(StarletteException(409, detail="busy", headers={"X-A": "b"}))
    assert (status, body["title"], body["detail"], body["headers"]["x-a"]) == (409, "Conflict", "busy", "b")
    status, body = answered(api.Problem(499))
    assert (status, body["title"]) == (499, "Error")


def test_an_exception_that_brings_its_response_is_that_response() -> None:
    err: Any = WerkzeugException()
    err.response = Werkzeug([b"own"])
    answer = problems.from_exception(err, "r1", JSON)
    assert answer is not None
    assert (answer.status, answer.body) == (202, b"own")


def test_failed_requests_of_the_funcs_own_are_just_errors() -> None:
    own = urllib.error.HTTPError("http://x", 404, "nothing", None, None)  # type: ignore[arg-type]
    own.close()
    for err in (own, http.client.BadStatusLine("x"), ValueError(), KeyError("status")):
        assert problems.from_exception(err, "r1", JSON) is None


# -- what users import -----------------------------------------------------------------------------------------------


def test_headers_are_found_in_any_case() -> None:
    headers = api.Headers({"x-many": ["a", "b"], "Cookie": ["a=1", "b=2"], "x-one": "c"})
    assert headers["X-Many"] == "a, b"
    assert headers["cookie"] == "a=1; b=2"
    assert headers.get("nothing") is None
    assert headers.getlist("X-One") == ["c"]
    assert "X-ONE" in headers
    assert len(headers) == 3


def test_the_context_can_be_made_for_tests_of_funcs() -> None:
    assert not api.context
    with pytest.raises(RuntimeError, match="outside of a call"):
        _ = api.context.method
    with api.use(api.Context(method="GET", user="ada", token_info={"sub": "ada"}, headers={"X-A": "b"})) as own:
        assert api.context.method == "GET"
        assert api.context["user"] == "ada"
        assert api.context.headers["x-a"] == "b"
        api.context["more"] = 1
        assert own["more"] == 1
        assert dict(own) == {"user": "ada", "token_info": {"sub": "ada"}, "more": 1}
        assert "user" in api.context
    assert own.time_left() is None


def test_uploads_are_read_plainly_and_awaited(tmp_path: pathlib.Path) -> None:
    file = uploads.File("f", "a.txt", "text/plain; charset=utf-8", b"line 1\nline 2\n")

    async def awaits() -> None:
        assert await file.read(4) == b"line"
        await file.seek(0)
        assert (await file.read()) == b"line 1\nline 2\n"

    asyncio.run(awaits())
    file.seek(0)
    assert file.read() == b"line 1\nline 2\n"
    file.seek(0)
    assert [*file] == [b"line 1\n", b"line 2\n"]
    file.seek(0)
    assert file.readline() == b"line 1\n"
    assert (file.filename, file.mimetype, file.size) == ("a.txt", "text/plain", 14)
    file.seek(0)
    file.save(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"line 1\nline 2\n"
    file.close()
