"""What a caller gets to see: pure functions from what happened to a status, headers and a body."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from funcatron.problem import MEDIA_TYPE, problem

if TYPE_CHECKING:
    from funcatron.spec import Operation

LARGEST_ANSWER = 128 * 1024 * 1024  # of an encoded answer: what brokers take (RabbitMQ's max_message_size), bytes
LARGEST_BODY = LARGEST_ANSWER // 4 * 3 - 64 * 1024  # in base64, with headers around it


class Outcome(NamedTuple):
    """An answer before it is encoded."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


# what clients of Connexion know, to the letter
INTERNAL = (
    "The server encountered an internal error and was unable to complete your request. "
    "Either the server is overloaded or there is an error in the application."
)


def failure(
    status: int,
    request_id: str,
    detail: str | None = None,
    *,
    title: str | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    **extra: Any,
) -> Outcome:
    """Return a problem answer (RFC 9457)."""
    if status == 500 and detail is None:
        detail = INTERNAL
    body = problem(status, title, detail, request_id=request_id, errors=errors, **extra)
    return Outcome(status, [("Content-Type", MEDIA_TYPE), *headers], body)


def not_allowed(allow: tuple[str, ...], request_id: str) -> Outcome:
    """Return the answer to a method that the path does not take."""
    methods = ", ".join(allow)
    return failure(405, request_id, f"This path takes {methods}.", headers=(("Allow", methods),))


def options(allow: tuple[str, ...]) -> Outcome:
    """Return the automatic answer to OPTIONS."""
    return Outcome(204, [("Allow", ", ".join(allow))], b"")


def redirect(location: str, query: str, request_id: str) -> Outcome:
    """Return the answer to a path that exists with, or without, a trailing slash."""
    target = f"{location}?{query}" if query else location
    return failure(307, request_id, f"It is at {target}.", headers=(("Location", target),))


def without_body(outcome: Outcome) -> Outcome:
    """Return the answer to HEAD: the same headers, the length that the body would have (RFC 9110, 9.3.2), no body."""
    status, headers, body = outcome
    if not any(name.lower() == "content-length" for name, _ in headers):
        headers = [*headers, ("Content-Length", str(len(body)))]
    return Outcome(status, headers, b"")


def proper(outcome: Outcome) -> Outcome:
    """Drop the body of a status that has none (RFC 9110, 15.3.5 and 15.4.5)."""
    if outcome.body and outcome.status in (204, 304):
        return Outcome(outcome.status, outcome.headers, b"")
    return outcome


def faults(operation: Operation, outcome: Outcome, wanted: str | float) -> list[dict[str, str]]:
    """Check an answer against the spec, if that is wanted (a fraction: of that share); returns what is wrong."""
    if isinstance(wanted, float) and random.random() >= wanted:
        return []
    return operation.check_answer(outcome.status, outcome.headers, outcome.body)
