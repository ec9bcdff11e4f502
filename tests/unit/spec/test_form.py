"""Forms: urlencoded and multipart, fields and files."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Bind, Faults, MakeOperation

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=bb"
FILE = {"type": "string", "format": "binary"}


def form(properties: dict[str, Any], kind: str = URLENCODED, encoding: Any = None, **schema: Any) -> dict[str, Any]:
    media = {"schema": {"type": "object", "properties": properties, **schema}, "encoding": encoding or {}}
    return {"content": {kind.split(";")[0]: media}}


def part(name: str, value: bytes, filename: str | None = None, kind: str | None = None) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'
    head += f'; filename="{filename}"' if filename is not None else ""
    head += f"\r\nContent-Type: {kind}" if kind else ""
    return b"--bb\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--bb--\r\n"


def test_a_form_of_3_is_one_typed_body(operation3: MakeOperation, bind: Bind) -> None:
    operation = operation3(
        method="post",
        requestBody=form(
            {"a": {"type": "integer"}, "b": {"type": "boolean"}, "c": {"type": "string", "nullable": True}}
        ),
    )
    arguments = bind(operation, body=b"a=5&b=true&c=null&d=x+%C3%A9&d=y", type=URLENCODED)
    assert arguments.body_kind == "form"
    assert arguments.body == {"a": 5, "b": True, "c": None, "d": "x é,y"}
    assert arguments.params == {}


def test_a_form_of_2_0_makes_an_argument_of_each_declared_field(operation2: MakeOperation, bind: Bind) -> None:
    operation = operation2(
        method="post",
        consumes=[URLENCODED],
        parameters=[
            {"name": "$a", "in": "formData", "type": "integer"},
            {"name": "b", "in": "formData", "type": "array", "items": {"type": "integer"}, "collectionFormat": "multi"},
            {"name": "c", "in": "formData", "type": "string", "default": "x"},
            {"name": "n", "in": "formData", "type": "number", "x-nullable": True},
        ],
    )
    arguments = bind(operation, body=b"%24a=1&b=1&b=2&n=None&admin=1", type=URLENCODED)
    assert arguments.params == {"a": 1, "b": [1, 2], "c": "x", "n": None}
    assert arguments.body_kind == "none"


def test_a_2_0_form_without_consumes_takes_both_kinds(operation2: MakeOperation, bind: Bind) -> None:
    operation = operation2(method="post", parameters=[{"name": "a", "in": "formData", "type": "integer"}])
    assert bind(operation, body=b"a=1", type=URLENCODED).params == {"a": 1}
    assert bind(operation, body=multipart(part("a", b"1")), type=MULTIPART).params == {"a": 1}


def test_every_fault_of_a_form_is_reported(operation3: MakeOperation, faults: Faults) -> None:
    operation = operation3(
        method="post",
        requestBody=form(
            {"a": {"type": "integer"}, "b": {"type": "string", "enum": ["x"]}, "c": {"type": "string"}}, required=["c"]
        ),
    )
    assert faults(operation, body=b"a=z&b=y", type=URLENCODED) == [
        {"where": "form.c", "what": "'c' is a required property"},
        {"where": "form.a", "what": "'z' is not of type 'integer'"},
        {"where": "form.b", "what": "'y' is not one of ['x']"},
    ]


def test_a_missing_form_is_an_empty_one(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    optional = operation3(method="post", requestBody=form({"a": {"type": "array", "items": {}}}, default={"a": ["x"]}))
    assert bind(optional).body == {"a": ["x"]}
    required = operation3(method="post", requestBody=form({"f": FILE}, MULTIPART, required=["f"]))
    assert faults(required, type=MULTIPART) == [{"where": "form.f", "what": "'f' is a required property"}]


@pytest.mark.parametrize(
    ("encoding", "body", "value"),
    [
        ({}, b"a=1&a=2", [1, 2]),
        ({}, b"a=1,2", [1, 2]),
        ({"style": "form", "explode": False}, b"a=9&a=1,2", [1, 2]),
        ({"style": "pipeDelimited"}, b"a=1|2", [1, 2]),
        ({"style": "spaceDelimited"}, b"a=1+2", [1, 2]),
    ],
)
def test_arrays_follow_the_encoding(
    operation3: MakeOperation, bind: Bind, encoding: Any, body: bytes, value: Any
) -> None:
    properties = {"a": {"type": "array", "items": {"type": "integer"}}}
    operation = operation3(method="post", requestBody=form(properties, encoding={"a": encoding}))
    assert bind(operation, body=body, type=URLENCODED).body == {"a": value}


def test_unknown_fields_are_strictly_refused(operation3: MakeOperation, faults: Faults) -> None:
    operation = operation3(
        method="post", requestBody=form({"a": {"type": "string"}}), **{"x-funcatron": {"strict-parameters": True}}
    )
    assert faults(operation, body=b"a=1&b=2&c=3", type=URLENCODED) == [
        {"where": "form.b", "what": "is not in the spec"},
        {"where": "form.c", "what": "is not in the spec"},
    ]


def test_files_come_apart_from_the_fields(operation3: MakeOperation, bind: Bind) -> None:
    operation = operation3(
        method="post",
        requestBody=form({"t": {"type": "integer"}, "f": FILE, "g": {"type": "array", "items": FILE}}, MULTIPART),
    )
    body = multipart(
        part("t", b"5"), part("f", b"\x00\r\n--b\xff", "é.bin", "image/png"), part("g", b"1", "1"), part("x", b"2", "2")
    )
    arguments = bind(operation, body=body, type=MULTIPART)
    assert arguments.body == {"t": 5}
    assert [(f.name, f.filename, f.content_type, f.data, f.many) for f in arguments.files] == [
        ("f", "é.bin", "image/png", b"\x00\r\n--b\xff", False),
        ("g", "1", "application/octet-stream", b"1", True),
        ("x", "2", "application/octet-stream", b"2", False),
    ]


def test_2_0_files_are_declared_by_their_type(operation2: MakeOperation, bind: Bind, faults: Faults) -> None:
    operation = operation2(
        method="post",
        consumes=["multipart/form-data"],
        parameters=[
            {"name": "file", "in": "formData", "type": "file", "required": True},
            {"name": "n", "in": "formData", "type": "integer"},
        ],
    )
    arguments = bind(operation, body=multipart(part("file", b"x", "a.txt"), part("n", b"1")), type=MULTIPART)
    assert arguments.params == {"n": 1}
    assert [f.filename for f in arguments.files] == ["a.txt"]
    assert faults(operation, body=multipart(part("n", b"1")), type=MULTIPART)[0]["where"] == "form.file"
    twice = multipart(part("file", b"x", "a"), part("file", b"y", "b"))
    assert faults(operation, body=twice, type=MULTIPART)[0]["where"] == "form.file"


def test_a_file_for_a_plain_field_is_refused(operation3: MakeOperation, faults: Faults) -> None:
    operation = operation3(method="post", requestBody=form({"a": {"type": "string"}}, MULTIPART))
    assert faults(operation, body=multipart(part("a", b"x", "a.txt")), type=MULTIPART)[0]["where"] == "form.a"


def test_json_parts_are_parsed_and_checked(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    pet = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    properties = {"encoded": {"type": "string"}, "object": pet, "list": {"type": "array", "items": pet}}
    operation = operation3(
        method="post", requestBody=form(properties, MULTIPART, {"encoded": {"contentType": "application/json"}})
    )
    body = multipart(
        part("encoded", b'"x"'), part("object", b'{"n": 1}', kind="application/json"), part("list", b'[{"n": 2}]')
    )
    assert bind(operation, body=body, type=MULTIPART).body == {"encoded": "x", "object": {"n": 1}, "list": [{"n": 2}]}
    several = multipart(part("list", b'{"n": 1}'), part("list", b'{"n": 2}'))
    assert bind(operation, body=several, type=MULTIPART).body == {"list": [{"n": 1}, {"n": 2}]}
    found = faults(operation, body=multipart(part("object", b"{}"), part("encoded", b"{")), type=MULTIPART)
    assert {fault["where"] for fault in found} == {"form.object.n", "form.encoded"}


def test_fields_in_another_charset_are_decoded(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    operation = operation3(method="post", requestBody=form({"a": {"type": "string"}}, MULTIPART))
    body = multipart(part("a", b"\xe9", kind="text/plain; charset=latin-1"))
    assert bind(operation, body=body, type=MULTIPART).body == {"a": "é"}
    assert "is not utf-8 text" in faults(operation, body=multipart(part("a", b"\xe9")), type=MULTIPART)[0]["what"]
    assert faults(operation, body=multipart(part("a", b"x", kind="text/plain; charset=nope")), type=MULTIPART)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary="),
        (b"x", MULTIPART),
        (b"--bb\r\n", MULTIPART),
        (part("a", b"1"), MULTIPART),
        (multipart(b"--bb\r\n\r\nno name\r\n"), MULTIPART),
        (multipart(b"--bb\r\nContent-Disposition: attachment\r\n\r\nx\r\n"), MULTIPART),
        (multipart(b"--bb\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\nx\r\n"), MULTIPART),
        (multipart(*[part("a", b"1")] * 2_001), MULTIPART),
        (b"\x00" * 1000, MULTIPART),
        (b"a=1", "multipart/form-data; boundary=\u20ac"),
    ],
)
def test_a_malformed_multipart_body_is_refused(
    operation3: MakeOperation, faults: Faults, body: bytes, kind: str
) -> None:
    operation = operation3(method="post", requestBody=form({"a": {"type": "string"}}, MULTIPART))
    found = faults(operation, body=body, headers={"content-type": kind})
    assert [fault["where"] for fault in found] == ["body"]


def test_an_urlencoded_body_that_is_no_text_is_refused(operation3: MakeOperation, faults: Faults, bind: Bind) -> None:
    operation = operation3(method="post", requestBody=form({"a": {"type": "string"}}))
    assert "is not utf-8 text" in faults(operation, body=b"a=\xff", type=URLENCODED)[0]["what"]
    assert bind(operation, body=b"a=\xe9", type=URLENCODED + "; charset=latin-1").body == {"a": "é"}


def test_undeclared_members_may_have_a_type(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    operation = operation3(method="post", requestBody=form({}, additionalProperties={"type": "integer"}))
    assert bind(operation, body=b"a=1&b=2", type=URLENCODED).body == {"a": 1, "b": 2}
    assert faults(operation, body=b"a=x", type=URLENCODED)[0]["where"] == "form.a"


def test_the_arguments_of_an_operation_are_known(operation3: MakeOperation, operation2: MakeOperation) -> None:
    three = operation3(
        method="post",
        parameters=[{"name": "$q", "in": "query", "schema": {"type": "string"}}],
        requestBody={**form({"t": {"type": "integer"}, "f": FILE}, MULTIPART), "x-body-name": "data"},
    )
    assert (three.arguments, three.body_name) == ({"q", "data", "f"}, "data")
    two = operation2(
        method="post",
        consumes=[URLENCODED],
        parameters=[{"name": "a", "in": "formData", "type": "integer"}],
    )
    assert two.arguments == {"a"}
    assert operation3().arguments == frozenset()
