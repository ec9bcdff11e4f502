"""Makes calls of the admin API: who asks, which errors there are, and what is tried again."""

from __future__ import annotations

import getpass
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx

from funcatron import __version__
from funcatron.errors import Conflict, FuncatronError, NotFound

TIMEOUT = httpx.Timeout(30.0, connect=5.0)

AGAIN = 0.2
"""Pause before a Tron that does not answer is asked again, s."""

AWAY = 15.0
"""So long a Tron may not answer while something is waited for: another one takes over in less, s."""

PAUSES = (0.5, 1.0, 2.0, 2.0)
"""Before a call that was answered 503, or whose answer was lost, is made again, s."""

Json = dict[str, Any]


class TronAway(FuncatronError):
    """No Tron answers. `passes`: one that did broke off in the middle, so that asking again may help."""

    def __init__(self, message: str, *, passes: bool = False) -> None:
        super().__init__(message)
        self.passes = passes


class ApiError(FuncatronError):
    """The Tron refused a call. `status`: of HTTP; `errors`: each fault with `where` and `what`. `passes`: it said that
    asking again may help."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: list[dict[str, str]],
        request_id: str | None,
        *,
        passes: bool = False,
    ) -> None:
        faults = "".join(f"\n- {one.get('what', '')}" for one in errors)
        super().__init__(detail + faults)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.request_id = request_id
        self.passes = passes


class Caller:
    """Calls a Tron. Raises TronAway, NotFound, Conflict, or ApiError for everything else that is refused."""

    def __init__(self, url: str, token: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"user-agent": f"funcatron/{__version__}", "x-funcatron-user": user()}
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        self.url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, transport=transport, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _err: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()

    def _json(self, method: str, path: str, **options: Any) -> Json:
        response = self._call(method, path, **options)
        try:
            found = response.json()
        except ValueError as err:
            raise ApiError(response.status_code, f"{self.url} is no Tron: it answers no JSON", [], None) from err
        if not isinstance(found, dict):
            raise ApiError(
                response.status_code, f"{self.url} answers in a way that this client does not know", [], None
            )
        return found

    def _all(self, path: str, name: str) -> list[Json]:
        """Return all of a list, page by page."""
        found: list[Json] = []
        cursor: str | None = None
        while True:
            page = self._json("GET", path, params=page_of(1000, cursor))
            found += page[name]
            cursor = page.get("next")
            if cursor is None:
                return found

    def _change(self, method: str, path: str, **options: Any) -> Json:
        """Make a call that changes something: once, however often it is sent."""
        headers = {"idempotency-key": str(uuid.uuid4()), **options.pop("headers", {})}
        return self._json(method, path, headers=headers, **options)

    def _patiently(self, ask: Callable[[], Json]) -> Json:
        """Ask again where a Tron does not answer for a while."""
        until = time.monotonic() + AWAY
        while True:
            try:
                return ask()
            except TronAway:
                if time.monotonic() >= until:
                    raise
            time.sleep(AGAIN)

    def _call(self, method: str, path: str, *, again: bool = True, **options: Any) -> httpx.Response:
        """Make a call. again: it may be made again where nobody led, or its answer was lost."""
        safe = method == "GET" or "idempotency-key" in options.get("headers", {})
        for pause in PAUSES if again and safe else ():
            try:
                return self._once(method, path, options)
            except (TronAway, ApiError) as err:
                if not err.passes:
                    raise
            time.sleep(pause)
        return self._once(method, path, options)

    def _once(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError as err:
            raise TronAway(f"no Tron answers at {self.url}: start the stack with `make up`, or set --tron-url") from err
        except httpx.HTTPError as err:
            lost = not isinstance(err, httpx.TimeoutException)
            raise TronAway(f"the Tron at {self.url} did not answer: {err or type(err).__name__}", passes=lost) from err
        if response.is_success:
            return response
        raise _error(response)


def user() -> str:
    """Return who uses this program, as the history tells it: user@host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as containers have
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}".encode("ascii", "replace").decode()


def _error(response: httpx.Response) -> FuncatronError:
    problem: Json = {}
    with suppress(ValueError):
        found = response.json()
        problem = found if isinstance(found, dict) else {}
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}")
    if response.status_code == 404:
        return NotFound(detail)
    if response.status_code == 409:
        return Conflict(detail)
    if response.status_code == 401:
        detail += " Set FUNCATRON_ADMIN_TOKEN, or --token."
    passes = response.status_code == 503 and "retry-after" in response.headers
    errors, request_id = problem.get("errors") or [], response.headers.get("x-request-id")
    return ApiError(response.status_code, detail, errors, request_id, passes=passes)


def page_of(limit: int, cursor: str | None) -> dict[str, str | int]:
    """Return the query for a page of a list."""
    return {"limit": limit} | ({"cursor": cursor} if cursor is not None else {})
