"""What every request of the admin API passes: request id, guard, access log, and errors as problem details."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders, State
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from funcatron import problem
from funcatron.errors import (
    BadBundle,
    BrokerError,
    Conflict,
    Faults,
    FuncatronError,
    NotFound,
    NotLeader,
    SettingsError,
    Stale,
    StoreError,
)
from funcatron.stores.blobs import Full, TooLarge
from funcatron.tron.web.guard import Guard

log = logging.getLogger("funcatron.tron.web")
access = logging.getLogger("funcatron.tron.access")

SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

PROBES = frozenset({"/health", "/ready"})
"""Asked too often to fill the log with."""

STATUS: tuple[tuple[type[FuncatronError], int], ...] = (
    (NotFound, 404),
    (Stale, 412),
    (Conflict, 409),
    (TooLarge, 413),
    (Faults, 422),
    (BadBundle, 422),
    (SettingsError, 400),
    (Full, 507),
    (StoreError, 503),
    (NotLeader, 503),
    (BrokerError, 503),
)
"""The first that fits is the status of an error."""

CONTENT_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


class Edge:
    """The outermost layer. on_close: lets go of what the layers below hold."""

    def __init__(self, app: ASGIApp, guard: Guard, on_close: Callable[[], Awaitable[None]] | None = None) -> None:
        self.app = app
        self.guard = guard
        self.state = State()
        self._on_close = on_close

    async def close(self) -> None:
        """Let go of everything. Idempotent."""
        if self._on_close is not None:
            await self._on_close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if SANE.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        scope["app"] = self  # where handlers find `state`; it also makes the router raise its 404 and 405
        began = time.perf_counter()
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                out["x-content-type-options"] = "nosniff"
                out["content-security-policy"] = CONTENT_POLICY
                out["referrer-policy"] = "no-referrer"
                out.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._serve(scope, receive, respond, headers, request_id)
        except asyncio.CancelledError:
            raise
        except Exception as err:
            if status:
                raise  # too late for another answer: the connection is cut
            await error_response(err, request_id)(scope, receive, respond)
        finally:
            access.log(
                logging.DEBUG if scope["path"] in PROBES else logging.INFO,
                "%s %s %s",
                scope["method"],
                scope["path"],
                status,
                extra={"request-id": request_id, "status": status, "seconds": round(time.perf_counter() - began, 4)},
            )

    async def _serve(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> None:
        refusal = self.guard.refuse(scope["method"], scope["path"], headers)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        response = problem_response(refusal.status, refusal.detail, request_id)
        if refusal.status == 401:
            response.headers["www-authenticate"] = 'Bearer realm="funcatron"'
        await response(scope, receive, send)


def problem_response(
    status: int, detail: str | None, request_id: str, errors: list[dict[str, str]] | None = None
) -> Response:
    """Return an error answer."""
    body = problem.problem(status, detail=detail, request_id=request_id, errors=errors)
    return Response(body, status, media_type=problem.MEDIA_TYPE)


def error_response(err: Exception, request_id: str) -> Response:
    """Return the answer for an error, whatever it is."""
    if isinstance(err, HTTPException):
        response = problem_response(err.status_code, err.detail, request_id)
        response.headers.update(err.headers or {})
        return response
    status = next((status for kind, status in STATUS if isinstance(err, kind)), 500)
    if status == 500:
        log.error("a request failed", exc_info=err, extra={"request-id": request_id})
        return problem_response(500, "The Tron failed; its log has more under this request id.", request_id)
    errors = [{"where": "bundle", "what": what} for what in err.problems] if isinstance(err, Faults) else None
    detail = err.summary if isinstance(err, Faults) else str(err)
    response = problem_response(status, detail, request_id, errors)
    if status == 503:
        response.headers["retry-after"] = "2"
    return response
