"""Answers checked against what the spec declares."""

from __future__ import annotations

from typing import Any

import pytest

from funcatron.spec import conformance_detail

from .conftest import MakeOperation

JSON = [("Content-Type", "application/json")]
PET = {
    "type": "object",
    "required": ["name", "secret"],
    "properties": {
        "name": {"type": "string"},
        "secret": {"type": "string", "writeOnly": True},
        "id": {"readOnly": True},
    },
}


def response(schema: Any = None, kind: str = "application/json", **more: Any) -> dict[str, Any]:
    return {"description": "d", **({"content": {kind: {"schema": schema}}} if schema is not None else {}), **more}


def test_an_answer_as_declared_has_no_faults(operation3: MakeOperation) -> None:
    operation = operation3(responses={"200": response(PET)})
    assert operation.check_answer(200, JSON, b'{"name": "a", "id": 1}') == []
    assert operation.produces == ("application/json",)


def test_faults_have_a_pointer_and_write_only_properties_are_faults(operation3: MakeOperation) -> None:
    operation = operation3(responses={"200": response(PET)})
    found = operation.check_answer(200, JSON, b'{"name": 1, "secret": "x"}')
    assert {(f["where"], f["what"]) for f in found} == {
        ("body#/name", "1 is not of type 'string'"),
        ("body#/secret", "Property is write-only"),
    }
    assert conformance_detail(found).startswith("Response body does not conform to specification. ")


@pytest.mark.parametrize(
    ("status", "bad"), [(200, "'x' is not of type 'integer'"), (204, None), (404, "boolean"), (302, "array")]
)
def test_exact_statuses_win_over_ranges_and_the_default(
    operation3: MakeOperation, status: int, bad: str | None
) -> None:
    operation = operation3(
        responses={
            "200": response({"type": "integer"}),
            "2XX": response({"type": "object"}),
            "4XX": response({"type": "boolean"}),
            "default": response({"type": "array"}),
        }
    )
    found = operation.check_answer(status, JSON, b'"x"')
    assert (not found) if bad is None else bad in found[0]["what"]


def test_undeclared_statuses_are_not_judged(operation3: MakeOperation) -> None:
    assert operation3(responses={"200": response(PET)}).check_answer(418, JSON, b"[]") == []


def test_another_content_type_is_a_fault_below_400_only(operation3: MakeOperation) -> None:
    operation = operation3(responses={"200": response(PET), "400": response(PET)})
    found = operation.check_answer(200, [("content-type", "text/html; charset=utf-8")], b"x")
    what = "Invalid Response Content-type (text/html), expected ['application/json']"
    assert found == [{"where": "header.content-type", "what": what}]
    assert conformance_detail(found) == what
    assert operation.check_answer(400, [("content-type", "application/problem+json")], b"x") == []


def test_required_headers_must_be_there(operation3: MakeOperation) -> None:
    headers = {"Location": {"required": True, "schema": {"type": "string"}}, "X-Opt": {"schema": {"type": "string"}}}
    operation = operation3(responses={"201": response(headers=headers)})
    assert operation.check_answer(201, [("location", "/x")], b"") == []
    found = operation.check_answer(201, [], b"")
    assert found == [{"where": "header.Location", "what": "Missing response header 'Location'"}]
    assert "Difference: location" in conformance_detail(found)


def test_text_may_be_a_string_or_a_number(operation3: MakeOperation) -> None:
    plain = [("content-type", "text/plain")]
    text = operation3(responses={"200": response({"type": "string", "maxLength": 3}, "text/plain")})
    assert text.check_answer(200, plain, b"123") == []
    assert text.check_answer(200, plain, b"1234")[0]["what"] == "'1234' is too long"
    number = operation3(responses={"200": response({"type": "integer"}, "text/plain")})
    assert number.check_answer(200, plain, b"123") == []
    assert number.check_answer(200, plain, b"x")


@pytest.mark.parametrize("body", [b"{", b"\xff", b"NaN", b"[" * 100_000])
def test_what_is_not_json_is_a_fault(operation3: MakeOperation, body: bytes) -> None:
    found = operation3(responses={"200": response({})}).check_answer(200, JSON, body)
    assert [fault["where"] for fault in found] == ["body"]


def test_bytes_are_not_judged(operation3: MakeOperation) -> None:
    operation = operation3(responses={"200": response({"type": "string", "format": "binary"}, "image/*")})
    assert operation.check_answer(200, [("content-type", "image/png")], b"\xff") == []


def test_2_0_answers_follow_produces_and_schema(operation2: MakeOperation) -> None:
    operation = operation2(
        produces=["application/json", "text/csv"],
        responses={"200": {"description": "d", "schema": {"type": "integer"}}},
    )
    assert operation.produces == ("application/json", "text/csv")
    assert operation.check_answer(200, JSON, b"3") == []
    assert operation.check_answer(200, JSON, b"3.0")[0]["what"] == "3.0 is not of type 'integer'"
    assert operation.check_answer(200, [("content-type", "text/csv")], b"a,b") == []
    assert operation.check_answer(200, [("content-type", "text/xml")], b"")
    nullable = operation2(responses={"200": {"description": "d", "schema": {"type": "integer", "x-nullable": True}}})
    assert nullable.check_answer(200, JSON, b"null") == []
    file = operation2(produces=["image/png"], responses={"200": {"description": "d", "schema": {"type": "file"}}})
    assert file.check_answer(200, [("content-type", "image/png")], b"\x00") == []


def test_an_answer_to_head_has_no_body_to_judge(operation3: MakeOperation) -> None:
    assert operation3(method="head", responses={"200": response(PET)}).check_answer(200, JSON, b"") == []
