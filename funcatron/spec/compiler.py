"""Shared tools of everything that is compiled from one document: resolve, convert, check, coerce."""

from __future__ import annotations

from typing import Any

from funcatron.spec.document import Document
from funcatron.spec.schema import Converter, Direction
from funcatron.spec.validator import BadSchema, Checker
from funcatron.spec.values import Coercer, Coercers

_ANYTHING = Checker({}, draft4=True)


class Compiler:
    """Compiles the schemas of a document; gathers problems instead of raising, so that all are reported at once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[str] = []
        directions: tuple[Direction, ...] = ("request", "response")
        self._converters = {direction: Converter(document, direction) for direction in directions}
        self._coercers = Coercers(document, lambda schema: self.checker(schema, "a parameter").valid)
        self._checkers: dict[tuple[str, str], Checker] = {}

    def checker(self, schema: Any, where: str, direction: Direction = "request") -> Checker:
        """Return the compiled check of a schema; a schema that is only a reference is compiled once a document."""
        ref = schema["$ref"] if isinstance(schema, dict) and isinstance(schema.get("$ref"), str) else None
        shared = (direction, ref) if ref is not None and len(schema) == 1 else None
        if shared is not None and shared in self._checkers:
            return self._checkers[shared]
        try:
            checker = Checker(self._converters[direction].convert(schema), draft4=not self.document.openapi31)
        except BadSchema as err:
            self.problems.append(f"{where}: the schema is wrong: {err}")
            return _ANYTHING
        except RecursionError:
            self.problems.append(f"{where}: the schema is nested too deeply")
            return _ANYTHING
        if shared is not None:
            self._checkers[shared] = checker
        return checker

    def coercer(self, schema: Any) -> Coercer:
        """Return what converts texts to the types that a schema declares."""
        return self._coercers.make(schema)

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}")
