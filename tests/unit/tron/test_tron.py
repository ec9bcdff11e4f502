"""One Tron: without its database, each second while it leads, and what it says of itself."""

from __future__ import annotations

import asyncio
import json

import pytest

from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import Conflict, WrongTables
from funcatron.stores import schema
from funcatron.tron.counters import KEPT, Counters
from funcatron.tron.plane import ControlPlane
from funcatron.tron.tron import Tron, address_of
from tests.unit.tron.members import QUICK, cut, deploy, only

# without the database


async def test_without_its_database_a_tron_dispatches_and_refuses_changes_and_then_leads_again(
    installation, bundle, wait_until
):
    frontend, _ = await installation.frontend(), await installation.runner()
    async with installation.tron(pace=QUICK) as tron, installation.client(tron) as client:
        sha = await deploy(client, tron, bundle())
        mend = cut(tron)
        refused = await client.delete("/api/v2/deployments/hello")  # while its lease lasts
        assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)
        await wait_until(lambda: tron.leading is None and tron.leadership.trouble)
        refused = await client.delete("/api/v2/deployments/hello")
        assert (refused.status_code, bool(refused.headers["retry-after"])) == (503, True)
        assert "the Registry is away" in refused.json()["detail"]
        assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha
        routes = await client.get("/api/v2/routes")
        assert [one["sha"] for one in routes.json()["routes"]] == [sha]
        assert routes.headers["x-funcatron-stale"] == "true"
        assert (await client.get("/api/v2/bundles")).status_code == 503
        assert (await client.get("/ready")).status_code == 200
        mend()
        await wait_until(lambda: tron.leading)
        assert (await client.get("/api/v2/routes")).headers.get("x-funcatron-stale") is None
        assert (await client.delete("/api/v2/deployments/hello")).status_code == 202


async def test_a_tron_that_starts_without_its_database_dispatches_as_the_leader_tells_it(
    installation, bundle, wait_until
):
    frontend, _ = await installation.frontend(), await installation.runner()
    async with installation.tron() as leader, installation.client(leader) as client:
        sha = await deploy(client, leader, bundle())
        late = Tron(installation.settings(admin_port=3001), MemoryBroker(installation.hub, "late"))
        mend = cut(late)
        await late.open()
        assert "out of reach" in late.leadership.trouble
        late.start()
        await wait_until(lambda: late.ready)
        await only(late, leader)
        assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha
        assert late.follower.leader_url == "http://127.0.0.1:3000"
        mend()
        await wait_until(lambda: late.leadership.lease)
        assert late.leadership.lease.holder == leader.id
        await late.shutdown()


async def test_a_tron_that_starts_alone_without_its_database_answers_nothing_wrong_and_waits(
    installation, bundle, wait_until
):
    frontend, _ = await installation.frontend(), await installation.runner()
    async with installation.tron() as tron, installation.client(tron) as client:
        sha = await deploy(client, tron, bundle())
    late = Tron(installation.settings(), MemoryBroker(installation.hub, "late"))
    mend = cut(late)
    await late.open()
    late.start()
    async with installation.client(late) as client:
        request = frontend.request("/hello/x")
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/ready")).status_code == 503
        for call in (client.get("/api/v2/routes"), client.get("/api/v2/deployments")):
            answer = await call
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        mend()
        assert (await frontend.answer(request))["sha"] == sha
        await wait_until(lambda: late.leading)
    await late.shutdown()


async def test_tables_of_another_revision_are_for_a_person_to_put_right(installation, monkeypatch):
    async with installation.tron():
        pass
    monkeypatch.setattr(schema, "HEAD", "9999")
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    tron = Tron(installation.settings(), MemoryBroker(installation.hub, "tron"))
    with pytest.raises(WrongTables, match="run `funcatron migrate`"):
        await tron.open()
    mend = cut(tron)
    await tron.open()  # it cannot know yet
    work = tron.start()
    mend()
    with pytest.raises(WrongTables):
        await asyncio.wait_for(work, 10)
    await tron.shutdown()


# each second


async def test_what_is_to_be_done_each_second_is_done_by_the_leader_alone(installation, wait_until, caplog):
    done: list[tuple[str, int]] = []

    async def note(plane: ControlPlane) -> None:
        done.append(("note", plane.epoch))

    async def fail(plane: ControlPlane) -> None:
        done.append(("fail", plane.epoch))
        raise RuntimeError("a fault")

    async with installation.tron() as first, installation.tron(admin_port=3001) as second:
        for tron in (first, second):
            tron.on_tick("failing", fail)
            tron.on_tick("noting", note)
        await wait_until(lambda: done.count(("note", 1)) == 2)
        assert done == [("fail", 1), ("note", 1)] * 2
        assert "failing failed" in caplog.text
        await first.shutdown()
        await wait_until(lambda: ("note", 2) in done)


async def test_runners_are_drained_by_whoever_places_funcs_on_them(installation, tron):
    with pytest.raises(Conflict, match="r1 cannot be drained"):
        await tron.drain_runner("r1")
    drained: list[tuple[int, str]] = []

    async def drain(plane: ControlPlane, runner: str) -> None:
        drained.append((plane.epoch, runner))

    tron.runner_drain = drain
    await tron.drain_runner("r1")
    assert drained == [(1, "r1")]


async def test_statsd_is_switched_for_every_tron(installation, wait_until, monkeypatch):
    monkeypatch.setattr("funcatron.tron.tron.LOOK", 0.05)
    async with (
        installation.tron() as leader,
        installation.tron(admin_port=3001) as follower,
        installation.client(leader) as client,
    ):
        await client.post("/api/v1/stats", json={"enable": True, "host": "127.0.0.1", "port": 9})
        await wait_until(lambda: follower.statsd.target == ("127.0.0.1", 9))
        await client.post("/api/v1/stats", json={"enable": False})
        await wait_until(lambda: follower.statsd.target is None)


@pytest.mark.parametrize(
    ("settings", "host", "port", "url"),
    [
        ({}, "127.0.0.1", 3000, "http://127.0.0.1:3000"),
        ({"admin_host": "::1"}, "::1", 3000, "http://[::1]:3000"),
        ({"tron_url": "http://tron-1.example:80/"}, "tron-1.example", 80, "http://tron-1.example:80"),
        ({"tron_url": "https://trons.example/one"}, "trons.example", 443, "https://trons.example/one"),
    ],
)
def test_where_a_tron_is_found(installation, settings, host, port, url):
    found = address_of(installation.settings(**settings))
    assert (found.host, found.port, found.url) == (host, port, url)


def test_json_of_a_fellow_is_what_the_api_shows(installation):
    tron = Tron(installation.settings(), MemoryBroker(installation.hub, "tron"))
    (shown,) = [one.as_json() for one in tron.trons()]
    assert json.dumps(shown)
    assert (shown["id"], shown["leads"], shown["epoch"], shown["dispatched"]) == (tron.id, False, None, 0)


# what it counts


def test_counts_of_queues_without_a_route_are_forgotten_the_oldest_first_and_the_sum_is_kept():
    counters = Counters()
    for number in range(KEPT + 3):
        counters.queues[f"func.x.{number}"] += 2
    assert counters.many
    counters.forget({"func.x.0"})
    assert counters.dispatched == counters.as_json()["dispatched"] == 2 * (KEPT + 3)
    assert [f"func.x.{number}" in counters.queues for number in range(4)] == [True, False, False, True]
    counters.queues["func.x.1"] += 1  # it is there again, and counts from nothing
    assert (counters.queues["func.x.1"], counters.dispatched) == (1, 2 * (KEPT + 3) + 1)
