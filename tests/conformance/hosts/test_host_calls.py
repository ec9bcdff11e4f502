"""What every call of a Func host must do, with real processes: arguments, answers, failures."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from funcatron.hosts import Answer
from tests.hosting import Bench, hosting

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = """
import dataclasses, datetime, decimal, enum, io, uuid
from funcatron import Problem, Response, NoContent, context as current


def plain(name, times=1):
    return {"name": name, "times": times}

def everything(**kwargs):
    return kwargs

def with_context(context, context_):
    return {
        "same": context is context_ and current.request_id == context.request_id,
        "id": context.request_id, "sha": context.sha, "operation": context.operation,
        "method": context.method, "path": context.path, "route": context.route, "host": context.host,
        "header": context.headers["X-THING"], "many": context.headers.getlist("x-many"), "cookies": context.cookies,
        "query": context.query, "path_params": context.path_params, "props": context.properties["dsn"],
        "left": 0 < context.time_left() < 100, "body": context.body.decode(), "logger": context.logger.name,
    }

def only_positional(a, b, /, c):
    return [a, b, c]

def takes_body(body):
    return {"body": body}

def named_body(pet):
    return pet

def upload(file, other=None):
    return {"name": file.filename, "type": file.content_type, "text": file.read().decode(),
            "again": (file.seek(0), file.file.read().decode())[1], "other": other and [f.filename for f in other]}

async def upload_async(file):
    return {"text": (await file.read()).decode(), "size": file.size}

async def coroutine(name):
    return "hello " + name

def returns(kind):
    return {
        "none": None, "nocontent": (NoContent, 201), "text": "text", "bytes": b"\\x00\\xff",
        "created": ({"a": 1}, 201), "headers": ({"a": 1}, {"X-A": "b"}), "all": ("x", 202, {"X-A": ["b", "c"]}),
        "single": ({"a": 1},), "number": 1.5, "list": [1, None, True],
        "response": Response("hi", 203, [("X-A", "b")], "text/plain"),
        "empty204": ("ignored", 204, {"X-A": "b"}),
    }[kind]

