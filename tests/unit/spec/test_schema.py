"""Dialects of schemas, by what they let through as JSON bodies and as answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Bind, Faults, MakeOperation

JSON = "application/json"
Refused = Any


@pytest.fixture
def errors(operation3: MakeOperation, bind: Bind) -> Refused:
    """Return the errors of a JSON value under a schema; empty if it passes."""
    from funcatron.spec import BadRequest

    def check(schema: Any, value: Any, version: str = "3.0.3", schemas: Any = None) -> list[dict[str, str]]:
        operation = operation3(
            method="post",
            version=version,
            requestBody={"content": {JSON: {"schema": schema}}},
            root={"components": {"schemas": schemas or {}}},
        )
        try:
            bind(operation, body=json.dumps(value).encode(), type=JSON)
        except BadRequest as err:
            return err.errors
        return []

    return check


def test_nullable_allows_null_beside_type_and_enum(errors: Refused) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "nullable": True, "enum": ["x"]}}}
    assert errors(schema, {"a": None}) == []
    assert errors(schema, {"a": "y"}) == [{"where": "body#/a", "what": "'y' is not one of ['x', None]"}]


def test_nullable_beside_a_reference_allows_null(errors: Refused) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/components/schemas/S", "nullable": True}}}
    schemas = {"S": {"type": "string"}}
    assert errors(schema, {"a": None}, schemas=schemas) == []
    assert errors(schema, {"a": 1}, schemas=schemas)[0]["where"] == "body#/a"


def test_an_integer_of_3_0_is_written_without_a_point_and_one_of_3_1_need_not_be(errors: Refused) -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    assert errors(schema, [1.0]) == [{"where": "body#/0", "what": "1.0 is not of type 'integer'"}]
    assert errors(schema, [1.0], version="3.1.0") == []


def test_exclusive_bounds_are_booleans_in_3_0_and_numbers_in_3_1(errors: Refused) -> None:
    assert errors({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, 3)
    assert errors({"type": "integer", "exclusiveMinimum": 3}, 3, version="3.1.0")
    assert not errors({"type": "integer", "exclusiveMinimum": 3}, 4, version="3.1.0")


def test_integer_formats_keep_tighter_bounds(errors: Refused) -> None:
    schema = {"type": "integer", "format": "int32", "minimum": 5}
    assert errors(schema, 4)[0]["what"] == "4 is less than the minimum of 5"
    assert errors(schema, 2**31)[0]["what"] == "2147483648 is greater than the maximum of 2147483647"
    assert errors({"type": "integer", "format": "int64"}, 2**63)
    assert not errors({"type": "integer"}, 2**80)


def test_recursive_schemas_work(errors: Refused) -> None:
    schemas = {
        "T": {"type": "object", "properties": {"c": {"type": "array", "items": {"$ref": "#/components/schemas/T"}}}}
    }
    assert errors({"$ref": "#/components/schemas/T"}, {"c": [{"c": []}]}, schemas=schemas) == []
    found = errors({"$ref": "#/components/schemas/T"}, {"c": [{"c": [{}, 1]}]}, schemas=schemas)
    assert found == [{"where": "body#/c/0/c/1", "what": "1 is not of type 'object'"}]


def test_pointers_in_places_are_escaped(errors: Refused) -> None:
    schema = {"type": "object", "properties": {"a/b~c": {"type": "string"}}}
    assert errors(schema, {"a/b~c": 1})[0]["where"] == "body#/a~1b~0c"


def test_every_fault_of_a_body_is_reported(errors: Refused) -> None:
    schema = {
        "type": "object",
        "required": ["a", "b"],
        "additionalProperties": False,
        "properties": {"a": {"type": "string"}, "b": {}, "c": {"type": "array", "uniqueItems": True, "minItems": 3}},
    }
    found = {(e["where"], e["what"]) for e in errors(schema, {"a": 1, "c": [1, 1], "d": 1})}
    assert found == {
        ("body#/a", "1 is not of type 'string'"),
        ("body#/b", "'b' is a required property"),
        ("body#/c", "[1, 1] is too short"),
        ("body#/c", "[1, 1] has non-unique elements"),
        ("body#", "Additional properties are not allowed ('d' was unexpected)"),
    }


def test_a_body_with_a_thousand_faults_reports_a_bounded_number(errors: Refused) -> None:
    assert len(errors({"type": "array", "items": {"type": "string"}}, list(range(1000)))) == 50


READ_ONLY = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {"id": {"type": "integer", "readOnly": True}, "name": {"type": "string"}},
}


def test_a_read_only_property_is_not_required_in_requests_and_passes_where_it_is_sent(errors: Refused) -> None:
    assert errors(READ_ONLY, {"name": "a"}) == []
    assert errors(READ_ONLY, {"name": "a", "id": 1}) == []  # as Connexion 3
    assert errors(READ_ONLY, {"id": 1})[0]["where"] == "body#/name"


def test_read_only_is_seen_through_all_of_and_references(errors: Refused) -> None:
    schemas = {"Base": {"type": "object", "properties": {"id": {"$ref": "#/components/schemas/Id"}}},
               "Id": {"type": "integer", "readOnly": True}}  # fmt: skip
    schema = {"allOf": [{"$ref": "#/components/schemas/Base"}, {"type": "object", "required": ["id"]}]}
    assert errors(schema, {}, schemas=schemas) == []


CAT = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string"}, "lives": {"type": "integer"}}}
DOG = {
    "type": "object",
    "required": ["kind", "bark"],
    "properties": {"kind": {"type": "string"}, "bark": {"type": "string"}},
}
PETS = {"Cat": CAT, "Dog": DOG}
REFS = [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]


def test_a_discriminator_chooses_the_alternative(errors: Refused) -> None:
    schema = {"oneOf": REFS, "discriminator": {"propertyName": "kind"}}
    assert errors(schema, {"kind": "Cat", "bark": 1}, schemas=PETS) == []
    assert errors(schema, {"kind": "Dog", "bark": 1}, schemas=PETS) == [
        {"where": "body#/bark", "what": "1 is not of type 'string'"}
    ]
    assert errors(schema, {"kind": "Dog"}, schemas=PETS) == [
        {"where": "body#/bark", "what": "'bark' is a required property"}
    ]
    assert errors(schema, {"kind": "Cow"}, schemas=PETS) == [
        {"where": "body#/kind", "what": "'Cow' is not one of ['Cat', 'Dog']"}
    ]


def test_a_discriminator_may_have_a_mapping(errors: Refused) -> None:
    mapping = {"meow": "#/components/schemas/Cat", "purr": "Cat", "woof": "#/components/schemas/Dog"}
    schema = {"anyOf": REFS, "discriminator": {"propertyName": "kind", "mapping": mapping}}
    assert errors(schema, {"kind": "purr", "lives": 9}, schemas=PETS) == []
    assert errors(schema, {"kind": "meow", "lives": "x"}, schemas=PETS)[0]["where"] == "body#/lives"
    assert errors(schema, {"kind": "Cat"}, schemas=PETS)[0]["where"] == "body#/kind"


INHERITED = {
    "Pet": {"type": "object", "required": ["kind"], "discriminator": {"propertyName": "kind"},
            "properties": {"kind": {"type": "string"}}},
    "Cat": {"allOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "object", "required": ["lives"],
            "properties": {"lives": {"type": "integer"}}}]},
    "Lion": {"allOf": [{"$ref": "#/components/schemas/Cat"}, {"type": "object",
             "properties": {"mane": {"type": "boolean"}}}]},
}  # fmt: skip


def test_a_discriminator_of_a_parent_chooses_among_its_children(errors: Refused) -> None:
    pet = {"$ref": "#/components/schemas/Pet"}
    assert errors(pet, {"kind": "Pet"}, schemas=INHERITED) == []
    assert errors(pet, {"kind": "Cat", "lives": 9}, schemas=INHERITED) == []
    assert errors(pet, {"kind": "Lion", "lives": 9, "mane": True}, schemas=INHERITED) == []
    assert errors(pet, {"kind": "Cat"}, schemas=INHERITED)[0]["where"] == "body#/lives"
    assert errors(pet, {"kind": "Lion", "lives": 1, "mane": 1}, schemas=INHERITED)[0]["where"] == "body#/mane"
    assert errors(pet, {"kind": "Cow"}, schemas=INHERITED)[0]["where"] == "body#/kind"
    assert errors({"$ref": "#/components/schemas/Cat"}, {"kind": "x", "lives": 1}, schemas=INHERITED) == []


def test_2_0_discriminators_are_texts(operation2: MakeOperation, faults: Faults, bind: Bind) -> None:
    definitions = json.loads(json.dumps(INHERITED).replace("components/schemas", "definitions"))
    definitions["Pet"]["discriminator"] = "kind"
    operation = operation2(
        method="post",
        parameters=[{"name": "pet", "in": "body", "schema": {"$ref": "#/definitions/Pet"}}],
        root={"definitions": definitions},
    )
    assert bind(operation, body=b'{"kind": "Cat", "lives": 1}', type=JSON).body["lives"] == 1
    assert faults(operation, body=b'{"kind": "Cat"}', type=JSON)[0]["where"] == "body#/lives"


def test_alternatives_without_discriminator_are_refused_in_one_sentence(errors: Refused) -> None:
    schema = {"type": "object", "properties": {"n": {"oneOf": [{"type": "boolean"}, {"type": "number"}]}}}
    assert errors(schema, {"n": "x"}) == [
        {"where": "body#/n", "what": "'x' is not valid under any of the given schemas"}
    ]
    both = {"oneOf": [{"type": "integer"}, {"minimum": 2}]}
    assert errors(both, 3) == [{"where": "body#", "what": "3 is valid under more than one of the given schemas"}]


def test_3_1_keywords_work(errors: Refused) -> None:
    schema = {
        "type": "object",
        "properties": {"k": {"const": "a"}, "p": {"prefixItems": [{"type": "string"}], "items": False}},
        "if": {"properties": {"k": {"const": "a"}}},
        "then": {"required": ["x"]},
        "unevaluatedProperties": False,
        "$defs": {"S": {"type": "string"}},
    }
    assert errors(schema, {"k": "b"}, version="3.1.0")[0]["what"] == "'a' was expected"
    assert {e["where"] for e in errors(schema, {"k": "a", "p": ["x", 1]}, version="3.1.0")} == {"body#/x", "body#/p/1"}
    beside = {"$ref": "#/components/schemas/S", "minLength": 2}
    assert errors(beside, "a", version="3.1.0", schemas={"S": {"type": "string"}})[0]["what"] == "'a' is too short"


def test_boolean_schemas_work_in_3_1(errors: Refused) -> None:
    schema = {"type": "object", "properties": {"a": False, "b": True}}
    assert errors(schema, {"b": 1}, version="3.1.0") == []
    assert errors(schema, {"a": 1}, version="3.1.0")[0]["where"] == "body#/a"
