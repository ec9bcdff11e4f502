"""Spec files as bytes: what is read, and what is refused with its place."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from funcatron.spec.reader import MAX_BYTES, MAX_DEPTH, Unreadable, read


def yaml(text: str) -> Any:
    return read("f.yaml", text.encode())


def test_yaml_becomes_plain_json_data() -> None:
    assert yaml("a: [1, 2.5, true, null, ~, x, '1', 2020-01-02, 2020-01-02T03:04:05Z]\nb: {}") == {
        "a": [1, 2.5, True, None, None, "x", "1", "2020-01-02", "2020-01-02T03:04:05Z"],
        "b": {},
    }


def test_keys_are_texts_as_they_were_written() -> None:
    assert yaml("200: a\ntrue: b\non: c\n1.0: d") == {"200": "a", "true": "b", "on": "c", "1.0": "d"}


def test_explicit_plain_tags_are_understood() -> None:
    assert yaml("a: !!str 1\nb: !!int '2'") == {"a": "1", "b": 2}


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [x]", "!custom x", "!!binary aGk=", "!!set {a}"])
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(Unreadable, match=r"f\.yaml:1:4: the tag .* is not allowed"):
        yaml(f"a: {tag}")


def test_a_duplicate_key_is_an_error_with_its_line() -> None:
    with pytest.raises(Unreadable, match=r"f\.yaml:3:1: duplicate key 'a'"):
        yaml("a: 1\nb: 2\na: 3\n")


def test_a_key_that_says_the_same_twice_is_accepted() -> None:
    assert yaml("a: {x: 1, description: one}\na: {x: 1, description: two}") == {"a": {"x": 1, "description": "two"}}


def test_a_duplicate_key_in_json_is_an_error() -> None:
    with pytest.raises(Unreadable, match="duplicate key 'a'"):
        read("f.json", b'{"a": 1, "a": 2}')


def test_anchors_and_merge_keys_work() -> None:
    assert yaml("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}\nc: {<<: [*x, {m: 4}]}\nd: *x") == {
        "a": {"k": 1, "l": 2},
        "b": {"l": 3, "k": 1},
        "c": {"k": 1, "l": 2, "m": 4},
        "d": {"k": 1, "l": 2},
    }


def test_a_billion_laughs_are_refused_with_flat_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    tracemalloc.start()
    with pytest.raises(Unreadable, match="more than 400000 nodes"):
        yaml("\n".join(lines))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_an_alias_that_contains_itself_is_refused() -> None:
    with pytest.raises(Unreadable, match="contains itself"):
        yaml("a: &x [*x]")


@pytest.mark.parametrize("name", ["f.yaml", "f.json"])
def test_deep_nesting_is_refused(name: str) -> None:
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(Unreadable):
            read(name, b"[" * depth + b"]" * depth)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("f.yaml", b"a: [1", "f.yaml:2:1"),
        ("f.yaml", b"a: .nan", "is not JSON"),
        ("f.yaml", b"a: -.inf", "is not JSON"),
        ("f.yaml", b"\xff\xd8\xff\xe0JFIF", "is not UTF-8 text"),
        ("f.yaml", b"a\x00b: 1", "f.yaml"),
        ("f.yaml", b"", "no documents"),
        ("f.yaml", b"a: 1\n---\nb: 2", "2 documents"),
        ("f.yaml", b"? [a]\n: 1", "a key must be text"),
        ("f.yaml", b"<<: 1", "<< needs an object"),
        ("f.yaml", b"a: *b", "unknown or contains itself"),
        ("f.json", b"{", "is not JSON"),
        ("f.json", b"[NaN]", "NaN is not JSON"),
        ("f.json", b"", "is not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(name: str, data: bytes, what: str) -> None:
    with pytest.raises(Unreadable, match=what):
        read(name, data)


def test_a_large_file_is_refused() -> None:
    with pytest.raises(Unreadable, match="larger than 4 MB"):
        read("f.yaml", b" " * (MAX_BYTES + 1))


def test_a_number_of_a_million_digits_is_refused() -> None:
    with pytest.raises(Unreadable):
        yaml("a: " + "9" * 1_000_000)
