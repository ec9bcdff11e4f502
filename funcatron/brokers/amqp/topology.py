"""What a driver declared, to declare it again on the next connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcatron.brokers.amqp.link import Link
from funcatron.brokers.base import Exchange, Queue

Done = Callable[[Any], None] | None  # None: do not wait for the reply


class Topology:
    """Queues, exchanges and bindings that were declared through a broker."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = {}
        self._queues: dict[str, Queue] = {}
        self._bindings: dict[tuple[str, str, str], None] = {}

    async def queue(self, link: Link, queue: Queue) -> None:
        """Declare a queue and keep it in mind."""
        await link.call(lambda channel, done: _queue(channel, queue, done))
        self._queues[queue.name] = queue

    async def exchange(self, link: Link, exchange: Exchange) -> None:
        """Declare a durable exchange and keep it in mind."""
        await link.call(lambda channel, done: _exchange(channel, exchange, done))
        self._exchanges[exchange.name] = exchange

    async def bind(self, link: Link, *binding: str) -> None:
        """Bind a queue to an exchange by a key, and keep it in mind."""
        queue, exchange, key = binding
        await link.call(lambda channel, done: _bind(channel, queue, exchange, key, done))
        self._bindings[queue, exchange, key] = None

    def forget(self, queue: str) -> None:
        """The queue was deleted on purpose."""
        self._queues.pop(queue, None)
        for binding in [it for it in self._bindings if it[0] == queue]:
            del self._bindings[binding]

    async def restore(self, link: Link) -> None:
        """Declare all of it again, without waiting for each reply: a thousand queues take one round trip. Raises
        BrokerError for the first that is refused."""
        await link.call(self._restore)

    def _restore(self, channel: Any, done: Done) -> None:
        for exchange in self._exchanges.values():
            _exchange(channel, exchange, None)
        for queue in self._queues.values():
            _queue(channel, queue, None)
        for binding in self._bindings:
            _bind(channel, *binding, None)
        channel.basic_qos(prefetch_count=0, callback=done)  # changes nothing; its reply comes when all else is done


def _queue(channel: Any, queue: Queue, done: Done) -> None:
    channel.queue_declare(
        queue.name, durable=queue.durable, exclusive=queue.exclusive, auto_delete=queue.auto_delete, callback=done
    )


def _exchange(channel: Any, exchange: Exchange, done: Done) -> None:
    arguments = {"alternate-exchange": exchange.alternate} if exchange.alternate else None
    channel.exchange_declare(
        exchange.name, exchange_type=exchange.kind, durable=True, arguments=arguments, callback=done
    )


def _bind(channel: Any, queue: str, exchange: str, key: str, done: Done) -> None:
    channel.queue_bind(queue, exchange, routing_key=key, callback=done)
