"""Reading the bodies of requests."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

LIMIT = 1024 * 1024
"""Largest JSON body, bytes. Bundles are streamed and have a limit of their own."""


async def read_json(request: Request) -> dict[str, Any]:
    """Return the body, a JSON object, whatever content type the client claims (wget claims a form).

    Raises HTTPException 400 or 413.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise HTTPException(413, f"The body is larger than {LIMIT:,} bytes.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise HTTPException(400, f"The body is not JSON: {err}.") from err
    if not isinstance(value, dict):
        raise HTTPException(400, "The body is not a JSON object.")
    return value


def field(body: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """Return a member of a JSON object. Raises HTTPException 400 when it is missing (no default) or of another kind."""
    value = body.get(name, default)
    if value is None and default is None:
        raise HTTPException(400, f"The body needs {name!r}.")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "a string", dict: "an object", bool: "true or false", int: "a whole number"}
        raise HTTPException(400, f"{name!r} must be {words[kind]}.")
    return value
