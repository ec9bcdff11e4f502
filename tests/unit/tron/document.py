"""Holds answers of the admin API to what its own document says of them."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

import httpx
import yaml
from jsonschema import Draft202012Validator


@cache
def document() -> dict[str, Any]:
    """Return the API's document."""
    read: dict[str, Any] = yaml.safe_load(files("funcatron.tron").joinpath("openapi.yaml").read_bytes())
    return read


async def check(response: httpx.Response) -> None:
    """Fail unless the document knows the call, and the answer is as it says. For httpx's event hooks."""
    await response.aread()
    path = response.request.url.path
    if not path.startswith("/api/v"):
        return
    item = _item(path)
    operation = item.get(response.request.method.lower())
    assert operation is not None, f"the document does not know {response.request.method} {path}"
    answers = operation["responses"]
    answer = _resolved(answers.get(str(response.status_code)) or answers.get("default") or {})
    assert answer, f"the document knows no {response.status_code} of {response.request.method} {path}"
    if "content" not in answer:
        assert response.content == b""
        return
    kind = response.headers["content-type"].split(";")[0]
    assert kind in answer["content"], f"{kind} is not in {list(answer['content'])}"
    if kind.endswith("json"):
        schema = {**answer["content"][kind]["schema"], "components": document()["components"]}
        Draft202012Validator(schema).validate(response.json())


def _item(path: str) -> dict[str, Any]:
    exact = document()["paths"].get(path)
    if exact is not None:
        return dict(exact)
    for template, item in document()["paths"].items():
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path):
            return dict(item)
    raise AssertionError(f"the document does not know {path}")


def _resolved(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = document()
    for key in value["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return dict(found)
