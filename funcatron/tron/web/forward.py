"""Hands the calls of the API on to the Tron that leads, whichever Tron was asked.

Bodies go through in pieces, both ways: bundles are large. The credentials go along and count there once more; what a
browser says of where a page comes from was judged by this Tron's guard, and stays here. While nobody leads, nothing can
be changed. While the Registry is away, a Tron that has led answers what it has in memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import NoReturn
from urllib.parse import urlsplit

import httpx
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from funcatron.errors import NotLeader
from funcatron.tron.tron import Tron
from funcatron.tron.web.guard import SAFE

FORWARDED = "x-funcatron-forwarded-by"
"""The Tron that has handed a call on; one that has it is not handed on again."""

STALE = "x-funcatron-stale"
"""Set on what is answered from memory while nobody leads: it may have changed since."""

OWN = frozenset({"/api/openapi.yaml", "/api/openapi.json"})

HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers of one connection (RFC 9110, section 7.6.1)."""

JUDGED = frozenset({"host", "expect", "origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user"})
REPLACED = frozenset({"date", "server"})

TIMEOUT = httpx.Timeout(30.0, connect=2.0, read=180.0)
"""Times of a call that is handed on, s: the leader answers an upload after it has inspected the bundle."""

IDLE = 2.0
"""How long a connection to the leader is kept for the next call, s."""


class Unreachable(Exception):
    """Nothing of the call has reached the other Tron, or it may be made twice."""


