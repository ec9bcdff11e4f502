"""What a driver declared, to declare it again on the next connection."""

from __future__ import annotations

from typing import Any

from funcatron.brokers.amqp.link import Link
from funcatron.brokers.base import Exchange, Queue


class Topology:
    """Queues, exchanges and bindings that were declared through a broker."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = {}
        self._queues: dict[str, Queue] = {}
        self._bindings: dict[tuple[str, str, str], None] = {}

    async def queue(self, link: Link, queue: Queue) -> None:
        """Declare a queue and keep it in mind."""
        await link.call(
            lambda channel, done: channel.queue_declare(
                queue.name,
                durable=queue.durable,
                exclusive=queue.exclusive,
                auto_delete=queue.auto_delete,
                callback=done,
            )
        )
        self._queues[queue.name] = queue

    async def exchange(self, link: Link, exchange: Exchange) -> None:
        """Declare a durable exchange and keep it in mind."""
        arguments: dict[str, Any] = {"alternate-exchange": exchange.alternate} if exchange.alternate else {}
        await link.call(
            lambda channel, done: channel.exchange_declare(
                exchange.name, exchange_type=exchange.kind, durable=True, arguments=arguments, callback=done
            )
        )
        self._exchanges[exchange.name] = exchange

    async def bind(self, link: Link, queue: str, exchange: str, routing_key: str) -> None:
        """Bind a queue and keep it in mind."""
        await link.call(
            lambda channel, done: channel.queue_bind(queue, exchange, routing_key=routing_key, callback=done)
        )
        self._bindings[queue, exchange, routing_key] = None

    def forget(self, queue: str) -> None:
        """The queue was deleted on purpose."""
        self._queues.pop(queue, None)
        for binding in [it for it in self._bindings if it[0] == queue]:
            del self._bindings[binding]

    async def restore(self, link: Link) -> None:
        """Declare all of it again."""
        for exchange in list(self._exchanges.values()):
            await self.exchange(link, exchange)
        for queue in list(self._queues.values()):
            await self.queue(link, queue)
        for binding in list(self._bindings):
            await self.bind(link, *binding)
