"""What holds for every Broker that can forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from funcatron.brokers.base import Broker, Depth, Exchange, Outgoing, Properties, Queue
from funcatron.brokers.forwarding import Forwarding, Route, Target
from tests.conformance.conftest import PATIENCE, Box, World, depth_is, until

Headers = Callable[[], Mapping[str, str]]


class Hop:
    """A queue that is forwarded from, and one that a direct exchange leads to."""

    def __init__(self, broker: Broker, source: str, exchange: str, queue: str) -> None:
        self.broker, self.source, self.queue = broker, source, queue
        self.exchange = exchange
        self.there = Target(exchange, queue)
        self.arrived, self.rest = Box(ack=True), Box()

    @classmethod
    async def make(cls, world: World, broker: Broker) -> Hop:
        """Declare it, and consume its end."""
        exchange = world.name("exchange")
        await broker.declare_exchange(Exchange(exchange, "direct"))
        hop = cls(broker, await world.queue(broker), exchange, await world.queue(broker))
        await broker.bind(hop.queue, exchange, hop.queue)
        await broker.consume(hop.queue, hop.arrived, prefetch=100)
        return hop

    async def forward(self, route: Route, prefetch: int = 50) -> None:
        """Forward by another connection than the one that publishes and consumes."""
        assert isinstance(self.broker, Forwarding)
        await self.broker.forward(self.source, route, self.rest, prefetch=prefetch)


@pytest.fixture
async def hop(world: World, broker: Broker) -> Hop:
    """One hop."""
    return await Hop.make(world, broker)


async def test_a_message_goes_on_unchanged(hop: Hop) -> None:
    """Body and properties; only exchange and key are new."""
    await hop.forward(lambda _key, _headers: hop.there)
    headers = {"path": "/x", "n": "1"}
    sent = Outgoing(b"\0\xce body", hop.source, "", headers, "back", "r-1", 60_000, False, "text/plain")
    hop.broker.publish(sent)
    got = await hop.arrived.take()
    assert (got.body, got.exchange, got.routing_key) == (sent.body, hop.exchange, hop.queue)
    assert got.properties == Properties({"path": "/x", "n": "1"}, "back", "r-1", 60_000, False, "text/plain")
    await depth_is(hop.broker, hop.source, Depth(0, 0))


async def test_the_route_sees_key_and_headers(world: World, hop: Hop) -> None:
    """The key as it was published, up to its 255 bytes, and headers only when asked for."""
    exchange, seen = world.name("fanout"), []
    await hop.broker.declare_exchange(Exchange(exchange, "fanout"))
    await hop.broker.bind(hop.source, exchange)

    def route(key: str, headers: Headers) -> Target:
        seen.append((key, headers()["path"] if len(key) == 255 else None))
        return hop.there

    await hop.forward(route)
    keys = ["example.com/a%2Fb/ü", "", "/" + "x" * 254]
    for key in keys:
        hop.broker.publish(Outgoing(b"x", key, exchange, {"path": "/" + "x" * 400}))
    await hop.arrived.hold(3)
    assert seen == [(keys[0], None), (keys[1], None), (keys[2], "/" + "x" * 400)]


async def test_the_order_is_kept_across_sizes(hop: Hop) -> None:
    """Bodies that span frames and reads go on in their place, and so do empty ones."""
    await hop.forward(lambda _key, _headers: hop.there)
    bodies = [str(n).encode() * size for n, size in enumerate([1, 0, 200_000, 3, 1_000_000, 0, 5, 131_064, 70_000] * 5)]
    for body in bodies:
        hop.broker.publish(Outgoing(body, hop.source))
    await hop.arrived.hold(len(bodies))
    assert hop.arrived.bodies == bodies
    await depth_is(hop.broker, hop.source, Depth(0, 0))


async def test_a_hundred_megabytes_go_on_whole(hop: Hop) -> None:
    """Far more than any buffer holds."""
    await hop.forward(lambda _key, _headers: hop.there)
    body = bytes(range(256)) * (4096 * 100)
    hop.broker.publish(Outgoing(body, hop.source))
    hop.broker.publish(Outgoing(b"next", hop.source))
    async with asyncio.timeout(2 * PATIENCE):
        got = await hop.arrived.hold(2)
    assert got[0].body == body
    assert got[1].body == b"next"


async def test_what_has_no_route_goes_to_the_rest_whole(hop: Hop) -> None:
    """Small or large, between others; it is acked by nobody else."""
    await hop.forward(lambda _key, headers: hop.there if headers().get("go") else None)
    large = b"x" * 300_000
    for body, go in [(b"1", "y"), (b"none", ""), (b"2", "y"), (large, ""), (b"3", "y")]:
        hop.broker.publish(Outgoing(body, hop.source, headers={"go": go, "k": "v"}, correlation_id="c"))
    await hop.arrived.hold(3)
    rest = list(await hop.rest.hold(2))
    assert hop.arrived.bodies == [b"1", b"2", b"3"]
    assert [(it.body, it.properties.headers["k"], it.properties.correlation_id) for it in rest] == [
        (b"none", "v", "c"),
        (large, "v", "c"),
    ]
    await depth_is(hop.broker, hop.source, Depth(0, 2))
    rest[0].ack()
    rest[1].nack(requeue=True)
    again = (await hop.rest.hold(3))[2]
    assert (again.body, again.redelivered) == (large, True)
    again.ack()
    await depth_is(hop.broker, hop.source, Depth(0, 0))


async def test_a_route_that_raises_is_no_route(hop: Hop) -> None:
    """The message goes to the rest, and forwarding goes on."""

    def route(_key: str, headers: Headers) -> Target:
        if "bad" in headers():
            raise RuntimeError("no idea")
        return hop.there

    await hop.forward(route)
    hop.broker.publish(Outgoing(b"bad", hop.source, headers={"bad": "1"}))
    hop.broker.publish(Outgoing(b"good", hop.source))
    assert (await hop.arrived.take()).body == b"good"
    assert (await hop.rest.take()).body == b"bad"


async def test_a_persistent_message_goes_on_persistent(hop: Hop) -> None:
    """And leaves its queue only once the broker has it."""
    await hop.forward(lambda _key, _headers: hop.there)
    for number in range(20):
        await hop.broker.publish_confirmed(
            Outgoing(str(number).encode(), hop.source, headers={"a": "b"}, persistent=True, correlation_id="c")
        )
    got = await hop.arrived.hold(20)
    assert [it.body for it in got] == [str(number).encode() for number in range(20)]
    assert all(it.properties == Properties({"a": "b"}, None, "c", None, True, "application/json") for it in got)
    await depth_is(hop.broker, hop.source, Depth(0, 0))


async def test_a_persistent_message_that_cannot_go_on_is_kept(world: World, hop: Hop) -> None:
    """It goes on as soon as its queue is there."""
    late = world.name("late")
    await hop.forward(lambda _key, _headers: Target("", late))
    await hop.broker.publish_confirmed(Outgoing(b"patient", hop.source, persistent=True))
    await depth_is(hop.broker, hop.source, Depth(0, 1))
    other = await world.broker()
    await other.declare(Queue(late))
    world._queues.append(late)
    box = Box(ack=True)
    await other.consume(late, box, prefetch=1)
    assert (await box.take()).body == b"patient"


async def test_forwarding_goes_on_after_a_reconnect(world: World, hop: Hop) -> None:
    """And loses nothing that was persistent."""
    other = await world.broker()
    assert isinstance(other, Forwarding)
    await other.forward(hop.source, lambda _key, _headers: hop.there, hop.rest, prefetch=5)
    changes: list[bool] = []
    other.on_change(changes.append)
    for turn in range(3):
        for number in range(10):
            await hop.broker.publish_confirmed(Outgoing(f"{turn}.{number}".encode(), hop.source, persistent=True))
        world.cut(other)
        await until(lambda: changes == [False, True] * (turn + 1))  # noqa: B023  # awaited within the turn
    await until(lambda: len(set(hop.arrived.bodies)) == 30)


async def test_two_forwarders_share_a_queue(world: World, hop: Hop) -> None:
    """Several Trons may run; each message goes on once."""
    for _ in range(2):
        other = await world.broker()
        assert isinstance(other, Forwarding)
        await other.forward(hop.source, lambda _key, _headers: hop.there, hop.rest, prefetch=5)
    for number in range(1000):
        hop.broker.publish(Outgoing(f"{number}".encode(), hop.source))
    await hop.arrived.hold(1000)
    assert sorted(hop.arrived.bodies, key=int) == [f"{number}".encode() for number in range(1000)]
    await depth_is(hop.broker, hop.source, Depth(0, 0))
