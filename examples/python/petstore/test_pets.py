"""Run `python -m pytest` in this folder, with funcatron and the libraries of requirements.txt installed."""

import asyncio

import pytest
from pets import catalogue

from funcatron import Context, Problem


def test_a_pet_is_welcome():
    answer = asyncio.run(catalogue.post({"name": "Räx the Great", "age": 3}, Context()))
    assert answer.status == 201
    assert answer.headers == {"Location": "/pets/1.0/pets/dog"}
    assert answer.body == {"name": "Räx the Great", "age": 3, "kind": "dog", "slug": "rax-the-great", "human_age": 21.0}


def test_kinds_are_sorted_and_limited():
    assert [each.kind for each in catalogue.search(2)] == ["cat", "dog"]


def test_an_unknown_kind_is_a_404():
    with pytest.raises(Problem) as caught:
        catalogue.get("dragon")
    assert caught.value.status == 404
