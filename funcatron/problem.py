"""Problem details for HTTP (RFC 9457): the one shape of every error answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson

MEDIA_TYPE = "application/problem+json"


def problem(
    status: int,
    title: str | None = None,
    detail: str | None = None,
    *,
    request_id: str | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
    **extra: Any,
) -> bytes:
    """Return the JSON body of an `application/problem+json` answer.

    `errors` lists every fault of a request: `{"where": "query.limit", "what": "is not an integer"}`.
    `extra` members are added as they are (kebab-case keys by `**{"retry-after": 1}`).
    """
    body: dict[str, Any] = {"type": "about:blank", "title": title or phrase(status), "status": status}
    if detail is not None:
        body["detail"] = detail
    if request_id is not None:
        body["request-id"] = request_id
    if errors:
        body["errors"] = list(errors)
    body.update(extra)
    return orjson.dumps(body)


def phrase(status: int) -> str:
    """Return the standard reason phrase of a status, or a plain one for a status that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error" if status >= 400 else "Status"
