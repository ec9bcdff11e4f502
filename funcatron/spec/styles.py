"""How arrays and objects are written into text: `collectionFormat` of 2.0, `style` and `explode` of 3.x.

A splitter takes every text that came under a name and returns one raw value: a text, a list or an object of texts.
Like Connexion, a splitter works on decoded text, and an exploded query array is split at its delimiter as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Splitter = Callable[[list[str]], Any]
FORMATS = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|", "multi": ","}
DELIMITERS = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
DEFAULT_STYLE = {"path": "simple", "header": "simple", "query": "form", "cookie": "form"}


def last(values: list[str]) -> Any:
    """A scalar: the last one counts."""
    return values[-1]


def joined(values: list[str]) -> Any:
    """A scalar of a 3.x form: repeated values become one text, as Connexion joins them."""
    return values[0] if len(values) == 1 else ",".join(values)


def delimited(delimiter: str, *, explode: bool) -> Splitter:
    """An array: of the last value, or of all values where exploded."""
    if explode:
        return lambda values: [part for value in values for part in value.split(delimiter)]
    return lambda values: values[-1].split(delimiter)


def trimmed(values: list[str]) -> Any:
    """An array in a header: commas with optional space around (RFC 9110 section 5.6.1)."""
    return [part.strip() for value in values for part in value.split(",")]


def collection(parameter: Mapping[str, Any]) -> Splitter:
    """Return the splitter of a 2.0 array parameter, whose items may be arrays with a format of their own."""
    form = parameter.get("collectionFormat", "csv")
    outer = delimited(FORMATS.get(form, ","), explode=form == "multi")
    items = parameter.get("items") or {}
    if items.get("type") != "array":
        return outer
    inner = collection(items)
    return lambda values: [inner([part]) for part in outer(values)]


def label(values: list[str], *, explode: bool) -> Any:
    """`.a.b` or `.a,b`."""
    value = values[-1].removeprefix(".")
    return value.split("." if explode or "," not in value else ",")


def matrix(name: str, values: list[str], *, explode: bool) -> Any:
    """`;n=a,b` or `;n=a;n=b`."""
    prefix = f"{name}="
    parts = [part.removeprefix(prefix) for part in values[-1].removeprefix(";").split(";")]
    return parts if explode else parts[-1].split(",")


def pairs(parts: list[str], *, explode: bool) -> Any:
    """An object: `R,100,G,200`, or exploded `R=100,G=200`; returns None where it is neither."""
    if explode:
        split = [part.partition("=") for part in parts]
        return {key: value for key, _, value in split} if all(equals for _, equals, _ in split) else None
    if len(parts) % 2:
        return None
    return dict(zip(parts[::2], parts[1::2], strict=True))


def path_splitter(name: str, style: str, kind: str, *, explode: bool) -> Splitter:
    """Return the splitter of a 3.x path parameter."""
    if style == "label":
        if kind == "array":
            return lambda values: label(values, explode=explode)
        if kind == "object":
            return lambda values: _whole(values, pairs(label(values, explode=explode), explode=explode))
        return lambda values: values[-1].removeprefix(".")
    if style == "matrix":
        return _matrix_splitter(name, kind, explode)
    if kind == "array":
        return delimited(",", explode=False)
    if kind == "object":
        return lambda values: _whole(values, pairs(values[-1].split(","), explode=explode))
    return last


def _matrix_splitter(name: str, kind: str, explode: bool) -> Splitter:
    if kind == "array":
        return lambda values: matrix(name, values, explode=explode)
    if kind == "object" and explode:
        return lambda values: _whole(values, pairs(values[-1].removeprefix(";").split(";"), explode=True))
    if kind == "object":
        return lambda values: _whole(values, pairs(matrix(name, values, explode=False), explode=False))
    return lambda values: values[-1].removeprefix(f";{name}=")


def header_splitter(kind: str, *, explode: bool) -> Splitter:
    """Return the splitter of a header parameter."""
    if kind == "array":
        return trimmed
    if kind == "object":
        return lambda values: _whole(values, pairs(trimmed(values), explode=explode))
    return joined


def query_splitter(style: str, kind: str, *, explode: bool) -> Splitter:
    """Return the splitter of a query, cookie or form parameter that comes under its own name."""
    delimiter = DELIMITERS.get(style, ",")
    if kind == "array":
        return delimited(delimiter, explode=explode)
    if kind == "object":
        return lambda values: _whole(values, pairs(values[-1].split(delimiter), explode=False))
    return last


def _whole(values: list[str], split: Any) -> Any:
    """What does not split stays text, and the validator says that it is no object."""
    return values[-1] if split is None else split


def deep_object(name: str, fields: Mapping[str, list[str]]) -> Any:
    """Gather `name[a][b]=c` into `{a: {b: c}}`; None if there is none. `name[a][]=…` and repeated names are lists."""
    if name in fields:
        return fields[name][-1]  # not an object, and the validator says so
    found: dict[str, Any] | None = None
    prefix = f"{name}["
    for key, values in fields.items():
        if not key.startswith(prefix) or not key.endswith("]"):
            continue
        steps = key[len(prefix) : -1].split("][")
        if any("[" in step or "]" in step for step in steps) or len(steps) > 20:
            continue
        found = {} if found is None else found
        _place(found, steps, values)
    return found


def _place(node: dict[str, Any], steps: list[str], values: list[str]) -> None:
    as_list = len(steps) > 1 and steps[-1] == ""
    if as_list:
        steps = steps[:-1]
    for step in steps[:-1]:
        inner = node.setdefault(step, {})
        if not isinstance(inner, dict):
            inner = node[step] = {}
        node = inner
    node[steps[-1]] = list(values) if as_list or len(values) > 1 else values[0]
