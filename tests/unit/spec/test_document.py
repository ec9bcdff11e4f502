"""References across the files of a bundle."""

from __future__ import annotations

import pytest

from funcatron.errors import BadSpec
from funcatron.spec.document import FILES_KEY, load_document

HEAD = "swagger: '2.0'\ninfo: {title: T, version: '1'}\npaths: {}\n"


def problems(files: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(BadSpec) as caught:
        load_document({name: text.encode() for name, text in files.items()})
    return caught.value.problems


def test_files_are_merged_and_their_references_become_local() -> None:
    document = load_document(
        {
            "funcatron.yaml": (HEAD + "definitions: {A: {$ref: 'lib/types.yaml#/B'}}").encode(),
            "lib/types.yaml": b"B: {type: array, items: {$ref: '#/C'}}\nC: {$ref: '../more.json'}",
            "more.json": b'{"type": "object", "properties": {"a": {"$ref": "funcatron.yaml#/definitions/A"}}}',
        }
    )
    assert document.root["definitions"]["A"] == {"$ref": f"#/{FILES_KEY}/0/B"}
    target = document.follow(document.root["definitions"]["A"])
    assert document.follow(target["items"])["properties"]["a"] == {"$ref": "#/definitions/A"}


def test_keys_beside_a_reference_fill_what_the_target_lacks() -> None:
    document = load_document(
        {
            "funcatron.yaml": (
                HEAD + "definitions: {A: {type: string}, B: {$ref: '#/definitions/A', default: x}}"
            ).encode()
        }
    )
    assert document.follow(document.root["definitions"]["B"]) == {"type": "string", "default": "x"}


def test_pointers_are_decoded() -> None:
    document = load_document({"funcatron.yaml": (HEAD + "x-a: {'a/b~c d': [1, {e: 2}]}").encode()})
    assert document.target("#/x-a/a~1b~0c%20d/1/e") == 2


@pytest.mark.parametrize(
    ("ref", "what"),
    [
        ("http://example.org/a.yaml", "outside the bundle"),
        ("file:///etc/passwd", "outside the bundle"),
        ("../a.yaml", "outside the bundle"),
        ("/etc/passwd", "outside the bundle"),
        ("lib/../../a.yaml", "outside the bundle"),
        ("gone.yaml#/A", "gone.yaml: is not in the bundle"),
        ("#/definitions/Gone", "leads nowhere"),
        ("#/definitions/A/type/x", "leads nowhere"),
        ("#anchor", "is not a JSON pointer"),
    ],
)
def test_a_reference_that_leads_out_or_nowhere_is_a_problem(ref: str, what: str) -> None:
    found = problems({"funcatron.yaml": HEAD + f"definitions: {{A: {{type: string}}, B: {{$ref: '{ref}'}}}}"})
    assert any(what in problem for problem in found), found


def test_references_in_a_circle_are_a_problem_and_do_not_hang() -> None:
    text = "definitions: {A: {$ref: '#/definitions/B'}, B: {$ref: '#/definitions/A'}, C: {$ref: '#/definitions/C/x'}}"
    found = problems({"funcatron.yaml": HEAD + text})
    assert len(found) == 3
    assert all("refers to itself" in problem or "leads nowhere" in problem for problem in found)


def test_all_problems_of_all_files_come_at_once() -> None:
    found = problems(
        {
            "funcatron.yaml": HEAD + "definitions: {A: {$ref: a.yaml}, B: {$ref: b.yaml}, C: {$ref: 'http://x/'}}",
            "a.yaml": "a: [",
        }
    )
    assert len(found) >= 3


def test_data_that_looks_like_a_reference_is_left_alone() -> None:
    text = HEAD + "definitions: {A: {type: object, properties: {$ref: {type: string}}, example: {$ref: 'gone'}}}"
    assert load_document({"funcatron.yaml": text.encode()}).root["definitions"]["A"]["example"] == {"$ref": "gone"}


def test_a_bundle_needs_exactly_one_spec() -> None:
    with pytest.raises(BadSpec, match=r"needs one of funcatron\.yaml"):
        load_document({"swagger.yaml": b"{}"})
    with pytest.raises(BadSpec, match="more than one"):
        load_document({"funcatron.yaml": b"{}", "funcatron.json": b"{}"})


@pytest.mark.parametrize("data", [b"[]", b"1", b"", b"x"])
def test_a_document_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadSpec):
        load_document({"funcatron.yaml": data})
