"""How `invoke` finds an operation and builds its request."""

import pytest

from funcatron.cli import invoke
from funcatron.errors import FuncatronError

PETS = {
    "name": "petstore",
    "path": "/pets/1.0",
    "host": None,
    "url": "http://127.0.0.1:8080/pets/1.0",
    "operations": [
        {"id": "pets.catalogue.search", "method": "GET", "path": "/pets"},
        {"id": "pets.catalogue.add", "method": "POST", "path": "/pets"},
        {"id": "pets.catalogue.get", "method": "GET", "path": "/pets/{id}/{part}"},
        {"id": "pets.owners.get", "method": "GET", "path": "/owners/{id}"},
        {"id": "Pets::Catalogue", "method": "PUT", "path": "/all"},
    ],
}


@pytest.mark.parametrize(
    ("wanted", "method", "found"),
    [
        ("search", None, "pets.catalogue.search"),
        ("pets.owners.get", None, "pets.owners.get"),
        ("Catalogue", None, "Pets::Catalogue"),
        ("", "PUT", "Pets::Catalogue"),
        ("", "put", "Pets::Catalogue"),
    ],
)
def test_an_operation_is_found_by_its_id_or_the_last_part_of_it(wanted, method, found):
    assert invoke.choose(PETS, wanted, method)["id"] == found


def test_the_only_operation_needs_no_name():
    one = {**PETS, "operations": PETS["operations"][:1]}
    assert invoke.choose(one, "", None)["id"] == "pets.catalogue.search"


@pytest.mark.parametrize(
    ("wanted", "what"), [("", "which operation"), ("get", "several operations 'get'"), ("nope", "no operations 'nope'")]
)
def test_what_is_not_clear_lists_what_there_is(wanted, what):
    with pytest.raises(FuncatronError, match=what) as caught:
        invoke.choose(PETS, wanted, None)
    assert "petstore/pets.catalogue.add  (POST /pets)" in str(caught.value)


def test_parameters_go_into_the_path_and_the_rest_into_the_query():
    call = invoke.build(
        PETS, PETS["operations"][2], [("id", "a/b ä"), ("part", "x"), ("tag", "1&2"), ("tag", "3")], None, []
    )
    assert (call.method, call.target) == ("GET", "/pets/1.0/pets/a%2Fb%20%C3%A4/x?tag=1%262&tag=3")
    assert call.headers == {}


def test_missing_path_parameters_are_all_named():
    with pytest.raises(FuncatronError, match="id=…, part=…"):
        invoke.build(PETS, PETS["operations"][2], [], None, [])


def test_a_body_is_json_unless_a_header_says_otherwise():
    post = PETS["operations"][1]
    assert invoke.build(PETS, post, [], b"{}", []).headers == {"Content-Type": "application/json"}
    assert invoke.build(PETS, post, [], b"x", ["content-type: text/plain"]).headers == {"content-type": "text/plain"}


def test_a_deployment_with_a_host_and_the_root_path_is_reached():
    root = {**PETS, "path": "/", "host": "api.example"}
    call = invoke.build(root, PETS["operations"][0], [], None, [])
    assert (call.target, call.headers) == ("/pets", {"Host": "api.example"})


def test_a_body_comes_from_a_file(tmp_path):
    (tmp_path / "body").write_bytes(b"\x00\xff")
    assert invoke.body_of(f"@{tmp_path}/body") == b"\x00\xff"
    assert invoke.body_of("text") == b"text"
    assert invoke.body_of(None) is None
    with pytest.raises(FuncatronError, match="cannot be read"):
        invoke.body_of(f"@{tmp_path}/none")
