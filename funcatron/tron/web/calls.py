"""What calls of `/api/v2` have in common: who asks and for which revision, pages of lists, requests that are sent
twice."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from funcatron.errors import BadSettings, FuncatronError
from funcatron.stores.idempotency import Answer
from funcatron.tron.tron import Tron
from funcatron.tron.ways import Asked
from funcatron.tron.web.bodies import read_bytes
from funcatron.tron.web.edge import problem_response

log = logging.getLogger("funcatron.tron.web")

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

WHO = "x-funcatron-user"
"""The header that names who asks, as the history tells it."""

NOBODY = "api"
"""Who asks without saying who he is."""

LONGEST_WHO = 200

PAGE = 100
MOST = 1000
"""How many entries a page has unless asked otherwise, and at most."""

ETAG = re.compile(r'"(\d{1,18})"')


def call(path: str, handler: Handler, method: str = "GET", *, once: bool = False) -> Route:
    """Return the route of a call. once: it changes something, and heeds `Idempotency-Key`."""

    async def answered(request: Request) -> Response:
        try:
            return await (only_once(request, handler) if once else handler(request))
        except BadSettings as err:
            return refusal(request, 422, err.summary, [{"where": "body", "what": what} for what in err.problems])

    return Route(path, answered, methods=[method], name=handler.__name__)


def tron_of(request: Request) -> Tron:
    """Return the Tron that is asked."""
    tron: Tron = request.app.state.tron
    return tron


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def refusal(request: Request, status: int, detail: str, errors: list[dict[str, str]] | None = None) -> Response:
    """Return an error answer."""
    return problem_response(status, detail, request.scope["state"]["request_id"], errors)


# who asks, and for what


def who(request: Request) -> str:
    """Return who asks, as far as he says."""
    given = request.headers.get(WHO, "")
    return "".join(sign for sign in given if sign.isprintable())[:LONGEST_WHO].strip() or NOBODY


def asked(request: Request) -> Asked:
    """Return who asks for a change, and by `If-Match` or `If-None-Match` for which revisions it is."""
    only_new = request.headers.get("if-none-match", "").strip() == "*"
    if only_new:
        return Asked(who(request), frozenset({0}))
    revisions = if_match(request)
    return Asked(who(request), revisions, existing="if-match" in request.headers)


def if_match(request: Request) -> frozenset[int] | None:
    """Return the revisions that `If-Match` names (RFC 9110, section 13.1.1); None for any. Raises HTTPException 400."""
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    tags = [tag.strip() for tag in given.split(",")]
    if not all(re.fullmatch(r'(W/)?"[^"]*"', tag) for tag in tags):
        raise HTTPException(400, 'If-Match must be "*", or entity tags as the header ETag has them, in double quotes.')
    # a weak tag matches nothing, nor does one that is none of ours
    return frozenset(int(found[1]) for found in map(ETAG.fullmatch, tags) if found is not None)


def etag(revision: int) -> dict[str, str]:
    """Return the header that names a revision."""
    return {"etag": f'"{revision}"'}


# pages


def limit_of(request: Request, default: int = PAGE) -> int:
    """Return how many entries a page shall have. Raises HTTPException 400."""
    given = request.query_params.get("limit", str(default))
    if not given.isdecimal() or not 0 < int(given) <= MOST:
        raise HTTPException(400, f"limit must be a number between 1 and {MOST}.")
    return int(given)


def page(request: Request, name: str, shown: Sequence[Any], cursor: str | None) -> Response:
    """Return a part of a list; where there is more, `next` and the header `Link` (RFC 8288) say where."""
    if cursor is None:
        return answer({name: shown})
    query = {**request.query_params, "cursor": cursor}
    return answer(
        {name: shown, "next": cursor}, headers={"link": f'<{request.url.path}?{urlencode(query)}>; rel="next"'}
    )


def part(request: Request, keys: Sequence[str], default: int = MOST) -> tuple[slice, str | None]:
    """Return which of the entries with these keys are asked for, and the cursor of the part after them.

    A cursor is the key of the last entry before. Raises HTTPException 400 for one that there is not (any more).
    """
    limit, cursor = limit_of(request, default), request.query_params.get("cursor")
    if cursor is not None and cursor not in keys:
        raise HTTPException(400, "There is no such cursor (any more): begin at the first page.")
    first = keys.index(cursor) + 1 if cursor is not None else 0
    more = first + limit < len(keys)
    return slice(first, first + limit), keys[first + limit - 1] if more else None


async def good(work: Awaitable[T]) -> T:
    """Return what comes of a call of the Registry. Raises HTTPException 400 for a cursor or a key that is none."""
    try:
        return await work
    except BadSettings as err:
        raise HTTPException(400, str(err)) from err


# requests that are sent twice


async def only_once(request: Request, handler: Handler) -> Response:
    """Do what a request asks for, once for each `Idempotency-Key`; whoever sends it again gets the same answer.

    What was refused or has failed may be sent again with the same key. Raises Conflict while it is being worked on, and
    when the key was another request's.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return await handler(request)
    registry = tron_of(request).registry
    kept = await good(registry.begin_request(key, await fingerprint(request)))
    if kept is not None:
        return Response(kept.body, kept.status, {"idempotency-replayed": "true"}, media_type="application/json")
    try:
        response = await handler(request)
    except Exception:
        await _quietly(registry.forget_request(key), "forgotten")
        raise
    await _quietly(registry.end_request(key, Answer(response.status_code, bytes(response.body))), "kept")
    return response


async def fingerprint(request: Request) -> str:
    """Return what tells a request from others."""
    told = [request.method, request.url.path, request.url.query, request.headers.get("if-match", "")]
    digest = hashlib.sha256("\n".join(told).encode())
    digest.update(b"\0" + await read_bytes(request))
    return digest.hexdigest()


async def _quietly(work: Awaitable[None], what: str) -> None:
    """The request itself is done, or has failed for a reason of its own: that is what its sender is to know."""
    try:
        await work
    except FuncatronError as err:
        log.warning("what became of a request could not be %s under its idempotency key: %s", what, err)
