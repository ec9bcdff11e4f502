"""Several Trons on one broker and one database: one leads, all dispatch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio

from funcatron.brokers.base import Outgoing, Queue
from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import NotLeader, StoreError
from funcatron.message import control, encode, topology
from funcatron.stores.registry import Registry
from funcatron.tron.counters import Counters
from funcatron.tron.follower import Follower
from funcatron.tron.tron import Tron
from tests.unit.tron.members import QUICK, cut, deafen, deploy, only


@pytest_asyncio.fixture
async def pair(installation: Any) -> AsyncIterator[tuple[Tron, Tron, httpx.AsyncClient]]:
    """A leader, a follower, and a client of the leader."""
    async with AsyncExitStack() as stack:
        leader = await stack.enter_async_context(installation.tron())
        follower = await stack.enter_async_context(installation.tron(admin_port=3001))
        client = await stack.enter_async_context(installation.client(leader))
        assert leader.leading is not None
        assert follower.leading is None
        yield leader, follower, client


# dispatching


async def test_a_follower_dispatches_by_the_table_of_the_leader(installation, pair, bundle, wait_until):
    leader, follower, client = pair
    frontend, _ = await installation.frontend(), await installation.runner()
    sha = await deploy(client, leader, bundle())
    await wait_until(lambda: follower.table.version == leader.table.version)
    await only(follower, leader)
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha
    assert follower.counters.dispatched == 1


async def test_a_tron_that_comes_later_knows_all_routes_before_it_dispatches(installation, bundle):
    frontend, _ = await installation.frontend(), await installation.runner()
    async with installation.tron() as leader, installation.client(leader) as client:
        sha = await deploy(client, leader, bundle())
        async with installation.tron(admin_port=3001) as follower:
            await only(follower, leader)
            assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha


async def test_a_change_that_a_follower_has_missed_makes_no_404(installation, pair, bundle):
    leader, follower, client = pair
    frontend, _ = await installation.frontend(), await installation.runner()
    await deafen(follower)
    sha = await deploy(client, leader, bundle())
    await only(follower, leader)
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha
    nowhere = await frontend.answer(frontend.request("/nowhere"))
    assert nowhere["answer"]["status"] == 404


async def test_a_follower_that_has_missed_a_change_makes_no_queue_that_nobody_reads(
    installation, pair, bundle, wait_until, monkeypatch
):
    leader, follower, client = pair
    frontend, _ = await installation.frontend(), await installation.runner()
    old = await deploy(client, leader, bundle(n=1))
    await wait_until(lambda: [peer.routes for peer in leader.peers.of("tron")] == [leader.table.version])
    await deafen(follower)
    monkeypatch.setattr(follower.follower, "heartbeat", lambda: None)
    leader.peers.gone(follower.id)  # it was silent for so long that nobody waits for it
    new = await deploy(client, leader, bundle(n=2))
    await wait_until(lambda: not leader.deployments.draining)
    await only(follower, leader)
    assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == new
    assert f"func.hello.{old[:8]}" not in installation.hub.queues


async def test_with_the_registry_away_as_well_a_missing_queue_is_made_all_the_same(
    installation, pair, bundle, wait_until
):
    leader, follower, client = pair
    frontend, runner = await installation.frontend(), await installation.runner()
    sha = await deploy(client, leader, bundle())
    await wait_until(lambda: len(follower.table) == 1)
    await only(follower, leader)
    cut(follower)
    await runner.serving[f"func.hello.{sha[:8]}"].cancel()
    installation.hub.drop(f"func.hello.{sha[:8]}")
    frontend.request("/hello/x")
    await wait_until(lambda: follower.counters.restored_queues == 1)


async def test_an_old_queue_is_not_deleted_before_every_tron_routes_by_the_new_table(
    installation, pair, bundle, wait_until
):
    leader, follower, client = pair
    await installation.runner()
    old = await deploy(client, leader, bundle(n=1))
    await wait_until(lambda: [peer.routes for peer in leader.peers.of("tron")] == [leader.table.version])
    await deafen(follower)
    await deploy(client, leader, bundle(n=2))
    await asyncio.sleep(0.3)  # in which it would be deleted ten times
    assert f"func.hello.{old[:8]}" in installation.hub.queues
    await follower.follower.look()  # it takes the new table, and says so
    await wait_until(lambda: f"func.hello.{old[:8]}" not in installation.hub.queues)


@pytest.mark.parametrize(
    ("name", "version", "taken"),
    [("mine", 2, False), ("mine", 3, False), ("mine", 4, True), ("another", 1, True)],
)
async def test_a_table_that_is_no_newer_than_the_present_one_is_ignored(installation, wait_until, name, version, taken):
    broker = MemoryBroker(installation.hub, "a Tron")
    await broker.connect()
    seen: list[str] = []
    follower = Follower(
        broker,
        "me",
        topology.FOR_TRON,
        Registry(f"sqlite:///{installation.data}/registry.db"),
        Counters(),
        use=lambda table: seen.append(table.find("", "/x").queue),  # type: ignore[union-attr]
        leads=lambda: False,
        facts={},
    )
    await follower.start()
    for epoch, number, queue in (("mine", 3, "first"), (name, version, "second"), ("end", 1, "end")):
        routes = [{"host": None, "path": "/x", "queue": queue, "name": "x", "sha": "s"}]
        message = control.route("a leader", routes, number, epoch=epoch)
        broker.publish(Outgoing(encode(message), "", exchange=topology.FRONTENDS))
    await wait_until(lambda: seen[-1:] == ["end"])
    assert seen == ["first", *(["second"] if taken else []), "end"]
    await broker.close()


async def test_what_a_follower_cannot_read_is_not_for_it_to_bury(installation, pair, wait_until):
    leader, follower, _ = pair
    leader.broker.publish(Outgoing(b"{", "", exchange=topology.FRONTENDS))
    leader.broker.publish(Outgoing(b"{", follower.follower.queue))
    leader.outbox.resend_awake(follower.follower.queue)
    leader.peers.gone(follower.id)
    await wait_until(lambda: leader.peers.get(follower.id))
    assert leader.counters.dead_lettered == follower.counters.dead_lettered == 0


async def test_only_the_leader_takes_from_the_control_queue(installation, pair, wait_until):
    leader, follower, _ = pair
    runner = await installation.runner()
    await wait_until(lambda: leader.peers.of("runner"))
    for _ in range(10):
        runner.say("heartbeat")
    await wait_until(lambda: leader.counters.control >= 11)
    assert follower.counters.control == 0
    assert not list(follower.peers)


# what the leader knows of others


async def test_the_leader_knows_all_trons_and_what_they_dispatched(installation, pair, bundle, wait_until):
    leader, follower, client = pair
    frontend, _ = await installation.frontend(), await installation.runner()
    sha = await deploy(client, leader, bundle())
    await wait_until(lambda: len(follower.table) == 1)
    await only(follower, leader)
    for _ in range(3):
        await frontend.answer(frontend.request("/hello/x"))
    await frontend.answer(frontend.request("/nowhere"))
    await wait_until(lambda: [one.dispatched for one in leader.trons()] == [0, 3])
    first, second = leader.trons()
    assert (first.id, first.url, first.leads, first.epoch) == (leader.id, "http://127.0.0.1:3000", True, 1)
    assert (second.id, second.url, second.leads, second.epoch) == (follower.id, "http://127.0.0.1:3001", False, None)
    assert (second.version, second.info["hostname"]) == (first.version, first.info["hostname"])
    assert abs(second.since - follower.started) < 0.01
    queue = f"func.hello.{sha[:8]}"
    await wait_until(lambda: leader.control.statistics.flows()[1][queue].published == 3)
    await wait_until(lambda: leader.control.statistics.flows()[0].ended == 1)


async def test_a_tron_that_goes_is_forgotten(installation, wait_until):
    async with installation.tron() as leader:
        async with installation.tron(admin_port=3001):
            await wait_until(lambda: len(leader.trons()) == 2)
        await wait_until(lambda: len(leader.trons()) == 1)


# who leads next


async def test_when_the_leader_stops_another_knows_everything_and_goes_on_with_it(installation, bundle, wait_until):
    frontend, runner = await installation.frontend(), await installation.runner()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(installation.tron())
        second = await stack.enter_async_context(installation.tron(admin_port=3001))
        async with installation.client(first) as client:
            sha = await deploy(client, first, bundle())
            runner.silent = True
            other = bundle("other", path="/other")
            stored = (await client.post("/api/v2/bundles", content=other)).json()
            await client.put("/api/v2/deployments/other", json={"sha": stored["sha"]})
        await first.shutdown()
        await wait_until(lambda: second.leading)
        assert second.leading.epoch == first.plane.epoch + 1
        runner.silent = False
        await wait_until(lambda: {"runner", "frontend"} <= {peer.kind for peer in second.peers})
        runner.hear(runner.actions("enable")[-1])
        assert (await second.deployments.settled("other", stored["sha"], 5)).stage == "routed"
        assert (await frontend.answer(frontend.request("/hello/x")))["sha"] == sha
        assert (await frontend.answer(frontend.request("/other/x")))["sha"] == stored["sha"]


async def test_messages_of_leaders_carry_their_epoch_and_the_registry_that_counts_it(installation, bundle, wait_until):
    runner = await installation.runner()
    for epoch in (1, 2):
        async with installation.tron() as tron, installation.client(tron) as client:
            await deploy(client, tron, bundle(n=epoch))
            name, _ = await tron.registry.routes_state()
            for action in ("tron-info", "all-bundles", "enable"):
                told = runner.actions(action)[-1]
                assert (told["epoch"], told["registry"]) == (epoch, name), action
            assert runner.actions("tron-info")[-1]["url"] == "http://127.0.0.1:3000"


async def test_control_messages_that_a_silent_leader_holds_are_asked_for_again(installation, wait_until):
    runner = await installation.runner()
    async with installation.tron(pace=QUICK) as first:
        await wait_until(lambda: first.peers.of("runner"))
        async with installation.tron(pace=QUICK, admin_port=3001) as second:
            mend = cut(first)
            first.control.handle = lambda delivery: None  # type: ignore[method-assign]
            await first.plane._consumer.cancel()
            held: list[Any] = []
            # a connection of a process that hangs: it takes messages and does nothing with them
            await first.broker.consume(topology.FOR_TRON, held.append, prefetch=1000)
            await wait_until(lambda: second.leading)
            await wait_until(lambda: second.peers.of("runner"))
            runner.say("heartbeat")
            mend()


async def test_a_former_leader_tells_nothing_and_handles_nothing(installation, bundle, wait_until):
    frontend, runner = await installation.frontend(), await installation.runner()
    async with installation.tron(pace=QUICK) as first, installation.tron(pace=QUICK, admin_port=3001) as second:
        async with installation.client(first) as client:
            await deploy(client, first, bundle())
        plane = first.plane
        cut(first)
        await wait_until(lambda: second.leading)
        assert first.leading is None
        await wait_until(lambda: not list(plane.peers))
        runner.heard.clear()
        frontend.heard.clear()
        plane.announce()
        plane.outbox.disable("s", "q")
        for part in (runner, frontend):
            second.outbox.resend_awake(part.queue)  # comes after all that the first one has said
        await wait_until(lambda: runner.actions("resend-awake") and frontend.actions("resend-awake"))
        runner.say("heartbeat")
        await wait_until(lambda: second.peers.of("runner"))
        assert not [one for one in runner.heard + frontend.heard if one["from"] == first.id]
        for change in (
            plane.deployments.undeploy("hello"),
            plane.broker.declare(Queue("func.x.y")),
            plane.begin(anew=True),
        ):
            with pytest.raises((StoreError, NotLeader)):
                await change
        assert "func.x.y" not in installation.hub.queues
        assert (await frontend.answer(frontend.request("/hello/x")))["answer"]["status"] == 200
