"""Builders of small specs: a test says only what it is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from funcatron.spec import Api, Arguments, BadRequest, Operation, Request, load

RESPONSES = {"200": {"description": "ok"}}
MakeApi = Callable[..., Api]
MakeOperation = Callable[..., Operation]
Bind = Callable[..., Arguments]
Faults = Callable[..., list[dict[str, str]]]


def _complete(paths: dict[str, Any]) -> dict[str, Any]:
    number = 0
    for item in paths.values():
        for method, node in item.items():
            if method in ("get", "put", "post", "delete", "patch", "head", "options", "trace"):
                number += 1
                node.setdefault("operationId", f"module.func{number}")
                node.setdefault("responses", RESPONSES)
    return paths


@pytest.fixture
def openapi() -> MakeApi:
    """Make an Api of OpenAPI 3 paths: `openapi({"/a": {"get": {…}}}, version="3.1.0", components=…)`."""

    def make(paths: dict[str, Any], version: str = "3.0.3", **root: Any) -> Api:
        document = {"openapi": version, "info": {"title": "T", "version": "1"}, "paths": _complete(paths), **root}
        return load({"funcatron.json": json.dumps(document).encode()})

    return make


@pytest.fixture
def swagger() -> MakeApi:
    """Make an Api of Swagger 2.0 paths."""

    def make(paths: dict[str, Any], **root: Any) -> Api:
        document = {"swagger": "2.0", "info": {"title": "T", "version": "1"}, "paths": _complete(paths), **root}
        return load({"funcatron.json": json.dumps(document).encode()})

    return make


@pytest.fixture
def operation3(openapi: MakeApi) -> MakeOperation:
    """Make one OpenAPI 3 operation: `operation3(path="/{id}", method="get", parameters=…, requestBody=…)`."""

    def make(path: str = "/x", method: str = "get", version: str = "3.0.3", root: Any = None, **node: Any) -> Operation:
        return openapi({path: {method: node}}, version, **(root or {})).operations[0]

    return make


@pytest.fixture
def operation2(swagger: MakeApi) -> MakeOperation:
    """Make one Swagger 2.0 operation."""

    def make(path: str = "/x", method: str = "get", root: Any = None, **node: Any) -> Operation:
        return swagger({path: {method: node}}, **(root or {})).operations[0]

    return make


@pytest.fixture
def bind() -> Bind:
    """Bind a request: `bind(operation, "a=1", body=b"…", type="text/plain", path={"id": "1"}, headers=…)`."""

    def call(
        operation: Operation,
        query: str = "",
        body: bytes = b"",
        type: str | None = None,  # noqa: A002  # reads well in tests
        path: dict[str, str] | None = None,
        headers: dict[str, Any] | None = None,
    ) -> Arguments:
        given = {**(headers or {}), **({"content-type": type} if type else {})}
        return operation.bind(Request(operation.method, "/x", query, given, body), path or {})

    return call


@pytest.fixture
def faults(bind: Bind) -> Faults:
    """Bind a request that must be refused, and return its errors."""

    def call(*args: Any, status: int = 400, **kwargs: Any) -> list[dict[str, str]]:
        with pytest.raises(BadRequest) as caught:
            bind(*args, **kwargs)
        assert caught.value.status == status
        return caught.value.errors

    return call
