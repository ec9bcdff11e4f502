"""Funcs are plain functions: their tests need nothing of Funcatron. Run `python -m pytest` in this folder."""

from hello import greet


def test_greets_as_often_as_wanted():
    assert greet("Ada", 2) == {"greeting": "Hello, Ada! Hello, Ada!", "times": 2}
