"""The admin API on a Tron that does not lead: real HTTP servers, on one memory broker and one database."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from funcatron.errors import NotLeader, Stale
from funcatron.stores.lease import Lease
from funcatron.stores.registry import Registry
from funcatron.tron import server
from funcatron.tron.tron import Tron
from funcatron.tron.web.app import create_app
from funcatron.tron.web.edge import error_response
from funcatron.tron.web.forward import FORWARDED

TOKEN = "a-long-random-secret"


@dataclass
class Member:
    """A Tron with its API on a port of its own."""

    tron: Tron
    url: str
    app: Any
    api: Any
    serving: asyncio.Task[None]

    def client(self, **more: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30, **more)

    async def stop_api(self) -> None:
        self.api.should_exit = True
        await self.serving


@asynccontextmanager
async def member(installation: Any, **settings: Any) -> AsyncIterator[Member]:
    listener = server.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with installation.tron(admin_port=port, **settings) as tron:
        app = create_app(tron)
        api = server._Server(server.http_config(app))
        serving = asyncio.create_task(api.serve([listener]))
        one = Member(tron, f"http://127.0.0.1:{port}", app, api, serving)
        try:
            yield one
        finally:
            await app.close()
            await one.stop_api()


@dataclass
class Pair:
    """A leader, a follower, and a client of the follower."""

    leader: Member
    follower: Member
    client: httpx.AsyncClient


@pytest_asyncio.fixture
async def pair(installation: Any) -> AsyncIterator[Pair]:
    async with (
        member(installation) as leader,
        member(installation) as follower,
        follower.client() as client,
    ):
        assert leader.tron.leading
        assert not follower.tron.leading
        yield Pair(leader, follower, client)


async def test_a_follower_deploys(installation, pair, bundle, wait_until):
    frontend, _ = await installation.frontend(), await installation.runner()
    data = bundle()
    stored = await pair.client.post("/api/v2/bundles", content=data)
    assert stored.status_code == 201
    sha = hashlib.sha256(data).hexdigest()
    begun = await pair.client.put("/api/v2/deployments/hello", json={"sha": sha})
    assert begun.status_code == 202
    await pair.leader.tron.deployments.settled("hello", sha, 5)
    shown = await pair.client.get("/api/v2/deployments/hello")
    assert shown.json()["stage"] == "routed"
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha
    assert (await pair.client.post("/api/v1/disable", json={"sha": sha})).json()["success"] is True
    assert (await pair.client.delete("/api/v2/deployments/hello")).status_code == 202


async def test_a_large_bundle_goes_through_in_pieces_both_ways(installation, pair, bundle, wait_until):
    incoming = installation.data / "blobs" / "incoming"
    rest = bundle(n="x" * 3_000_000)
    arrived: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(rest), 500_000):
            yield rest[at : at + 500_000]
            if at == 2_000_000:  # the leader has what was sent so far, before the rest is sent
                await wait_until(lambda: any(one.stat().st_size > 1_000_000 for one in incoming.iterdir()))
                arrived.append(at)

    stored = await pair.client.post("/api/v2/bundles", content=pieces())
    assert (stored.status_code, arrived) == (201, [2_000_000])
    path = f"/api/v1/bundle/{hashlib.sha256(rest).hexdigest()}"
    got = bytearray()
    async with pair.client.stream("GET", path) as response:
        assert response.headers["content-length"] == str(len(rest))
        async for piece in response.aiter_bytes():
            got += piece
    assert got == rest
    head = await pair.client.head(path)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(rest)), b"")


async def test_errors_ids_and_headers_pass_as_they_are(pair):
    missing = await pair.client.get("/api/v2/deployments/no%2Fsuch?x=%20", headers={"x-request-id": "mine-1"})
    assert missing.status_code == 404
    assert missing.headers.get_list("x-request-id") == ["mine-1"]
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["request-id"] == "mine-1"
    assert len(missing.headers.get_list("date")) == 1
    wrong = await pair.client.patch("/api/v2/status")
    assert (wrong.status_code, "GET" in wrong.headers["allow"]) == (405, True)
    limited = await pair.client.get("/api/v2/history", params={"limit": "0"})
    assert limited.status_code == 400


async def test_what_is_a_tron_s_own_is_not_handed_on(pair, caplog):
    caplog.set_level("INFO", "funcatron.tron.access")
    for path in ("/", "/docs", "/health", "/ready", "/metrics", "/api/openapi.yaml", "/static/style.css"):
        assert (await pair.client.get(path)).status_code == 200, path
    assert len([one for one in caplog.records if one.name == "funcatron.tron.access"]) == 5  # but for the probes
    assert (await pair.client.get("/api/v2/status")).json()["tron"]["id"] == pair.leader.tron.id
    assert (await pair.client.get("/api/v2/stats")).status_code == 200


async def test_a_page_of_the_follower_itself_may_change_something(pair):
    own = await pair.client.post(
        "/api/v1/enable", json={"sha": "0" * 64}, headers={"origin": pair.follower.url, "sec-fetch-site": "same-origin"}
    )
    assert own.status_code == 404
    other = await pair.client.post("/api/v1/enable", json={}, headers={"origin": "http://evil.example"})
    assert other.status_code == 403


async def test_the_token_counts_on_both(installation):
    settings = {"admin_token": SecretStr(TOKEN)}
    async with member(installation, **settings), member(installation, **settings) as follower, follower.client() as one:
        assert (await one.get("/api/v2/status")).status_code == 401
        mine = {"authorization": f"Bearer {TOKEN}"}
        assert (await one.get("/api/v2/status", headers=mine)).status_code == 200


async def test_a_leader_with_another_token_refuses_what_a_follower_hands_on(installation):
    async with (
        member(installation, admin_token=SecretStr("another-long-secret")),
        member(installation, admin_token=SecretStr(TOKEN)) as follower,
        follower.client() as client,
    ):
        refused = await client.get("/api/v2/status", headers={"authorization": f"Bearer {TOKEN}"})
        assert refused.status_code == 401


async def test_a_leader_that_cannot_be_reached_is_a_503_that_says_so(pair):
    await pair.leader.stop_api()
    for answer in (await pair.client.get("/api/v2/status"), await pair.client.delete("/api/v2/deployments/x")):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert f"cannot be reached at {pair.leader.url}" in answer.json()["detail"]
    assert (await pair.client.get("/ready")).status_code == 200


async def test_a_leader_that_breaks_off_is_a_502_for_changes_and_another_try_for_reads(installation, pair):
    broken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{broken.sockets[0].getsockname()[1]}"
    leadership = pair.follower.tron.leadership
    known = leadership.lease
    leadership.lease = Lease("x", url, known.epoch, known.beat)
    changed = await pair.client.delete("/api/v2/deployments/x")
    assert changed.status_code == 502
    assert "whether anything was changed is not known" in changed.json()["detail"]
    leadership.lease = Lease("x", url, known.epoch, known.beat)
    assert (await pair.client.get("/api/v2/status")).json()["tron"]["id"] == pair.leader.tron.id
    broken.close()
    await broken.wait_closed()


async def test_a_leader_that_hangs_is_not_waited_for_once_another_leads(pair):
    begun = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await reader.read()
        writer.close()

    hung = await asyncio.start_server(hang, "127.0.0.1", 0)
    leadership = pair.follower.tron.leadership
    for call, status in ((pair.client.get("/api/v2/status"), 200), (pair.client.delete("/api/v2/deployments/x"), 502)):
        begun.clear()
        url = f"http://127.0.0.1:{hung.sockets[0].getsockname()[1]}"
        leadership.lease = Lease("x", url, 1, 0)
        leadership._known = float("inf")  # nor does it look meanwhile
        asking = asyncio.create_task(call)
        await asyncio.wait_for(begun.wait(), 5)
        await leadership.find()
        assert (await asking).status_code == status
    hung.close()
    await hung.wait_closed()


async def test_the_next_leader_is_found_when_the_last_one_is_gone(pair):
    leadership = pair.follower.tron.leadership
    with contextlib.closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        leadership.lease = Lease("gone", f"http://127.0.0.1:{nobody.getsockname()[1]}", 1, 0)
        assert (await pair.client.get("/api/v2/status")).json()["tron"]["id"] == pair.leader.tron.id


async def test_a_call_that_was_handed_on_is_not_handed_on_again(pair):
    answer = await pair.client.get("/api/v2/status", headers={FORWARDED: "another"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "does not lead" in answer.json()["detail"]


async def test_two_trons_that_take_each_other_for_the_leader_make_no_circle(pair):
    one, other = pair.leader.tron, pair.follower.tron
    for tron in (one, other):
        tron._campaign.cancel()
        await asyncio.gather(tron._campaign, return_exceptions=True)
    one.leadership.lease = Lease(other.id, pair.follower.url, 1, 0)
    other.leadership.lease = Lease(one.id, pair.leader.url, 1, 0)
    answer = await pair.client.get("/api/v2/status")
    assert answer.status_code == 503


async def test_while_nobody_leads_nothing_can_be_changed(pair):
    for tron in (pair.leader.tron, pair.follower.tron):
        tron._campaign.cancel()
        await asyncio.gather(tron._campaign, return_exceptions=True)
    pair.follower.tron.leadership.lease = None  # it has to look
    answer = await pair.client.delete("/api/v2/deployments/x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["detail"].startswith("no Tron leads at this moment: nothing can be changed now")


async def test_a_leader_that_does_not_know_yet_that_another_leads_is_refused_by_the_registry(
    installation, tron, client, bundle
):
    stored = (await client.post("/api/v2/bundles", content=bundle())).json()
    other = Registry(installation.settings().registry_url)
    await other.open()
    async with asyncio.timeout(5):
        while await other.acquire("other", "http://other", 0.0) is None:  # until it is between two beats
            continue
    assert tron.leading is not None
    refused = await client.put("/api/v2/deployments/hello", json={"sha": stored["sha"]})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert "epoch 1 is over: other leads" in refused.json()["detail"]
    enabled = await client.post("/api/v1/enable", json={"sha": stored["sha"]})
    assert (enabled.status_code, enabled.json()["success"]) == (503, False)
    added = await client.post("/api/v1/add_func", content=bundle(n=2))
    assert (added.status_code, added.json()["accepted"]) == (503, False)
    await other.close()


async def test_a_client_that_goes_ends_the_call_at_the_leader(pair, monkeypatch, wait_until):
    begun, hold = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> list[Any]:
        begun.set()
        await hold.wait()
        return []

    monkeypatch.setattr(pair.leader.tron.registry, "bundles", slow)
    asking = asyncio.create_task(pair.client.get("/api/v2/bundles"))
    await asyncio.wait_for(begun.wait(), 5)
    assert pair.leader.api.server_state.connections
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await wait_until(lambda: not pair.leader.api.server_state.connections)
    hold.set()


async def test_an_upload_that_breaks_off_leaves_nothing_behind(installation, pair, wait_until):
    incoming = installation.data / "blobs" / "incoming"
    host, port = pair.follower.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /api/v2/bundles HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5000000\r\n\r\n" + b"x" * 2_000_000
    )
    await writer.drain()
    await wait_until(lambda: list(incoming.iterdir()))
    writer.close()
    await wait_until(lambda: not list(incoming.iterdir()))


async def test_a_bundle_over_the_limit_is_a_413_by_a_follower_as_well(installation, bundle):
    async with (
        member(installation, max_bundle=10),
        member(installation, max_bundle=10) as follower,
        follower.client() as client,
    ):
        refused = await client.post("/api/v2/bundles", content=bundle())
        assert refused.status_code == 413
        assert "limit of 10 bytes" in refused.json()["detail"]


@pytest.mark.parametrize(("error", "status"), [(Stale("read it again"), 412), (NotLeader("another leads"), 503)])
def test_errors_of_changes_have_their_status(error, status):
    answer = error_response(error, "id")
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) is (status == 503)
