"""Nonsense of every kind ends in the errors that are meant for it."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from funcatron.errors import BadSpec
from funcatron.spec import Api, Arguments, BadRequest, MethodNotAllowed, NoSuchPath, Operation, Request, load

SPEC: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "T", "version": "1"},
    "servers": [{"url": "/v1"}],
    "paths": {
        "/pets/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
            "get": {
                "operationId": "pets.get",
                "security": [{"key": []}, {}],
                "parameters": [
                    {"name": "o", "in": "query", "style": "deepObject", "schema": {"$ref": "#/components/schemas/Pet"}},
                    {"name": "l", "in": "query", "schema": {"type": "array", "items": {"type": "integer"},
                     "default": [1]}},
                    {"name": "X-H", "in": "header", "schema": {"type": "string", "enum": ["a"], "nullable": True}},
                    {"name": "c", "in": "cookie", "content": {"application/json": {"schema": {"type": "object"}}}},
                ],
                "responses": {"200": {"description": "d", "content": {"application/json": {"schema": {
                    "$ref": "#/components/schemas/Pet"}}}}},
            },
            "post": {
                "operationId": "pets.post",
                "x-funcatron": {"strict-parameters": True, "timeout": 3},
                "requestBody": {"content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}},
                    "application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/Pet"}},
                    "multipart/form-data": {"schema": {"type": "object", "properties": {
                        "f": {"type": "string", "format": "binary"}, "p": {"$ref": "#/components/schemas/Pet"}}}},
                    "text/*": {"schema": {"type": "string"}},
                }},
                "responses": {"default": {"description": "d"}},
            },
        }
    },
    "components": {
        "schemas": {
            "Pet": {"type": "object", "required": ["kind"], "discriminator": {"propertyName": "kind"},
                    "properties": {"kind": {"type": "string"}, "age": {"type": "integer", "format": "int32"},
                                   "mates": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}}},
            "Cat": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "object", "nullable": True}]},
        },
        "securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "k", "x-apikeyInfoFunc": "auth.key"}},
    },
}  # fmt: skip
JUNK: list[Any] = [
    None, 1, -1, 1.5, "", "x", [], {}, True, [1], [[]], {"a": {}}, 10**30, {"$ref": "#/nope"}, {"$ref": "#/paths"},
    {"$ref": "#/components/schemas/Pet"}, {"$ref": "#"}, {"type": ["string", "null"]}, {"type": "object"}, "string",
    {"schema": 1}, {"discriminator": {"propertyName": 1}}, {"allOf": [{"$ref": "#/components/schemas/Cat"}]}, "\x00",
]  # fmt: skip
KEYS = [
    "schema", "type", "items", "properties", "required", "in", "name", "default", "enum", "allOf", "oneOf", "content",
    "discriminator", "encoding", "style", "explode", "security", "x-funcatron", "operationId", "parameters", "nullable",
    "format", "minimum", "pattern", "additionalProperties", "$ref", "responses", "headers", "x-body-name", "readOnly",
]  # fmt: skip


def places(node: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        found.append((node, key))
        found += places(node[key])
    return found


def mutated(rnd: random.Random) -> dict[str, Any]:
    spec = copy.deepcopy(SPEC)
    for _ in range(rnd.randint(1, 3)):
        parent, key = rnd.choice(places(spec))
        choice = rnd.random()
        if choice < 0.4:
            parent[key] = copy.deepcopy(rnd.choice(JUNK))
        elif choice < 0.6:
            del parent[key]
        elif isinstance(parent[key], dict):
            parent[key][rnd.choice(KEYS)] = copy.deepcopy(rnd.choice(JUNK))
        elif isinstance(parent, dict):
            parent[rnd.choice(KEYS)] = parent[key]
    return spec


TYPES = [
    None, "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/x", "",
    ";", "*/*",
]  # fmt: skip
PIECES = [
    b"", b"{", b"}", b"[", b'"', b":", b"1", b"null", b"\xff", b"\x00", b"--x", b"\r\n", b"\r\n\r\n", b"a=", b"&",
    b"%", b"=",
    b'{"kind": "Cat"}', b'Content-Disposition: form-data; name="p"', b"%ff", b"[]", b"o[kind]=", b"k=", b"+",
]  # fmt: skip


def nonsense(rnd: random.Random) -> Request:
    def text() -> str:
        return b"".join(rnd.choices(PIECES, k=rnd.randint(0, 8))).decode("latin-1").replace("\r\n", "")

    headers: dict[str, Any] = {"x-h": text(), "cookie": f"c={text()}", "authorization": [text(), text()]}
    kind = rnd.choice(TYPES)
    if kind is not None:
        headers["content-type"] = kind
    return Request("POST", "/" + text(), text(), headers, b"".join(rnd.choices(PIECES, k=rnd.randint(0, 20))))


def outcome(operation: Operation, request: Request) -> BadRequest | Arguments:
    try:
        return operation.bind(request, {"id": request.path})
    except BadRequest as err:
        return err


def serve(operation: Operation, request: Request) -> None:
    operation.credentials(request)
    result = outcome(operation, request)
    if isinstance(result, BadRequest):
        assert result.status in (400, 415)
        assert result.errors
        assert all(set(error) == {"where", "what"} and all(error.values()) for error in result.errors)
    else:
        assert result.body_kind in ("none", "json", "text", "form", "binary")
    for fault in operation.check_answer(200, [("content-type", "application/json")], request.body):
        assert set(fault) == {"where", "what"}


def loaded(name: str, data: bytes, *, check: bool) -> Api | BadSpec:
    try:
        return load({name: data}, check=check)
    except BadSpec as err:
        return err


@pytest.mark.parametrize("seed", range(4))
def test_mutated_specs_load_or_are_refused(seed: int) -> None:
    rnd = random.Random(seed)
    refused = 0
    for _ in range(50):
        data = json.dumps(mutated(rnd)).encode()
        for check in (True, False):
            api = loaded("funcatron.json", data, check=check)
            if isinstance(api, BadSpec):
                assert api.problems
                refused += 1
            else:
                for operation in api.operations:
                    serve(operation, nonsense(rnd))
    assert refused > 25


@pytest.mark.parametrize("seed", range(4))
def test_random_requests_are_bound_or_refused(seed: int) -> None:
    rnd = random.Random(seed)
    api = load({"funcatron.json": json.dumps(SPEC).encode()})
    for _ in range(500):
        request = nonsense(rnd)
        for operation in api.operations:
            serve(operation, request)
        try:
            api.match(rnd.choice(["GET", "POST", "OPTIONS", "X", ""]), "/v1/pets/" + request.path)
        except (NoSuchPath, MethodNotAllowed):
            continue


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_are_no_spec(seed: int) -> None:
    rnd = random.Random(seed)
    valid = json.dumps(SPEC, indent=1).encode()
    for _ in range(100):
        cut = bytearray(valid if rnd.random() < 0.5 else rnd.randbytes(200))
        for _ in range(rnd.randint(1, 5)):
            cut[rnd.randrange(len(cut))] = rnd.randrange(256)
        for name in ("funcatron.yaml", "funcatron.json"):
            api = loaded(name, bytes(cut), check=False)
            assert not isinstance(api, BadSpec) or str(api)
