"""Bodies: media types, JSON, text and bytes."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Bind, Faults, MakeOperation

JSON = "application/json"
PET = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
ANY: dict[str, Any] = {}


def content(schema: Any = None, kind: str = JSON, **more: Any) -> dict[str, Any]:
    return {"content": {kind: {"schema": PET if schema is None else schema}}, **more}


def test_a_json_body_is_checked_and_passed(operation3: MakeOperation, bind: Bind) -> None:
    arguments = bind(operation3(method="post", requestBody=content()), body=b'{"name": "Rex"}', type=JSON)
    assert (arguments.body_kind, arguments.body_name, arguments.body) == ("json", "body", {"name": "Rex"})
    assert arguments.verbatim


def test_the_body_may_have_another_name(operation3: MakeOperation, operation2: MakeOperation, bind: Bind) -> None:
    named = operation3(method="post", requestBody=content(**{"x-body-name": "pet"}))
    assert bind(named, body=b'{"name": "Rex"}', type=JSON).body_name == "pet"
    swagger = operation2(method="post", parameters=[{"name": "myPet", "in": "body", "schema": PET}])
    assert bind(swagger, body=b'{"name": "Rex"}', type=JSON).body_name == "myPet"
    assert swagger.aliases == {"myPet": "my_pet"}


def test_without_a_content_type_the_first_declared_one_is_meant(operation3: MakeOperation, bind: Bind) -> None:
    assert bind(operation3(method="post", requestBody=content()), body=b'{"name": "Rex"}').body == {"name": "Rex"}


@pytest.mark.parametrize(
    "kind", [JSON, "application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"']
)
def test_a_content_type_is_compared_without_case_and_parameters(
    operation3: MakeOperation, bind: Bind, kind: str
) -> None:
    assert bind(operation3(method="post", requestBody=content()), body=b'{"name": "x"}', type=kind).verbatim


@pytest.mark.parametrize("kind", ["text/html", "application/xml", "application/vnd.x+json", "garbage", ""])
def test_another_media_type_is_refused_with_415(operation3: MakeOperation, faults: Faults, kind: str) -> None:
    operation = operation3(method="post", requestBody=content())
    found = faults(operation, body=b"{}", headers={"content-type": kind}, status=415)
    assert found == [
        {"where": "header.content-type", "what": f"Invalid Content-type ({kind}), expected ['application/json']"}
    ]


def test_with_other_faults_a_wrong_media_type_is_a_400(operation3: MakeOperation, faults: Faults) -> None:
    parameter = {"name": "a", "in": "query", "required": True, "schema": {"type": "string"}}
    found = faults(operation3(method="post", parameters=[parameter], requestBody=content()), body=b"", type="text/html")
    assert [fault["where"] for fault in found] == ["query.a", "header.content-type"]


def test_the_most_specific_media_type_decides(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    kinds = {
        "*/*": {"schema": {"type": "integer"}},
        "application/*": {"schema": {"type": "boolean"}},
        "application/vnd.pet+json; version=1": {"schema": PET},
        "application/*+json": {"schema": {"type": "array"}},
    }
    operation = operation3(method="post", requestBody={"content": kinds})
    assert bind(operation, body=b'{"name": "a"}', type="application/vnd.pet+json").body == {"name": "a"}
    assert bind(operation, body=b"[]", type="application/other+json").body == []
    assert bind(operation, body=b"true", type=JSON).body is True
    assert bind(operation, body=b"3", type="text/json").body == 3
    assert faults(operation, body=b"3", type=JSON)[0]["what"] == "3 is not of type 'boolean'"


@pytest.mark.parametrize(
    ("schema", "required", "what"),
    [
        (PET, True, "RequestBody is required"),
        (PET, False, "Request body must not be empty"),
    ],
)
def test_a_missing_json_body_is_refused_as_by_connexion(
    operation3: MakeOperation, faults: Faults, schema: Any, required: bool, what: str
) -> None:
    operation = operation3(method="post", requestBody=content(schema, required=required))
    assert faults(operation, type=JSON) == [{"where": "body", "what": what}]
    assert faults(operation) == [{"where": "body", "what": what}]


def test_a_missing_body_may_have_a_default(operation3: MakeOperation, bind: Bind) -> None:
    operation = operation3(method="post", requestBody=content({**PET, "default": {"name": "x"}}, required=True))
    first = bind(operation, type=JSON)
    assert (first.body, first.verbatim) == ({"name": "x"}, False)
    first.body["name"] = "y"
    assert bind(operation).body == {"name": "x"}


def test_a_default_beside_a_reference_counts(operation3: MakeOperation, bind: Bind) -> None:
    schema = {"$ref": "#/components/schemas/P", "default": {"name": "x"}}
    operation = operation3(method="post", requestBody=content(schema), root={"components": {"schemas": {"P": PET}}})
    assert bind(operation).body == {"name": "x"}


def test_null_is_for_nullable_bodies(
    operation3: MakeOperation, operation2: MakeOperation, bind: Bind, faults: Faults
) -> None:
    parameter = {"name": "body", "in": "body", "required": True, "schema": PET, "x-nullable": True}
    for operation in (
        operation3(method="post", requestBody=content({**PET, "nullable": True})),
        operation3(method="post", version="3.1.0", requestBody=content({**PET, "type": ["object", "null"]})),
        operation2(method="post", parameters=[parameter]),
    ):
        assert bind(operation, body=b"null", type=JSON).body is None
    assert faults(operation3(method="post", requestBody=content()), body=b"null", type=JSON) == [
        {"where": "body", "what": "Request body must not be empty"}
    ]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"{", "is not JSON"),
        (b'{"name": "a"} x', "is not JSON"),
        (b'{"name": NaN}', "is not JSON"),
        (b'{"name": Infinity}', "is not JSON"),
        (b'{"name": "a", "age": 1234567890123456789012345, "x": NaN}', "is not JSON"),
        (b'\xff\xfe{"', "is not UTF-8 text"),
        (b'{"name": "\xc3"}', "is not UTF-8 text"),
        (b'{"name": "\\ud800"}', "is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "is not JSON"),
        (b"[1234567890123456789012," * 100_000, "is not JSON"),
        (b'{"a":' * 100_000, "is not JSON"),
        (b"1" * 100_000, "is not JSON"),
    ],
)
def test_what_is_not_json_is_refused(operation3: MakeOperation, faults: Faults, body: bytes, what: str) -> None:
    found = faults(operation3(method="post", requestBody=content(ANY)), body=body, type=JSON)
    assert len(found) == 1
    assert found[0]["where"] == "body"
    assert what in found[0]["what"]


def test_big_integers_are_kept_and_the_last_duplicate_key_counts(operation3: MakeOperation, bind: Bind) -> None:
    operation = operation3(method="post", requestBody=content())
    big = 123456789012345678901234567890
    assert bind(operation, body=b'{"name": "a", "age": %d}' % big, type=JSON).body["age"] == big
    assert bind(operation, body=b'{"name": "a", "name": "b"}', type=JSON).body == {"name": "b"}


def test_json_in_another_charset_is_decoded(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    operation = operation3(method="post", requestBody=content())
    arguments = bind(operation, body='{"name": "é"}'.encode("latin-1"), type=JSON + "; charset=latin-1")
    assert (arguments.body, arguments.verbatim) == ({"name": "é"}, False)
    assert "not nope text" in faults(operation, body=b"{}", type=JSON + "; charset=nope")[0]["what"]
    assert faults(operation, body=b"\xff", type=JSON + "; charset=utf-16")


def test_text_is_decoded_and_checked_where_a_string_is_declared(
    operation3: MakeOperation, bind: Bind, faults: Faults
) -> None:
    operation = operation3(method="post", requestBody=content({"type": "string", "maxLength": 3}, "text/plain"))
    arguments = bind(operation, body="é".encode(), type="text/plain")
    assert (arguments.body_kind, arguments.body) == ("text", "é")
    assert arguments.verbatim
    latin = bind(operation, body=b"\xe9", type="text/plain; charset=latin-1")
    assert (latin.body, latin.verbatim) == ("é", False)
    assert faults(operation, body=b"abcd", type="text/plain")[0] == {"where": "body#", "what": "'abcd' is too long"}
    assert "not utf-8 text" in faults(operation, body=b"\xff", type="text/plain")[0]["what"]


def test_other_bodies_pass_as_bytes(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    operation = operation3(method="post", requestBody=content({"type": "string", "format": "binary"}, "image/*"))
    assert bind(operation, body=b"\x00\xff", type="image/png").body_kind == "binary"
    assert bind(operation, type="image/png").body_kind == "binary"
    required = operation3(method="post", requestBody=content(ANY, "image/*", required=True))
    assert faults(required, type="image/png") == [{"where": "body", "what": "RequestBody is required"}]


def test_an_operation_without_body_ignores_what_comes(operation3: MakeOperation, bind: Bind) -> None:
    assert bind(operation3(method="post"), body=b"x", type="text/plain").body_kind == "none"


def test_2_0_consumes_json_unless_it_says_otherwise(operation2: MakeOperation, bind: Bind, faults: Faults) -> None:
    plain = operation2(method="post")
    assert bind(plain, body=b"", type="application/x-www-form-urlencoded").body_kind == "none"  # curl -d ''
    faults(plain, body=b"x", type="text/plain", status=415)
    parameters = [{"name": "p", "in": "body", "schema": PET}]
    rooted = operation2(method="post", parameters=parameters, root={"consumes": ["application/x+json"]})
    assert bind(rooted, body=b'{"name": "a"}', type="application/x+json").body == {"name": "a"}
    faults(rooted, body=b"{}", type=JSON, status=415)
    own = operation2(method="post", parameters=parameters, consumes=["*/*"], root={"consumes": ["a/b"]})
    assert bind(own, body=b"x", type="text/csv").body == "x"


def test_trace_has_no_body(operation3: MakeOperation, bind: Bind) -> None:
    assert bind(operation3(method="trace", requestBody=content()), body=b"{}", type=JSON).body_kind == "none"


def test_a_body_of_get_and_delete_is_read(operation3: MakeOperation, bind: Bind) -> None:
    for method in ("get", "delete"):
        operation = operation3(method=method, requestBody=content())
        assert bind(operation, body=b'{"name": "a"}', type=JSON).body == {"name": "a"}
