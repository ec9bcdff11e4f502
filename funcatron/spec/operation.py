"""One method + path of the spec, compiled: what a request must look like, and what an answer may look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from funcatron.spec.answers import Answers
from funcatron.spec.body import Body
from funcatron.spec.extension import Extension, Instances, Retry, Validation
from funcatron.spec.faults import BadRequest, Fault
from funcatron.spec.parameters import Binder, Parameter, parse_cookies, parse_query
from funcatron.spec.request import Arguments, Request
from funcatron.spec.security import Security

_NO_FIELDS: dict[str, list[str]] = {}
_NO_FAULTS: list[Fault] = []


class Operation:
    """Immutable once made. `bind` and `credentials` are the hot path; both only read."""

    def __init__(
        self,
        *,
        id: str,  # noqa: A002  # the word of OpenAPI and of the Runner
        method: str,
        path: str,
        extension: Extension,
        parameters: Sequence[Parameter],
        body: Body,
        answers: Answers,
        security: Security | None,
        produces: tuple[str, ...],
        consumes: tuple[str, ...],
        aliases: Mapping[str, str],
    ) -> None:
        self.id = id
        self.method = method
        self.path = path
        self.produces = produces
        self.consumes = consumes
        self.timeout: float | None = extension.timeout
        self.concurrency: int | None = extension.concurrency
        self.instances: Instances | None = extension.instances
        self.queue_limit: int | None = extension.queue_limit
        self.retry: Retry = extension.retry
        self.strict_parameters: bool = extension.strict_parameters
        self.validate_responses: Validation | float = extension.validate_responses
        self.checkers: tuple[str, ...] = security.checkers if security is not None else ()
        self.aliases: Mapping[str, str] = aliases
        """Sanitized argument name → its pythonic form, where the two differ: a Func may name either."""
        used = [parameter for parameter in parameters if not parameter.ignored]
        placed = frozenset(p.argument for p in used if p.place in ("path", "query"))
        self.explicit: frozenset[str] = frozenset(p.argument for p in used if p.place in ("header", "cookie")) - placed
        """Arguments from headers and cookies: for Funcs that name them, not for a Func's `**kwargs`."""
        self.arguments: frozenset[str] = frozenset(p.argument for p in used) | body.arguments
        """Every argument that a request can supply; a Func that requires another one can never be called."""
        self.body_name: str = body.name
        self._body = body
        self._answers = answers
        self._security = security
        self._query = _binders(used, "query")
        self._path = _binders(used, "path")
        self._header = _binders(used, "header")
        self._cookie = _binders(used, "cookie")
        self._header_names = tuple(p.name.lower() for p in used if p.place == "header")
        self._query_names: frozenset[str] = security.query_names if security is not None else frozenset()
        self._query_prefixes: tuple[str, ...] = ()
        for parameter in used:
            if parameter.place == "query":
                names, prefixes = parameter.claims()
                self._query_names |= names
                self._query_prefixes += prefixes

    def __repr__(self) -> str:
        return f"<Operation {self.method} {self.path} {self.id}>"

    def credentials(self, request: Request) -> list[list[dict[str, Any]]] | None:
        """Return the security plan for the host: alternatives (or) of requirements (and); None if none is needed.

        A requirement is `{"scheme", "kind": basic|apiKey|oauth2|bearer, "check", "args": […] or None when the
        credential is absent, "scopes", "scope-check", "challenge"}`, and `"invalid": why` when what came cannot be
        read (a 401 with that detail). An empty alternative allows anonymous callers.
        """
        return None if self._security is None else self._security.plan(request)

    def bind(self, request: Request, path_params: Mapping[str, str]) -> Arguments:
        """Return the Func's arguments; raises BadRequest with all faults of the request."""
        arguments = Arguments()
        params = arguments.params
        faults: list[Fault] = []
        query = parse_query(request.query) if request.query else _NO_FIELDS
        if self.strict_parameters and query:
            self._check_query_names(query, faults)
        # What several places call by one name: the query counts, then the path, then header and cookie.
        late = self._bind_headers(request, params) if self._header or self._cookie else _NO_FAULTS
        if self._path:
            segments = {name: [value] for name, value in path_params.items()}
            for bind in self._path:
                bind(segments, params, faults)
        for bind in self._query:
            bind(query, params, faults)
        faults += late
        accepted = self._body.read(request, arguments, faults)
        if faults:
            raise BadRequest.of(faults, media_type_only=not accepted and len(faults) == 1)
        return arguments

    def check_answer(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> list[dict[str, str]]:
        """Return the faults of a Func's answer, `{"where", "what"}` each; empty if it is as declared."""
        return self._answers.check(status, headers, body)

    def _check_query_names(self, query: Mapping[str, Any], faults: list[Fault]) -> None:
        unknown = [n for n in query if n not in self._query_names and not n.startswith(self._query_prefixes or ("\0",))]
        if unknown:
            detail = f"Extra query parameter(s) {','.join(unknown)} not in spec"
            faults.extend(Fault(f"query.{name}", "is not in the spec", detail) for name in unknown)

    def _bind_headers(self, request: Request, params: dict[str, Any]) -> list[Fault]:
        faults: list[Fault] = []
        fields: dict[str, list[str]] = {}
        for name in self._header_names:
            value = request.headers.get(name)
            if value is not None:
                fields[name] = [value] if isinstance(value, str) else value
        for bind in self._header:
            bind(fields, params, faults)
        if self._cookie:
            cookies = parse_cookies(request.cookies())
            for bind in self._cookie:
                bind(cookies, params, faults)
        return faults


def _binders(parameters: Sequence[Parameter], place: str) -> tuple[Binder, ...]:
    return tuple(parameter.binder() for parameter in parameters if parameter.place == place)
