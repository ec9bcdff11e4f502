"""A small spec loaded and served, from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from funcatron.errors import BadSpec
from funcatron.spec import Api, BadRequest, Request, load

HELLO = b"""
swagger: "2.0"
info: {title: Hello, version: "1.0"}
basePath: /hello
paths:
  /greet:
    get:
      operationId: hello.greet
      parameters:
        - {name: name, in: query, type: string, required: true}
        - {name: times, in: query, type: integer, minimum: 1, maximum: 10, default: 1}
      responses: {"200": {description: ok}}
"""


def test_a_request_is_matched_and_its_parameters_are_typed() -> None:
    api = load({"funcatron.yaml": HELLO})
    match = api.match("GET", "/hello/greet")
    assert match.operation is not None
    arguments = match.operation.bind(Request("GET", "/hello/greet", "name=Ada&times=2"), match.path_params)
    assert arguments.params == {"name": "Ada", "times": 2}
    assert arguments.body_kind == "none"


def test_all_faults_of_a_request_are_reported_at_once() -> None:
    operation = load({"funcatron.yaml": HELLO}).operations[0]
    with pytest.raises(BadRequest) as caught:
        operation.bind(Request(query="times=11"), {})
    assert caught.value.status == 400
    assert caught.value.errors == [
        {"where": "query.name", "what": "Missing query parameter 'name'"},
        {"where": "query.times", "what": "11 is greater than the maximum of 10"},
    ]


def document(**root: Any) -> bytes:
    paths = {"/x": {"get": {"operationId": "m.f", "responses": {"200": {"description": "ok"}}}}}
    return json.dumps({"swagger": "2.0", "info": {"title": "My Api!", "version": "1"}, "paths": paths, **root}).encode()


def load3(**root: Any) -> Api:
    raw = json.loads(document())
    del raw["swagger"]
    return load({"funcatron.json": json.dumps({"openapi": "3.0.3", **raw, **root}).encode()})


@pytest.mark.parametrize(
    ("base", "name"),
    [("/hello", "hello"), ("/pets/1.0", "pets-1.0"), ("/A b/C_d/", "a-b-c_d"), ("/", "my-api"), (None, "my-api")],
)
def test_the_name_comes_from_the_base_path_else_from_the_title(base: str | None, name: str) -> None:
    root = {} if base is None else {"basePath": base}
    assert load({"funcatron.json": document(**root)}).name == name
    assert load({"funcatron.json": document(**root, **{"x-funcatron": {"name": "own"}})}).name == "own"


def test_without_base_path_and_title_the_name_is_root() -> None:
    assert load({"funcatron.json": document(info={"title": "***", "version": "1"})}).name == "root"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("Example.COM", "example.com"), ("example.com:8080", "example.com"), ("localhost:8080", None), (None, None)],
)
def test_the_host_has_no_port_and_a_loopback_host_means_any(host: str | None, expected: str | None) -> None:
    assert load({"funcatron.json": document(**({} if host is None else {"host": host}))}).host == expected


@pytest.mark.parametrize(
    ("servers", "host", "base"),
    [
        ([], None, "/"),
        ([{"url": "/v1"}], None, "/v1"),
        ([{"url": "https://API.example.com:8443/v1/"}, {"url": "/other"}], "api.example.com", "/v1"),
        ([{"url": "https://example.com"}], "example.com", "/"),
        (
            [{"url": "https://{sub}.example.com/{v}", "variables": {"sub": {"default": "eu"}, "v": {"default": "v2"}}}],
            "eu.example.com",
            "/v2",
        ),
        ([{"url": "http://localhost:5000/v1"}], None, "/v1"),
    ],
)
def test_servers_give_host_and_base_path(servers: Any, host: str | None, base: str) -> None:
    api = load3(servers=servers)
    assert (api.host, api.base_path) == (host, base)


def test_a_server_variable_without_default_is_a_problem() -> None:
    with pytest.raises(BadSpec, match="variable without a default"):
        load3(servers=[{"url": "/{v}"}])


@pytest.mark.parametrize(
    "root",
    [{"swagger": "1.2"}, {"swagger": "2.1"}, {"swagger": None}],
)
def test_other_versions_are_refused(root: Any) -> None:
    with pytest.raises(BadSpec, match=r"swagger: \"2.0\" or openapi: 3"):
        load({"funcatron.json": document(**root)})


def test_controllers_stand_before_operation_ids() -> None:
    raw = json.loads(document())
    raw["paths"]["/x"]["get"]["x-swagger-router-controller"] = "pkg.ctl"
    raw["paths"]["/y"] = {"get": {**raw["paths"]["/x"]["get"], "x-swagger-router-controller": "pkg.other"}}
    api = load({"funcatron.json": json.dumps(raw).encode()})
    assert api.callables == ("pkg.ctl.m.f", "pkg.other.m.f")
    assert api.operation("pkg.ctl.m.f").path == "/x"


def test_problems_of_every_kind_come_at_once_with_their_places() -> None:
    raw = json.loads(document())
    ok = {"200": {"description": "ok"}}
    raw["paths"] = {
        "/a/{id}": {"get": {"operationId": "m.f", "responses": ok}},
        "/b": {"get": {"operationId": "m.f", "responses": ok, "security": [{"no": []}]}},
        "/c": {"get": {"responses": ok, "x-funcatron": {"what": 1}}},
        "/d": {"get": {"operationId": "m.d", "responses": ok, "parameters": [
            {"name": "p", "in": "query", "type": "integer", "default": "x"},
        ]}},
    }  # fmt: skip
    with pytest.raises(BadSpec) as caught:
        load({"funcatron.json": json.dumps(raw).encode()})
    text = "\n".join(caught.value.problems)
    for expected in (
        "GET /a/{id}: the path parameter 'id' is not declared",
        "GET /b: has the operationId 'm.f' of GET /a/{id}",
        "GET /b: requires the security scheme 'no'",
        "GET /c: has no operationId",
        "GET /c: x-funcatron: unknown key 'what'",
        "paths./d.get.parameters.0.default: 'x' is not of type 'integer'",
    ):
        assert expected in text


def test_a_document_that_breaks_its_schema_is_refused_with_the_place() -> None:
    raw = json.loads(document())
    raw["paths"]["/x"]["get"]["parameters"] = [{"name": "a", "in": "query", "type": "strin"}]
    del raw["info"]["version"]
    with pytest.raises(BadSpec) as caught:
        load({"funcatron.json": json.dumps(raw).encode()})
    assert {problem.split(":")[0] for problem in caught.value.problems} >= {
        "info",
        "paths./x.get.parameters.0.type",
    }


def test_a_checked_document_may_be_loaded_without_the_checker() -> None:
    script = (
        "import sys, funcatron.spec as s\n"
        f"api = s.load({{'funcatron.json': {document()!r}}}, check=False)\n"
        "assert api.match('GET', '/x').operation is not None\n"
        "assert 'openapi_spec_validator' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_an_unchecked_document_that_is_wrong_is_refused_all_the_same() -> None:
    for wrong in ({"parameters": [{"name": "a"}]}, {"parameters": 1}, {"security": [1]}, {"responses": [1]}):
        raw = json.loads(document())
        raw["paths"]["/x"]["get"].update(wrong)
        with pytest.raises(BadSpec):
            load({"funcatron.json": json.dumps(raw).encode()}, check=False)


def test_the_spec_may_come_in_several_files() -> None:
    main = document(paths={"/x": {"$ref": "paths/x.yaml"}}, definitions={"A": {"type": "integer"}})
    item = b"""