class ToLeader:
    """Serves by `app` what is for this Tron, and hands the rest on."""

    def __init__(self, app: ASGIApp, tron: Tron, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.app = app
        self.tron = tron
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self.tron.leading is not None or not _for_leader(scope["path"]):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if FORWARDED in headers:
            await self._alone(scope, receive, send, "the Tron that was taken for the leader does not lead")
            return
        await self._hand_on(scope, receive, send, headers)

    async def close(self) -> None:
        """Close the connections to other Trons. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Hand a call on to whoever leads; if it is not there, to whoever leads by then."""
        tried = None
        why = "no Tron leads at this moment"
        for fresh in (False, True):
            url = await self._leader(fresh=fresh)
            if url is None or url == tried:
                break
            tried = url
            try:
                await self._relay(url, scope, receive, send, headers)
                return
            except Unreachable as err:
                why = f"the Tron that leads cannot be reached at {url} ({err})"
        await self._alone(scope, receive, send, why)

    async def _leader(self, *, fresh: bool) -> str | None:
        """Return where the leader's API is; None if there is none, or if it is this Tron, which does not lead (yet)."""
        leadership = self.tron.leadership
        lease = leadership.lease
        if fresh or lease is None or lease.holder is None:
            lease = await leadership.find()
        if lease is None:
            return self.tron.follower.leader_url
        return lease.url if lease.holder != self.tron.id else None

    async def _alone(self, scope: Scope, receive: Receive, send: Send, why: str) -> None:
        """Do without another Tron. Raises NotLeader for what cannot be done."""
        if self.tron.leading is not None:  # by now
            await self.app(scope, receive, send)
            return
        trouble = self.tron.leadership.trouble
        if not (trouble and scope["method"] in SAFE and self.tron.plane.begun):
            detail = f"the Registry is away ({trouble})" if trouble else why
            raise NotLeader(f"{detail}: nothing can be changed now, and requests are dispatched; try again in a moment")

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[STALE] = "true"
            await send(message)

        await self.app(scope, receive, marked)

    async def _relay(self, url: str, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Make the call at another Tron, and pass its answer on. Raises Unreachable, HTTPException 502."""
        body = Body(receive, headers)
        call = Call(self._request(url, scope, headers, body), body, send)
        relaying = asyncio.ensure_future(call.make(self._http()))
        leaving, moving = asyncio.ensure_future(body.left()), asyncio.ensure_future(self.tron.leadership.moved(url))
        try:
            await asyncio.wait({relaying, leaving, moving}, return_when=asyncio.FIRST_COMPLETED)
            moved = moving.done() and not relaying.done() and not leaving.done()
            if moved and call.started:  # a Tron that leads no more may end its answer
                await asyncio.wait({relaying, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (relaying, leaving, moving):
                one.cancel()
            await asyncio.gather(relaying, leaving, moving, return_exceptions=True)
        if moved and not call.started:
            call.fail("it does not lead any more")
        if not relaying.cancelled():
            relaying.result()

    def _request(self, url: str, scope: Scope, headers: Headers, body: Body) -> httpx.Request:
        parts = urlsplit(url)
        target = parts.path.rstrip("/").encode() + scope.get("raw_path", scope["path"].encode())
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        added = {"x-request-id": scope["state"]["request_id"], FORWARDED: self.tron.id}
        passed = _passed(headers.raw, JUDGED | added.keys(), headers.get("connection", ""))
        return httpx.Request(
            scope["method"],
            httpx.URL(url).copy_with(raw_path=target),
            headers=[*passed, *((name.encode(), value.encode()) for name, value in added.items())],
            content=body.chunks() if body.comes else None,
            extensions={"timeout": TIMEOUT.as_dict()},
        )

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport,
                verify=ssl.create_default_context(),
                limits=httpx.Limits(max_connections=None, keepalive_expiry=IDLE),
                trust_env=False,
            )
        return self._client


class Call:
    """A call at another Tron, whose answer is passed on. `started`: whether that was begun."""

    def __init__(self, request: httpx.Request, body: Body, send: Send) -> None:
        self.started = False
        self._request, self._body, self._send = request, body, send

    async def make(self, client: httpx.AsyncClient) -> None:
        """Make it. Raises Unreachable, HTTPException 502."""
        try:
            response = await client.send(self._request, stream=True)
            try:
                await self._pass_on(response)
            finally:
                await response.aclose()
        except ClientDisconnect:
            return
        except (httpx.ConnectError, httpx.ConnectTimeout) as err:
            raise Unreachable(str(err) or type(err).__name__) from err
        except httpx.TransportError as err:
            if self.started:
                raise  # too late for another answer: the connection is cut
            self.fail(str(err) or type(err).__name__)

    def fail(self, why: str) -> NoReturn:
        """There is no answer: raise Unreachable if the call may be made again, else HTTPException 502."""
        if self._request.method in SAFE and not self._body.begun:
            raise Unreachable(why)
        raise HTTPException(
            502, f"The Tron that leads did not answer ({why}); whether anything was changed is not known."
        )

    async def _pass_on(self, response: httpx.Response) -> None:
        headers = list(_passed(response.headers.raw, REPLACED, response.headers.get("connection", "")))
        self.started = True
        await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        async for chunk in response.aiter_raw():
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})


class Body:
    """The body of a request, in pieces, and whether who sends it is still there."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self.comes = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        self.begun = False
        self._receive = receive
        self._over = asyncio.Event()
        if not self.comes:
            self._over.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield it. Raises ClientDisconnect when it ends too early."""
        self.begun = True
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            yield message.get("body", b"")
        self._over.set()

    async def left(self) -> None:
        """Wait until who sent it does not wait for the answer any more."""
        await self._over.wait()
        while (await self._receive())["type"] != "http.disconnect":
            continue


def _for_leader(path: str) -> bool:
    return path.startswith("/api/") and path not in OWN


def _passed(
    headers: Iterable[tuple[bytes, bytes]], kept: frozenset[str], connection: str
) -> Iterable[tuple[bytes, bytes]]:
    """Yield the headers that go on: not those of one connection, nor those that are to be `kept` here."""
    named = {name.strip().lower() for name in connection.split(",")}
    for name, value in headers:
        plain = name.decode("latin-1").lower()
        if plain not in HOP and plain not in kept and plain not in named:
            yield name, value
