"""Makes sure that the queues and exchanges are there; their names are in `funcatron.message.topology`."""

from __future__ import annotations

from funcatron.brokers.base import Broker, Queue
from funcatron.message import topology


async def declare(broker: Broker, control: str) -> None:
    """Declare everything that all parts share. Idempotent."""
    for exchange in topology.EXCHANGES:
        await broker.declare_exchange(exchange)
    for queue in topology.queues(control):
        await broker.declare(queue)
    await broker.bind(topology.FIREHOSE, topology.FIREHOSE)


async def ensure_func_queue(broker: Broker, name: str) -> None:
    """Declare a func queue and let the funcs exchange lead to it. Idempotent."""
    await broker.declare(Queue(name))
    await broker.bind(name, topology.FUNCS, name)
