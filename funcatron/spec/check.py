"""The whole document checked by openapi-spec-validator, every problem with its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from funcatron.spec.document import Document

MAX_PROBLEMS = 100


def check(document: Document) -> list[str]:
    """Return what is wrong with a document by the rules of its version."""
    # Imported here: it costs a quarter of a second and twenty megabytes, and whoever loads a document that has been
    # checked before needs neither.
    from openapi_spec_validator import (
        OpenAPIV2SpecValidator,
        OpenAPIV30SpecValidator,
        OpenAPIV31SpecValidator,
    )

    if document.swagger2:
        validator: Any = OpenAPIV2SpecValidator
    else:
        validator = OpenAPIV31SpecValidator if document.openapi31 else OpenAPIV30SpecValidator
    problems: list[str] = []
    try:
        for error in validator(document.root).iter_errors():
            problems.extend(text for text in _texts(error) if text not in problems)
            if len(problems) >= MAX_PROBLEMS:
                break
    except RecursionError:
        problems.append("the document is nested too deeply to be checked")
    return problems


def _texts(error: Any) -> Iterator[str]:
    if type(error).__name__ == "DuplicateOperationIDError":
        return  # judged by the engine, which knows the router controllers
    deepest = error
    while deepest.context:
        # The alternative that got furthest says most: for a schema, "$ref is missing" helps nobody.
        deepest = max(deepest.context, key=lambda e: (len(e.absolute_path), e.validator not in ("required", "type")))
    where = ".".join(str(step) for step in deepest.absolute_path) or "the document"
    message = deepest.message if len(deepest.message) <= 300 else f"{deepest.message[:300]}…"
    yield f"{where}: {message}"
