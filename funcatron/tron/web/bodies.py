"""Reading the bodies of requests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

LIMIT = 1024 * 1024
"""Largest JSON body, bytes. Bundles are streamed and have a limit of their own."""

WORDS: dict[type, str] = {
    str: "a string",
    dict: "an object",
    list: "a list",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


async def read_bytes(request: Request) -> bytes:
    """Return the body; it can be asked for again. Raises HTTPException 413."""
    kept: bytes | None = getattr(request.state, "body", None)
    if kept is not None:
        return kept
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LIMIT:
            raise HTTPException(413, f"The body is larger than {LIMIT:,} bytes.")
    request.state.body = bytes(body)
    return bytes(body)


async def read_json(request: Request) -> dict[str, Any]:
    """Return the body, a JSON object, whatever content type the client claims (wget claims a form).

    Raises HTTPException 400 or 413.
    """
    try:
        value = orjson.loads(await read_bytes(request))
    except orjson.JSONDecodeError as err:
        raise HTTPException(400, f"The body is not JSON: {err}.") from err
    if not isinstance(value, dict):
        raise HTTPException(400, "The body is not a JSON object.")
    return value


async def read_members(request: Request, known: Collection[str], *, needed: bool = True) -> dict[str, Any]:
    """Return the body, a JSON object without other members than those. Unless it is needed, an empty one will do.

    Raises HTTPException 400 or 413.
    """
    if not needed and not (await read_bytes(request)).strip():
        return {}
    body = await read_json(request)
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise HTTPException(400, f"The body has unknown members: {', '.join(unknown)}.")
    return body


def field(body: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """Return a member of a JSON object. Raises HTTPException 400 when it is missing (no default) or of another kind."""
    value = body.get(name, default)
    if value is None and default is None:
        raise HTTPException(400, f"The body needs {name!r}.")
    return checked(value, name, kind)


def optional(body: dict[str, Any], name: str, kind: type) -> Any:
    """Return a member of a JSON object, None where it is missing or null. Raises HTTPException 400."""
    value = body.get(name)
    return None if value is None else checked(value, name, kind)


def checked(value: Any, name: str, kind: type) -> Any:
    """Return a value that is of a kind; whole numbers are numbers as well. Raises HTTPException 400."""
    kinds = (int, float) if kind is float else kind
    if not isinstance(value, kinds) or (kind in (int, float) and isinstance(value, bool)):
        raise HTTPException(400, f"{name!r} must be {WORDS[kind]}.")
    return value
