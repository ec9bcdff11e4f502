"""Code written for Connexion, Flask and Starlette finds around it what it expects.

Starlette is the real one. Connexion and Flask are played by a few lines with the names that matter: their own context
variables; bundles with the real ones are run by the acceptance tests.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from funcatron.hosts import Answer
from tests.hosting import Bench, hosting

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONNEXION = """
from contextvars import ContextVar
_context, _scope, _receive = ContextVar("CONTEXT"), ContextVar("SCOPE"), ContextVar("RECEIVE")
"""
FLASK = """
from contextvars import ContextVar
current = ContextVar("flask")

class Flask:
    def __init__(self, name, static_folder):
        self.name = name

    def request_context(self, environ):
        return Pushed(environ)

class Pushed:
    def __init__(self, environ):
        self.environ = environ

    def push(self):
        current.set(self.environ)
"""
CODE = """
import os
import connexion.context
import flask
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

def as_json():
    return JSONResponse({"a": 1}, 203, {"x-a": "b"})

def redirects():
    return RedirectResponse("/there", 302)

def a_file():
    return FileResponse(__file__, media_type="text/x-python")

async def a_stream():
    async def pieces():
        yield b"a"
        yield "b"
    return StreamingResponse(pieces(), media_type="text/csv")

def in_background():
    return Response("at once", background=BackgroundTask(print, "afterwards"))

def missing():
    return FileResponse("/there/is/none")

def raises():
    raise HTTPException(409, "busy", {"x-a": "b"})

async def connexions(body):
    scope = connexion.context._scope.get()
    received = await connexion.context._receive.get()()
    return {
        "user": connexion.context._context.get()["user"], "method": scope["method"], "path": scope["path"],
        "query": scope["query_string"].decode(), "headers": [[n.decode(), v.decode()] for n, v in scope["headers"]],
        "body": received["body"].decode(), "params": scope["path_params"],
    }

def flasks(body):
    environ = flask.current.get()
    names = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "CONTENT_TYPE", "HTTP_X_A")
    return {**{name: environ[name] for name in names}, "body": environ["wsgi.input"].read().decode()}

def _token(token):
    return {"sub": token}
"""
CONTEXT = {
    "method": "POST",
    "path": "/a%20b",
    "host": "example.com:81",
    "query": "q=1",
    "headers": {"x-a": ["b", "c"], "content-type": "application/json"},
    "path-params": {"x": "1"},
}
SECURITY = [[{"scheme": "s", "kind": "bearer", "check": "app._token", "args": ["ada"], "scopes": []}]]


def package(name: str) -> dict[str, str | bytes]:
    """The files of an installed library, to be put into a bundle."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return {origin.name: origin.read_bytes()}
    return {path.relative_to(origin.parents[1]).as_posix(): path.read_bytes() for path in origin.parent.rglob("*.py")}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench() -> AsyncIterator[Bench]:
    files: dict[str, str | bytes] = {"connexion/__init__.py": "", "connexion/context.py": CONNEXION, "flask.py": FLASK}
    for name in ("starlette", "anyio", "idna", "typing_extensions"):
        files.update(package(name))
    async with hosting(CODE, files=files, checkers=["app._token"]) as running:
        yield running


def headers(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers}


async def test_plain_responses_are_taken_as_they_are(bench: Bench) -> None:
    answer = await bench.call("as_json")
    assert (answer.status, bytes(answer.body), headers(answer)["x-a"]) == (203, b'{"a":1}', "b")
    answer = await bench.call("redirects")
    assert (answer.status, bytes(answer.body), headers(answer)) == (302, b"", {"location": "/there"})


async def test_responses_that_are_applications_are_run(bench: Bench) -> None:
    answer = await bench.call("a_file")
    assert bytes(answer.body).decode().strip() == CODE.strip()
    assert headers(answer)["content-type"].startswith("text/x-python")
    answer = await bench.call("a_stream")
    assert (bytes(answer.body), headers(answer)["content-type"]) == (b"ab", "text/csv; charset=utf-8")
    answer = await bench.call("in_background")
    assert bytes(answer.body) == b"at once"
    await bench.until(lambda: "afterwards" in bench.messages("id-in_background"))
    assert (await bench.call("missing")).failed


async def test_its_exceptions_are_answers(bench: Bench) -> None:
    answer = await bench.call("raises")
    assert (answer.status, headers(answer)["x-a"]) == (409, "b")
    assert json.loads(bytes(answer.body))["detail"] == "busy"


async def test_connexions_context_is_set(bench: Bench) -> None:
    answer = await bench.call("connexions", body=b"{}", body_kind="json", context=CONTEXT, security=SECURITY)
    found: Any = json.loads(bytes(answer.body))
    assert found == {
        "user": "ada",
        "method": "POST",
        "path": "/a b",
        "query": "q=1",
        "headers": [["x-a", "b"], ["x-a", "c"], ["content-type", "application/json"]],
        "body": "{}",
        "params": {"x": "1"},
    }


async def test_flasks_context_is_set(bench: Bench) -> None:
    answer = await bench.call("flasks", body=b"{}", body_kind="json", context=CONTEXT)
    assert json.loads(bytes(answer.body)) == {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "q=1",
        "SERVER_NAME": "example.com",
        "SERVER_PORT": "81",
        "CONTENT_TYPE": "application/json",
        "HTTP_X_A": "b, c",
        "body": "{}",
    }