get:
  operationId: m.f
  parameters: [{$ref: '../lib.yaml#/parameters/a'}]
  responses: {200: {description: ok, schema: {$ref: '../funcatron.json#/definitions/A'}}}
"""
    lib = b"parameters: {a: {name: a, in: query, type: integer}}"
    api = load({"funcatron.json": main, "paths/x.yaml": item, "lib.yaml": lib})
    operation = api.operations[0]
    assert operation.bind(Request(query="a=1"), {}).params == {"a": 1}
    assert operation.check_answer(200, [("content-type", "application/json")], b'"x"')


def test_a_spec_may_live_elsewhere_when_its_entry_is_named() -> None:
    assert load({"api/spec.json": document()}, "api/spec.json").title == "My Api!"


def test_versions_written_as_numbers_are_understood() -> None:
    assert load({"funcatron.yaml": HELLO.replace(b'"2.0"', b"2.0")}).name == "hello"


def test_types_that_contain_each_other_in_many_ways_load_at_once() -> None:
    names = [f"T{i}" for i in range(12)]
    schemas = {
        name: {
            "type": "object",
            "allOf": [{"$ref": f"#/components/schemas/{other}"} for other in names[i + 1 :]] or [{}],
            "properties": {other: {"$ref": f"#/components/schemas/{other}"} for other in names},
        }
        for i, name in enumerate(names)
    }
    get = {
        "operationId": "m.f",
        "responses": {"200": {"description": "ok"}},
        "parameters": [
            {"name": "o", "in": "query", "style": "deepObject", "schema": {"$ref": "#/components/schemas/T0"}}
        ],
    }
    started = time.perf_counter()
    api = load3(paths={"/x": {"get": get}}, components={"schemas": schemas})
    assert api.operations[0].bind(Request(query="o[T1][T2][x]=1"), {}).params["o"]["T1"]["T2"]["x"] == "1"
    assert time.perf_counter() - started < 5


def test_a_value_as_deep_as_json_may_be_is_checked_by_a_recursive_schema() -> None:
    tree = {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}}
    post = {"operationId": "m.f", "responses": {"200": {"description": "ok"}}, "requestBody": body}
    operation = load3(paths={"/x": {"post": post}}, components={"schemas": {"Tree": tree}}).operations[0]
    for depth in (10, 200, 900):
        deep = b"[" * depth + b"]" * depth
        assert operation.bind(Request("POST", body=deep), {}).body_kind == "json"
        with pytest.raises(BadRequest):
            operation.bind(Request("POST", body=b"[" * depth + b"1" + b"]" * depth), {})
