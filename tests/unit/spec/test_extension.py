"""The settings in `x-funcatron`."""

from __future__ import annotations

from typing import Any

import pytest

from funcatron.errors import BadSpec
from funcatron.spec.extension import Extension, Instances

from .conftest import MakeApi


def read(value: Any, *, root: bool = True) -> tuple[Extension, list[str]]:
    problems: list[str] = []
    return Extension().inner({"x-funcatron": value}, "here", problems, root=root), problems


def test_every_key_is_read() -> None:
    settings, problems = read(
        {
            "name": "pets-1.0",
            "timeout": 2.5,
            "concurrency": 4,
            "instances": {"min": 1, "max": 3},
            "strict-parameters": True,
            "validate-responses": 0.25,
            "retry": "always",
            "queue-limit": 500,
        }
    )
    assert not problems
    assert settings == Extension("pets-1.0", 2.5, 4, Instances(1, 3), True, 0.25, "always", 500)


@pytest.mark.parametrize(
    ("value", "expected"), [("off", "off"), (False, "off"), ("on", "on"), (True, "on"), ("strict", "strict"), (1, 1.0)]
)
def test_response_validation_understands_yaml_booleans(value: Any, expected: Any) -> None:
    assert read({"validate-responses": value})[0].validate_responses == expected


@pytest.mark.parametrize(
    "value",
    [
        {"timout": 1},
        {"timeout": 0},
        {"timeout": "1"},
        {"timeout": True},
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"instances": 3},
        {"queue-limit": 0},
        {"queue-limit": True},
        {"instances": {"min": 3, "max": 1}},
        {"instances": {"max": 0}},
        {"instances": {"most": 1}},
        {"strict-parameters": "yes"},
        {"validate-responses": 1.5},
        {"validate-responses": "sometimes"},
        {"retry": "maybe"},
        {"name": "a b"},
        {"name": "-a"},
        {"name": ""},
        {"name": "a" * 64},
        [],
        "x",
    ],
)
def test_a_wrong_setting_is_a_problem_with_its_place(value: Any) -> None:
    problems = read(value)[1]
    assert len(problems) == 1
    assert problems[0].startswith("here: x-funcatron")


@pytest.mark.parametrize("key", ["events", "next", "environments", "aliases"])
def test_what_is_to_come_is_refused_as_such(key: str) -> None:
    assert read({key: {}})[1] == [f"here: x-funcatron: {key} is not supported yet"]


def test_a_name_belongs_to_the_root() -> None:
    assert "unknown key 'name'" in read({"name": "a"}, root=False)[1][0]


def test_the_inner_level_wins(openapi: MakeApi) -> None:
    api = openapi(
        {
            "/a": {
                "x-funcatron": {"timeout": 2, "concurrency": 3},
                "get": {"x-funcatron": {"timeout": 1}},
                "put": {},
            },
            "/b": {"get": {}},
        },
        **{"x-funcatron": {"timeout": 9, "strict-parameters": True, "name": "n"}},
    )
    got = {(op.method, op.path): (op.timeout, op.concurrency, op.strict_parameters) for op in api.operations}
    assert got == {("GET", "/a"): (1, 3, True), ("PUT", "/a"): (2, 3, True), ("GET", "/b"): (9, None, True)}
    assert (api.name, api.timeout) == ("n", 9)


def test_problems_of_all_levels_come_at_once(openapi: MakeApi) -> None:
    with pytest.raises(BadSpec) as caught:
        openapi(
            {"/a": {"x-funcatron": {"b": 1}, "get": {"x-funcatron": {"c": 1}}}},
            **{"x-funcatron": {"a": 1}},
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["the document", "paths./a", "GET /a"]