class Color(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    when: datetime.date

def types():
    return {
        "date": datetime.date(2000, 1, 2), "naive": datetime.datetime(2000, 1, 2, 3, 4, 5, 6),
        "aware": datetime.datetime(2000, 1, 2, tzinfo=datetime.timezone.utc), "uuid": uuid.UUID(int=7),
        "decimal": decimal.Decimal("1.5"), "enum": Color.RED, "point": Point(1, datetime.date(2000, 1, 2)), "set": {1},
        "text": "ü\\ud800",
    }

def wrong(kind):
    return {
        "object": {"a": object()}, "nan": {"a": float("nan")}, "status": ("x", 99), "nostatus": ("x", "y", {}),
        "header": ("x", 200, {"X-A": "b\\r\\nSet-Cookie: c"}), "tuple": (1, 2, 3, 4), "headers": ("x", 200, 7),
    }[kind]

def raises():
    raise ValueError("it is broken")

def exits():
    raise SystemExit(3)

def recurses():
    return recurses()

def problem():
    raise Problem(404, "Gone fishing", "no such pet", type="urn:x", headers={"X-A": "b"}, pet=7)

def generates():
    for number in range(3):
        yield f"line {number}\\n"

async def generates_async():
    yield b"a"
    yield b"b"

def breaks_off():
    yield "a"
    raise ValueError("in the middle")

def breaks_at_once():
    raise ValueError("before anything")
    yield

def a_file():
    return io.BytesIO(b"x" * 200000)

class Shop:
    def __init__(self):
        self.calls = 0

    def sell(self, name):
        self.calls += 1
        return [name, self.calls]

    @classmethod
    def kind(cls):
        return cls.__name__

    @staticmethod
    async def price():
        return 3

instance = Shop()
"""
SPECS: dict[str, dict[str, Any]] = {
    "plain": {"produces": ["application/json"]},
    "Shop.sell": {},
    "Shop.kind": {},
    "Shop.price": {},
    "instance.sell": {},
    "app:Shop.sell": {"id": "app:Shop.sell"},
    "with_context": {"path": "/with/{x}"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with hosting(CODE, specs=SPECS, props={"dsn": "db://"}) as running:
        yield running


def value(answer: Answer) -> Any:
    assert answer.status < 400, answer
    return json.loads(bytes(answer.body))


def header(answer: Answer, name: str) -> list[str]:
    return [text for key, text in answer.headers if key.lower() == name]


async def test_parameters_come_by_name(bench: Bench) -> None:
    answer = await bench.call("plain", {"name": "Ada", "times": 2})
    assert value(answer) == {"name": "Ada", "times": 2}
    assert (answer.status, header(answer, "content-type")) == (200, ["application/json"])


async def test_parameters_that_the_func_does_not_name_are_left_out(bench: Bench) -> None:
    assert value(await bench.call("plain", {"name": "Ada", "other": 1})) == {"name": "Ada", "times": 1}
    assert value(await bench.call("everything", {"name": "Ada", "other": 1})) == {"name": "Ada", "other": 1}


async def test_positional_only_parameters_are_passed(bench: Bench) -> None:
    assert value(await bench.call("only_positional", {"b": 2, "a": 1, "c": 3})) == [1, 2, 3]


async def test_the_context_has_all_that_surrounds_a_call(bench: Bench) -> None:
    context = {
        "request-id": "r1",
        "deadline": int((time.time() + 50) * 1000),
        "method": "POST",
        "path": "/base/with/1",
        "host": "example.com",
        "headers": {"x-thing": "t", "x-many": ["a", "b"], "cookie": "a=b; c=d"},
        "query": "q=1",
        "route": "/with/{x}",
        "path-params": {"x": "1"},
    }
    assert value(await bench.call("with_context", body=b"raw", context=context)) == {
        "same": True,
        "id": "r1",
        "sha": "0123456789abcdef",
        "operation": "app.with_context",
        "method": "POST",
        "path": "/base/with/1",
        "route": "/with/{x}",
        "host": "example.com",
        "header": "t",
        "many": ["a", "b"],
        "cookies": {"a": "b", "c": "d"},
        "query": "q=1",
        "path_params": {"x": "1"},
        "props": "db://",
        "left": True,
        "body": "raw",
        "logger": "app.with_context",
    }


async def test_bodies_come_as_what_they_are(bench: Bench) -> None:
    assert value(await bench.call("takes_body", body_kind="json", body=b'{"a": [1]}')) == {"body": {"a": [1]}}
    assert value(await bench.call("takes_body", body_kind="text", body="ü".encode())) == {"body": "ü"}
    assert value(await bench.call("takes_body")) == {"body": None}
    assert value(await bench.call("named_body", body_kind="json", body_name="pet", body=b"[1]")) == [1]
    assert value(await bench.call("everything", body_kind="json", body=b"1")) == {"body": 1}
    failed = await bench.call("takes_body", body_kind="binary", body=b"\x00\xff")
    assert failed.failed  # bytes cannot be made JSON


async def test_files_can_be_read_plainly_and_awaited(bench: Bench) -> None:
    parts = [
        {"name": "file", "filename": "a.txt", "content-type": "text/plain", "offset": 0, "length": 3},
        {"name": "other", "filename": "b.txt", "content-type": None, "offset": 3, "length": 2, "many": True},
    ]
    assert value(await bench.call("upload", files=parts, body=b"abcde")) == {
        "name": "a.txt",
        "type": "text/plain",
        "text": "abc",
        "again": "abc",
        "other": ["b.txt"],
    }
    assert value(await bench.call("upload_async", files=parts, body=b"abcde")) == {"text": "abc", "size": 3}


async def test_methods_are_called_on_a_new_instance_each_time(bench: Bench) -> None:
    for _ in range(2):
        assert value(await bench.call("Shop.sell", {"name": "x"})) == ["x", 1]
    header_, _ = bench.frame("plain", {"name": "y"}, {})
    header_["operation"] = "app:Shop.sell"
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    bench.host.call(header_, b"", future.set_result)
    assert value(await asyncio.wait_for(future, 10)) == ["y", 1]


async def test_class_methods_static_methods_and_instances_are_called_as_they_are(bench: Bench) -> None:
    assert value(await bench.call("Shop.kind")) == "Shop"
    assert value(await bench.call("Shop.price")) == 3
    assert value(await bench.call("instance.sell", {"name": "x"})) == ["x", 1]
    assert value(await bench.call("instance.sell", {"name": "x"})) == ["x", 2]


async def test_coroutines_are_awaited(bench: Bench) -> None:
    assert value(await bench.call("coroutine", {"name": "Ada"})) == "hello Ada"


async def test_what_a_func_returns_becomes_the_answer(bench: Bench) -> None:
    async def returned(kind: str) -> tuple[int, bytes, Answer]:
        answer = await bench.call("returns", {"kind": kind})
        return answer.status, bytes(answer.body), answer

    assert (await returned("none"))[:2] == (204, b"")
    assert (await returned("nocontent"))[:2] == (201, b"")
    assert (await returned("text"))[:2] == (200, b'"text"\n')
    status, body, answer = await returned("bytes")
    assert (status, body, header(answer, "content-type")) == (200, b"\x00\xff", ["application/octet-stream"])
    assert (await returned("created"))[:2] == (201, b'{"a":1}\n')
    assert header((await returned("headers"))[2], "x-a") == ["b"]
    status, body, answer = await returned("all")
    assert (status, body, header(answer, "x-a")) == (202, b'"x"\n', ["b", "c"])
    assert (await returned("single"))[:2] == (200, b'{"a":1}\n')
    assert (await returned("number"))[1] == b"1.5\n"
    assert (await returned("list"))[1] == b"[1,null,true]\n"
    status, body, answer = await returned("response")
    assert (status, body, header(answer, "content-type"), header(answer, "x-a")) == (203, b"hi", ["text/plain"], ["b"])
    status, body, answer = await returned("empty204")
    assert (status, body, header(answer, "x-a"), header(answer, "content-type")) == (204, b"", ["b"], [])


async def test_types_of_the_standard_library_become_json(bench: Bench) -> None:
    assert value(await bench.call("types")) == {
        "date": "2000-01-02",
        "naive": "2000-01-02T03:04:05.000006Z",
        "aware": "2000-01-02T00:00:00+00:00",
        "uuid": "00000000-0000-0000-0000-000000000007",
        "decimal": 1.5,
        "enum": "red",
        "point": {"x": 1, "when": "2000-01-02"},
        "set": [1],
        "text": "ü\ud800",
    }


@pytest.mark.parametrize("kind", ["object", "nan", "status", "nostatus", "header", "tuple", "headers"])
async def test_what_is_no_answer_is_a_failure_with_a_reason_in_the_log(bench: Bench, kind: str) -> None:
    before = len(bench.lines)
    answer = await bench.call("wrong", {"kind": kind})
    assert (answer.status, answer.failed, bytes(answer.body)) == (500, True, b"")
    assert bench.lines[before]["level"] == "error"
    assert bench.lines[before]["request-id"] == "id-wrong"


async def test_a_func_that_raises_is_a_failure_and_its_trace_is_in_the_log_alone(bench: Bench) -> None:
    before = len(bench.lines)
    answer = await bench.call("raises")
    assert (answer.status, answer.failed, bytes(answer.body)) == (500, True, b"")
    line = bench.lines[before]
    assert (line["request-id"], line["operation"], line["sha"]) == ("id-raises", "app.raises", "0123456789abcdef")
    assert line["exception"].startswith("Traceback")
    assert 'raise ValueError("it is broken")' in line["exception"]
    assert "funcatron_host" not in line["exception"]


async def test_exits_and_endless_recursion_hit_one_call_alone(bench: Bench) -> None:
    assert (await bench.call("exits")).failed
    assert (await bench.call("recurses")).failed
    assert value(await bench.call("plain", {"name": "x"}))["name"] == "x"


async def test_a_problem_is_an_answer(bench: Bench) -> None:
    answer = await bench.call("problem")
    assert (answer.status, answer.failed) == (404, False)
    assert header(answer, "content-type") == ["application/problem+json"]
    assert header(answer, "x-a") == ["b"]
    assert json.loads(bytes(answer.body)) == {
        "type": "urn:x",
        "title": "Gone fishing",
        "status": 404,
        "detail": "no such pet",
        "request-id": "id-problem",
        "pet": 7,
    }


async def test_generators_and_files_are_streamed(bench: Bench) -> None:
    assert bytes((await bench.call("generates")).body) == b"line 0\nline 1\nline 2\n"
    assert bytes((await bench.call("generates_async")).body) == b"ab"
    assert bytes((await bench.call("a_file")).body) == b"x" * 200000


async def test_a_stream_that_breaks_off_is_a_failure(bench: Bench) -> None:
    assert (await bench.call("breaks_off")).failed
    assert "in the middle" in bench.lines[-1]["exception"]
    assert (await bench.call("breaks_at_once")).failed


async def test_an_unknown_operation_is_a_failure(bench: Bench) -> None:
    assert (await bench.call("nothing")).failed
