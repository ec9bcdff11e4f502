"""Argument names."""

from __future__ import annotations

import pytest

from funcatron.spec.names import pythonic, sanitized


@pytest.mark.parametrize(
    ("name", "expected"),
    [("$query", "query"), ("letters[eq]", "letters_eq"), ("ids[]", "ids"), ("a-b", "ab"), ("1a", "a"), ("x_1", "x_1")],
)
def test_a_name_loses_what_an_identifier_cannot_have(name: str, expected: str) -> None:
    assert sanitized(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("orderBy[eq]", "order_by_eq"),
        ("SomeId", "some_id"),
        ("id", "id_"),
        ("class", "class_"),
        ("HTTPStatus", "http_status"),
        ("X-Request-Id", "x_request_id"),
        ("name", "name"),
    ],
)
def test_a_pythonic_name_is_snake_case_and_shadows_nothing(name: str, expected: str) -> None:
    assert pythonic(name) == expected
