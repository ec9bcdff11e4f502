"""The whole document checked by openapi-spec-validator, every problem with its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema_rs import Draft4Validator, Draft202012Validator

from funcatron.spec.document import Document

MAX_PROBLEMS = 100
# Judged by the engine itself: it knows router controllers, and a path parameter too many does no harm.
_OWN = frozenset({"DuplicateOperationIDError", "UnresolvableParameterError"})


def check_structure(document: Document) -> list[str]:
    """Return where a document breaks the schema of its version."""
    # Imported here: it costs a quarter of a second and twenty megabytes, and whoever loads a document that has been
    # checked before needs neither.
    from openapi_spec_validator import schemas

    schema = schemas.schema_v2 if document.swagger2 else schemas.schema_v30
    make: Any = Draft4Validator
    if document.openapi31:
        schema, make = schemas.schema_v31, Draft202012Validator
    problems: list[str] = []
    for error in make(dict(schema)).iter_errors(document.root):
        path, what = _deepest(error)
        problem = f"{_place(path)}: {what}"
        if problem not in problems:
            problems.append(problem)
        if len(problems) >= MAX_PROBLEMS:
            break
    return problems


def check_meaning(document: Document) -> list[str]:
    """Return what else is wrong with a document whose structure is right: defaults, schemas, required properties."""
    problems: list[str] = []
    try:
        for error in _semantic(document):
            problem = f"{_place(list(error.absolute_path))}: {_cut(error.message)}"
            if problem not in problems:
                problems.append(problem)
            if len(problems) >= MAX_PROBLEMS:
                break
    except RecursionError:
        problems.append("the document is nested too deeply to be checked")
    except Exception as err:  # noqa: BLE001  # the libraries below raise what they like about data they cannot follow
        problems.append(f"the document cannot be checked: {_cut(str(err))}")
    return problems


def _semantic(document: Document) -> Iterator[Any]:
    from openapi_spec_validator import (  # as above
        OpenAPIV2SpecValidator,
        OpenAPIV30SpecValidator,
        OpenAPIV31SpecValidator,
    )

    base: Any = OpenAPIV2SpecValidator if document.swagger2 else OpenAPIV30SpecValidator
    if document.openapi31:
        base = OpenAPIV31SpecValidator
    default: Any = base.keyword_validators["default"]
    schemas: Any = base.keyword_validators["schema"]

    class PlacedDefault(default):  # type: ignore[misc]  # the class is chosen above
        """Defaults, with the place of the schema in the error, and null where `x-nullable` allows it."""

        def __call__(self, schema: Any, value: Any) -> Iterator[Any]:
            if value is None and "x-nullable" in schema:
                return
            for error in super().__call__(schema, value):
                error.path.extendleft(reversed([*schema.parts, "default"]))
                yield error

    class PlacedSchema(schemas):  # type: ignore[misc]  # the class is chosen above
        """Schemas, with their place in the error."""

        def _validate_schema_meta(self, schema: Any, value: Any) -> Any:
            error = super()._validate_schema_meta(schema, value)
            if error is not None:
                error.path.extendleft(reversed(schema.parts))
            return error

    class Validator(base):  # type: ignore[misc]  # the class is chosen above
        keyword_validators = {  # noqa: RUF012  # read only
            **base.keyword_validators,
            "default": PlacedDefault,
            "schema": PlacedSchema,
        }

    validator = Validator(_without_files(document.root) if document.swagger2 else document.root)
    # Not its iter_errors(), which keeps every document in a cache for good.
    for error in validator.root_validator(validator.schema_path):
        if type(error).__name__ not in _OWN:
            yield error


def _without_files(node: Any) -> Any:
    """Return a copy without `type: file` in schemas, which 2.0 has for responses and the validator does not know."""
    if isinstance(node, list):
        return [_without_files(item) for item in node]
    if not isinstance(node, dict):
        return node
    is_file = node.get("type") == "file" and "in" not in node
    return {key: _without_files(value) for key, value in node.items() if not (is_file and key == "type")}


def _deepest(error: Any) -> tuple[list[Any], str]:
    """Return the place and text of the fault that says most: of alternatives, the one that got furthest."""
    path, kind = list(error.instance_path), error.kind
    if kind.name in ("anyOf", "oneOf"):
        # A parameter in the query is none of the other kinds, whatever else is wrong with it.
        branches = [branch for branch in kind.context if not any(_rules_out(e, path) for e in branch)]
        inner = [e for branch in branches or kind.context for e in branch if not _about_reference(e)]
        found = [_deepest(e) for e in inner]
        if found:
            return max(found, key=lambda fault: len(fault[0]))
    return path, _cut(str(error.message))


def _rules_out(error: Any, path: list[Any]) -> bool:
    return error.kind.name == "enum" and list(error.instance_path) == [*path, "in"]


def _about_reference(error: Any) -> bool:
    return bool(error.kind.name == "required" and error.kind.property == "$ref")


def _place(path: list[Any]) -> str:
    return ".".join(str(step) for step in path) or "the document"


def _cut(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first if len(first) <= 300 else f"{first[:300]}…"
