"""What only the memory broker does: trouble on demand. The rest is in the conformance suite."""

from __future__ import annotations

import asyncio

import pytest

from funcatron.brokers.base import Delivery, Depth, Outgoing, Queue
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import BrokerAway


async def connected(hub: MemoryHub) -> MemoryBroker:
    """Return a broker on a hub."""
    broker = MemoryBroker(hub)
    await broker.connect()
    return broker


async def test_a_stopped_hub_refuses_and_a_started_one_takes_again() -> None:
    """Only durable queues and persistent messages are left."""
    hub = MemoryHub()
    broker = await connected(hub)
    await broker.declare(Queue("kept"))
    await broker.declare(Queue("gone", durable=False))
    broker.publish(Outgoing(b"transient", "kept"))
    broker.publish(Outgoing(b"persistent", "kept", persistent=True))
    hub.stop()
    with pytest.raises(BrokerAway):
        broker.publish(Outgoing(b"x", "kept"))
    assert set(hub.queues) == {"kept"}
    back = asyncio.Event()
    broker.on_change(lambda up: back.set() if up else None)
    hub.start()
    async with asyncio.timeout(5):
        await back.wait()
    assert await broker.depth("kept") == Depth(1, 0)
    assert set(hub.queues) == {"kept", "gone"}  # declared again by its broker
    await broker.close()


async def test_connecting_waits_for_the_hub() -> None:
    """As for a broker that is not there yet."""
    hub = MemoryHub()
    hub.stop()
    broker = MemoryBroker(hub)
    waiting = asyncio.ensure_future(broker.connect())
    await asyncio.sleep(0)
    assert not waiting.done()
    hub.start()
    async with asyncio.timeout(5):
        await waiting
    assert broker.connected
    await broker.close()


async def test_an_auto_delete_queue_goes_with_its_last_consumer() -> None:
    """And not before it had one."""
    hub = MemoryHub()
    broker = await connected(hub)
    await broker.declare(Queue("q", durable=False, auto_delete=True))
    got: list[Delivery] = []
    consumer = await broker.consume("q", got.append, prefetch=1)
    assert "q" in hub.queues
    await consumer.cancel()
    assert "q" not in hub.queues
    await broker.close()


async def test_a_listener_that_fails_does_not_keep_others_from_hearing() -> None:
    """Nor the broker from connecting."""
    hub, heard = MemoryHub(), []
    broker = MemoryBroker(hub)

    def fail(_up: bool) -> None:
        raise RuntimeError("deaf")

    broker.on_change(fail)
    broker.on_change(heard.append)
    await broker.connect()
    await broker.close()
    assert heard == [True, False]
