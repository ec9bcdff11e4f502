"""Parameters in path, query, header and cookie: types, styles, defaults, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Bind, Faults, MakeOperation

MISSING = "absent"


def query(name: str = "p", **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "-05", -5),
        ({"type": "integer"}, "+5", 5),
        ({"type": "integer"}, "9" * 25, int("9" * 25)),
        ({"type": "number"}, "5", 5.0),
        ({"type": "number"}, "-1.5e3", -1500.0),
        ({"type": "number"}, ".5", 0.5),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, "", ""),
        ({"type": "string"}, "a%2Fb+c%C2%A3", "a/b c£"),
        ({}, "5", "5"),
        ({"enum": [1, 2]}, "2", 2),
        ({"oneOf": [{"type": "integer"}, {"type": "string", "enum": ["all"]}]}, "all", "all"),
        ({"oneOf": [{"type": "integer"}, {"type": "string", "enum": ["all"]}]}, "3", 3),
        ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, "3", 3),
        ({"type": "integer", "nullable": True}, "null", None),
        ({"type": "string", "nullable": True}, "None", None),
        ({"type": "string", "nullable": True, "enum": ["a"]}, "null", None),
        ({"type": "string", "format": "date"}, "2020-02-29", "2020-02-29"),
        ({"type": "string", "format": "date-time"}, "2020-02-29T10:00:00Z", "2020-02-29T10:00:00Z"),
        ({"type": "string", "format": "uuid"}, "E7FF66D0-3ec2-4c4e-bed0-6e4723c24c51", MISSING),
        ({"type": "string", "format": "byte"}, "aGk%3D", "aGk="),
        ({"type": "string", "format": "binary"}, "x", "x"),
        ({"type": "string", "format": "password"}, "x", "x"),
        ({"type": "string", "format": "email"}, "a@b.org", "a@b.org"),
        ({"type": "string", "format": "uri"}, "http://a/b", "http://a/b"),
        ({"type": "string", "format": "ipv4"}, "10.0.0.1", "10.0.0.1"),
        ({"type": "string", "format": "made-up"}, "x", "x"),
        ({"type": "integer", "format": "int32"}, "2147483647", 2147483647),
        ({"type": "integer", "format": "int64"}, "-9223372036854775808", -(2**63)),
        ({"type": "number", "format": "float"}, "1.25", 1.25),
    ],
)
def test_a_text_becomes_the_declared_type(
    operation3: MakeOperation, bind: Bind, schema: dict[str, Any], text: str, value: Any
) -> None:
    params = bind(operation3(parameters=[query(**schema)]), f"p={text}").params
    if value is not MISSING:
        assert params == {"p": value}
        assert type(params["p"]) is type(value)


@pytest.mark.parametrize(
    ("schema", "text", "what"),
    [
        ({"type": "integer"}, "", "'' is not of type 'integer'"),
        ({"type": "integer"}, "1.0", "'1.0' is not of type 'integer'"),
        ({"type": "integer"}, "1_000", "'1_000' is not of type 'integer'"),
        ({"type": "integer"}, "%D9%A1", "'١' is not of type 'integer'"),
        ({"type": "integer"}, "9" * 5000, "is not of type 'integer'"),
        ({"type": "number"}, "nan", "'nan' is not of type 'number'"),
        ({"type": "number"}, "-Infinity", "is not of type 'number'"),
        ({"type": "number"}, "1e999", "is not of type 'number'"),
        ({"type": "number"}, "1_0.0", "is not of type 'number'"),
        ({"type": "boolean"}, "yes", "'yes' is not of type 'boolean'"),
        ({"type": "boolean"}, "1", "'1' is not of type 'boolean'"),
        ({"type": "integer", "minimum": 3}, "2", "2 is less than the minimum of 3"),
        ({"type": "integer", "maximum": 3, "exclusiveMaximum": True}, "3", "than or equal to the"),
        ({"type": "number", "multipleOf": 0.5}, "1.2", "1.2 is not a multiple of 0.5"),
        ({"type": "string", "minLength": 2}, "a", "'a' is too short"),
        ({"type": "string", "maxLength": 1}, "ab", "'ab' is too long"),
        ({"type": "string", "pattern": "^a+$"}, "b", "'b' does not match '^a+$'"),
        ({"type": "string", "enum": ["a", "b"]}, "c", "'c' is not one of ['a', 'b']"),
        ({"type": "string", "format": "date"}, "2021-02-29", "'2021-02-29' is not a 'date'"),
        ({"type": "string", "format": "date-time"}, "2020-02-29", "is not a 'date-time'"),
        ({"type": "string", "format": "uuid"}, "e7ff66d0", "is not a 'uuid'"),
        ({"type": "string", "format": "byte"}, "a-b", "is not a 'byte'"),
        ({"type": "string", "format": "email"}, "xy", "'xy' is not a 'email'"),
        ({"type": "string", "format": "uri"}, "no uri", "is not a 'uri'"),
        ({"type": "string", "format": "ipv4"}, "1.2.3", "is not a 'ipv4'"),
        ({"type": "integer", "format": "int32"}, "2147483648", "greater than the maximum of 2147483647"),
        ({"type": "integer", "format": "int64"}, "9223372036854775808", "greater than the maximum"),
        ({"type": "integer"}, "null", "'null' is not of type 'integer'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_place_and_reason(
    operation3: MakeOperation, faults: Faults, schema: dict[str, Any], text: str, what: str
) -> None:
    found = faults(operation3(parameters=[query(**schema)]), f"p={text}")
    assert [fault["where"] for fault in found] == ["query.p"]
    assert what in found[0]["what"]


STRINGS = {"type": "array", "items": {"type": "string"}}
INTEGERS = {"type": "array", "items": {"type": "integer"}}
RGB = {"type": "object", "properties": {"R": {"type": "integer"}, "G": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("style", "explode", "schema", "text", "value"),
    [
        ("form", True, INTEGERS, "p=1&p=2", [1, 2]),
        ("form", True, STRINGS, "p=a&p=b,c", ["a", "b", "c"]),
        ("form", False, INTEGERS, "p=1,2", [1, 2]),
        ("form", False, INTEGERS, "p=9&p=1,2", [1, 2]),
        ("form", False, STRINGS, "p=a%2Cb", ["a", "b"]),
        ("form", False, STRINGS, "p=", [""]),
        ("spaceDelimited", False, INTEGERS, "p=1%202+3", [1, 2, 3]),
        ("spaceDelimited", True, INTEGERS, "p=1&p=2", [1, 2]),
        ("pipeDelimited", False, INTEGERS, "p=1|2%7C3", [1, 2, 3]),
        ("pipeDelimited", True, INTEGERS, "p=1&p=2|3", [1, 2, 3]),
        ("form", False, RGB, "p=R,1,G,2", {"R": 1, "G": 2}),
        ("form", True, RGB, "R=1&G=2", {"R": 1, "G": 2}),
        ("spaceDelimited", False, RGB, "p=R%201%20G%202", {"R": 1, "G": 2}),
        ("pipeDelimited", False, RGB, "p=R|1|G|2", {"R": 1, "G": 2}),
        ("deepObject", True, RGB, "p[R]=1&p%5BG%5D=2", {"R": 1, "G": 2}),
        ("deepObject", True, RGB, "p[R]=1&p[R]=2", {"R": 1}),
        ("deepObject", True, {"type": "object", "properties": {"a": INTEGERS}}, "p[a]=1&p[a]=2", {"a": [1, 2]}),
        ("deepObject", True, {"type": "object", "properties": {"a": INTEGERS}}, "p[a][]=1", {"a": [1]}),
        ("deepObject", True, {"type": "object", "properties": {"a": INTEGERS}}, "p[a]=1", {"a": [1]}),
        ("deepObject", True, {"type": "object", "properties": {"a": RGB}}, "p[a][R]=1", {"a": {"R": 1}}),
        ("deepObject", True, {"type": "object"}, "p[a.b]=1&p[c]=x", {"a.b": "1", "c": "x"}),
        ("deepObject", True, {"type": "object", "additionalProperties": {"type": "integer"}}, "p[a]=1", {"a": 1}),
    ],
)
def test_every_query_style_is_read(
    operation3: MakeOperation, bind: Bind, style: str, explode: bool, schema: Any, text: str, value: Any
) -> None:
    parameter = {"name": "p", "in": "query", "style": style, "explode": explode, "schema": schema}
    assert bind(operation3(parameters=[parameter]), text).params == {"p": value}


@pytest.mark.parametrize(
    ("style", "explode", "schema", "text", "value"),
    [
        ("simple", False, INTEGERS, "1,2", [1, 2]),
        ("simple", True, INTEGERS, "1,2", [1, 2]),
        ("simple", False, RGB, "R,1,G,2", {"R": 1, "G": 2}),
        ("simple", True, RGB, "R=1,G=2", {"R": 1, "G": 2}),
        ("label", False, {"type": "integer"}, ".5", 5),
        ("label", False, INTEGERS, ".1,2", [1, 2]),
        ("label", True, INTEGERS, ".1.2", [1, 2]),
        ("label", False, RGB, ".R,1,G,2", {"R": 1, "G": 2}),
        ("label", True, RGB, ".R=1.G=2", {"R": 1, "G": 2}),
        ("matrix", False, {"type": "integer"}, ";p=5", 5),
        ("matrix", False, INTEGERS, ";p=1,2", [1, 2]),
        ("matrix", True, INTEGERS, ";p=1;p=2", [1, 2]),
        ("matrix", False, RGB, ";p=R,1,G,2", {"R": 1, "G": 2}),
        ("matrix", True, RGB, ";R=1;G=2", {"R": 1, "G": 2}),
    ],
)
def test_every_path_style_is_read(
    operation3: MakeOperation, bind: Bind, style: str, explode: bool, schema: Any, text: str, value: Any
) -> None:
    parameter = {"name": "p", "in": "path", "required": True, "style": style, "explode": explode, "schema": schema}
    assert bind(operation3("/{p}", parameters=[parameter]), path={"p": text}).params == {"p": value}


@pytest.mark.parametrize(
    ("explode", "schema", "header", "value"),
    [
        (False, {"type": "integer"}, "5", 5),
        (False, INTEGERS, "1, 2,3", [1, 2, 3]),
        (False, INTEGERS, ["1", "2, 3"], [1, 2, 3]),
        (False, RGB, "R,1,G,2", {"R": 1, "G": 2}),
        (True, RGB, "R=1, G=2", {"R": 1, "G": 2}),
        (False, {"type": "string"}, ["a", "b"], "a,b"),
    ],
)
def test_headers_are_read(
    operation3: MakeOperation, bind: Bind, explode: bool, schema: Any, header: Any, value: Any
) -> None:
    parameter = {"name": "X-P", "in": "header", "explode": explode, "schema": schema}
    assert bind(operation3(parameters=[parameter]), headers={"x-p": header}).params == {"XP": value}


@pytest.mark.parametrize(
    ("collection", "text", "value"),
    [
        ("csv", "p=1,2", [1, 2]),
        (None, "p=1,2", [1, 2]),
        ("csv", "p=9&p=1,2", [1, 2]),
        ("ssv", "p=1%202", [1, 2]),
        ("tsv", "p=1%092", [1, 2]),
        ("pipes", "p=1|2", [1, 2]),
        ("multi", "p=1&p=2", [1, 2]),
        ("multi", "p=1&p=2,3", [1, 2, 3]),
    ],
)
def test_every_collection_format_of_2_0_is_read(
    operation2: MakeOperation, bind: Bind, collection: str | None, text: str, value: Any
) -> None:
    parameter = {"name": "p", "in": "query", **INTEGERS, **({"collectionFormat": collection} if collection else {})}
    assert bind(operation2(parameters=[parameter]), text).params == {"p": value}


def test_arrays_of_arrays_of_2_0_are_read(operation2: MakeOperation, bind: Bind) -> None:
    items = {"type": "array", "collectionFormat": "pipes", "items": {"type": "integer"}}
    parameter = {"name": "p", "in": "query", "type": "array", "items": items}
    assert bind(operation2(parameters=[parameter]), "p=1|2,3").params == {"p": [[1, 2], [3]]}


def test_faults_in_arrays_and_objects_have_their_place(operation3: MakeOperation, faults: Faults) -> None:
    deep = {"name": "o", "in": "query", "style": "deepObject", "schema": {**RGB, "additionalProperties": False}}
    found = faults(operation3(parameters=[query(**INTEGERS), deep]), "p=1,x,3,y&o[R]=z&o[q]=1")
    assert found == [
        {"where": "query.p.1", "what": "'x' is not of type 'integer'"},
        {"where": "query.p.3", "what": "'y' is not of type 'integer'"},
        {"where": "query.o.R", "what": "'z' is not of type 'integer'"},
        {"where": "query.o", "what": "Additional properties are not allowed ('q' was unexpected)"},
    ]


def test_an_object_that_is_none_is_refused(operation3: MakeOperation, faults: Faults) -> None:
    deep = {"name": "o", "in": "query", "style": "deepObject", "schema": RGB}
    assert faults(operation3(parameters=[deep]), "o=1") == [{"where": "query.o", "what": "'1' is not of type 'object'"}]
    flat = {"name": "o", "in": "query", "explode": False, "schema": RGB}
    assert "is not of type 'object'" in faults(operation3(parameters=[flat]), "o=R,1,G")[0]["what"]


def test_cookies_are_read(operation3: MakeOperation, bind: Bind) -> None:
    operation = operation3(
        parameters=[
            {"name": "a", "in": "cookie", "schema": {"type": "integer"}},
            {"name": "b", "in": "cookie", "explode": False, "schema": INTEGERS},
            {"name": "c", "in": "cookie", "schema": {"type": "string"}},
        ]
    )
    headers = {"cookie": 'x=1; a=2; b=3,4; c="q=z"'}
    assert bind(operation, headers=headers).params == {"a": 2, "b": [3, 4], "c": "q=z"}
    assert bind(operation, headers={"cookie": ["a=2", "c=z"]}).params["a"] == 2


def test_every_missing_parameter_is_named(operation3: MakeOperation, faults: Faults) -> None:
    operation = operation3(
        parameters=[
            {"name": place, "in": place, "required": True, "schema": {"type": "string"}}
            for place in ("query", "header", "cookie")
        ]
    )
    assert faults(operation) == [
        {"where": "query.query", "what": "Missing query parameter 'query'"},
        {"where": "header.header", "what": "Missing header parameter 'header'"},
        {"where": "cookie.cookie", "what": "Missing cookie parameter 'cookie'"},
    ]


def test_defaults_fill_what_is_absent_and_are_not_shared(operation3: MakeOperation, bind: Bind) -> None:
    operation = operation3(
        parameters=[
            query("a", type="number", default=1),
            query("b", default=["x"], **STRINGS),
            query("c", type="string", nullable=True, default=None),
            query("d", type="string"),
        ]
    )
    first = bind(operation).params
    assert first == {"a": 1.0, "b": ["x"], "c": None}
    first["b"].append("y")
    assert bind(operation).params["b"] == ["x"]


def test_defaults_of_2_0_stand_on_the_parameter(operation2: MakeOperation, bind: Bind) -> None:
    operation = operation2(
        parameters=[
            {"name": "a", "in": "query", "type": "integer", "default": 3},
            {"name": "b", "in": "query", "type": "string", "x-nullable": True, "default": None},
        ]
    )
    assert bind(operation).params == {"a": 3, "b": None}


def test_defaults_of_members_fill_an_object_that_is_absent_or_partial(operation3: MakeOperation, bind: Bind) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "object", "properties": {"c": {"type": "boolean", "default": True}}},
            "d": {"type": "string", "default": "x"},
        },
    }
    operation = operation3(parameters=[{"name": "o", "in": "query", "style": "deepObject", "schema": schema}])
    assert bind(operation).params == {"o": {"b": {"c": True}, "d": "x"}}
    assert bind(operation, "o[a]=1&o[b][c]=false").params == {"o": {"a": "1", "b": {"c": False}, "d": "x"}}


def test_a_parameter_may_be_json(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    operation = operation3(
        parameters=[
            {"name": "j", "in": "query", "content": {"application/json": {"schema": {**RGB, "required": ["R"]}}}}
        ]
    )
    assert bind(operation, "j=%7B%22R%22:1%7D").params == {"j": {"R": 1}}
    assert faults(operation, "j={}") == [{"where": "query.j.R", "what": "'R' is a required property"}]
    assert faults(operation, "j={")[0]["what"].startswith("is not JSON")
    assert faults(operation, 'j={"R":NaN}')[0]["what"].startswith("is not JSON")
    assert faults(operation, "j=" + "[" * 100_000)[0]["what"].startswith("is not JSON")


def test_an_empty_value_may_be_allowed(operation2: MakeOperation, bind: Bind) -> None:
    def parameter(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "in": "query", "allowEmptyValue": True, **more}

    operation = operation2(
        parameters=[
            parameter("a", type="integer"),
            parameter("b", type="integer", default=7),
            parameter("c", type="string"),
            parameter("d", **INTEGERS),
        ]
    )
    assert bind(operation, "a&b=&c&d=").params == {"a": None, "b": 7, "c": "", "d": None}
    assert bind(operation, "a=1&b=2&c=3&d=4").params == {"a": 1, "b": 2, "c": "3", "d": [4]}


def test_parameters_of_the_path_item_are_shared_and_overridden(
    operation3: MakeOperation, openapi: Any, bind: Bind
) -> None:
    api = openapi(
        {
            "/x": {
                "parameters": [query("a", type="integer"), query("b", type="integer")],
                "get": {"parameters": [query("b", type="string")]},
            }
        }
    )
    assert bind(api.operations[0], "a=1&b=2").params == {"a": 1, "b": "2"}


def test_unknown_query_parameters_are_ignored_or_strictly_refused(
    operation3: MakeOperation, bind: Bind, faults: Faults
) -> None:
    parameters = [
        query("a", type="integer"),
        {"name": "o", "in": "query", "style": "deepObject", "schema": RGB},
        {"name": "e", "in": "query", "schema": RGB},
    ]
    lax = operation3(parameters=parameters)
    assert bind(lax, "a=1&zz=2&yy[a]=1").params["a"] == 1
    strict = operation3(parameters=parameters, **{"x-funcatron": {"strict-parameters": True}})
    assert bind(strict, "a=1&o[R]=1&R=2&G=3").params["a"] == 1
    assert faults(strict, "a=x&zz=2&yy[a]=1") == [
        {"where": "query.zz", "what": "is not in the spec"},
        {"where": "query.yy[a]", "what": "is not in the spec"},
        {"where": "query.a", "what": "'x' is not of type 'integer'"},
    ]


def test_the_detail_of_strictness_is_connexions(operation3: MakeOperation) -> None:
    from funcatron.spec import BadRequest, Request

    strict = operation3(**{"x-funcatron": {"strict-parameters": True}})
    with pytest.raises(BadRequest) as caught:
        strict.bind(Request(query="b=1&c=2"), {})
    assert caught.value.detail == "Extra query parameter(s) b,c not in spec"


def test_argument_names_are_sanitized_and_have_pythonic_aliases(operation3: MakeOperation, bind: Bind) -> None:
    names = ["$q", "y[z]", "class", "someId", "a-b"]
    operation = operation3(
        "/{my-id}",
        parameters=[
            {"name": "my-id", "in": "path", "required": True, "schema": {"type": "integer"}},
            *(query(name, type="string") for name in names),
            {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
        ],
    )
    arguments = bind(operation, "&".join(f"{n}=1" for n in names), path={"my-id": "7"}, headers={"x-trace": "t"})
    assert arguments.params == {"my_id": 7, "q": "1", "y_z": "1", "class": "1", "someId": "1", "ab": "1", "XTrace": "t"}
    assert operation.aliases == {"class": "class_", "someId": "some_id", "ab": "a_b", "XTrace": "x_trace"}
    assert operation.explicit == {"XTrace"}


def test_of_one_name_in_several_places_the_query_counts_then_the_path(operation3: MakeOperation, bind: Bind) -> None:
    def at(place: str, **more: Any) -> dict[str, Any]:
        return {"name": "n", "in": place, "schema": {"type": "string"}, **more}

    operation = operation3("/{n}", parameters=[at("path", required=True), at("query"), at("header"), at("cookie")])
    headers = {"n": "h", "cookie": "n=c"}
    assert bind(operation, "n=q", path={"n": "p"}, headers=headers).params == {"n": "q"}
    assert bind(operation, path={"n": "p"}, headers=headers).params == {"n": "p"}
    assert operation.explicit == frozenset()


def test_headers_that_openapi_says_to_ignore_are_ignored(operation3: MakeOperation, bind: Bind) -> None:
    parameter = {"name": "Authorization", "in": "header", "required": True, "schema": {"type": "string"}}
    assert bind(operation3(parameters=[parameter])).params == {}


def test_a_recursive_schema_of_a_parameter_does_not_hang(operation3: MakeOperation, bind: Bind) -> None:
    tree = {"type": "object", "properties": {"v": {"type": "integer"}, "t": {"$ref": "#/components/schemas/Tree"}}}
    operation = operation3(
        parameters=[
            {"name": "t", "in": "query", "style": "deepObject", "schema": {"$ref": "#/components/schemas/Tree"}}
        ],
        root={"components": {"schemas": {"Tree": tree}}},
    )
    assert bind(operation, "t[v]=1&t[t][v]=2").params["t"]["t"] == {"v": 2}


def test_3_1_lists_of_types_are_understood(operation3: MakeOperation, bind: Bind, faults: Faults) -> None:
    operation = operation3(version="3.1.0", parameters=[query(type=["integer", "null"], exclusiveMinimum=3)])
    assert bind(operation, "p=4").params == {"p": 4}
    assert bind(operation, "p=null").params == {"p": None}
    assert faults(operation, "p=3")[0]["what"] == "3 is less than or equal to the minimum of 3"
    assert faults(operation, "p=x")[0]["where"] == "query.p"
