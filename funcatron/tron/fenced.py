"""The broker as the control plane of one leadership uses it: once that is over, nothing is made or deleted by it."""

from __future__ import annotations

from collections.abc import Callable

from funcatron.brokers.base import Broker, Consumer, Depth, Exchange, Handler, Outgoing, Queue
from funcatron.errors import NotLeader


class FencedBroker(Broker):
    """A Broker whose queues are changed, and consumed, only while `holds` says so; else that raises NotLeader.

    What was taken already may be sent on and settled all the same: by whom that is done makes no difference.
    """

    def __init__(self, broker: Broker, holds: Callable[[], bool]) -> None:
        self._broker = broker
        self._holds = holds

    def _fence(self) -> Broker:
        if not self._holds():
            raise NotLeader("this Tron does not lead any more; nothing was changed at the broker")
        return self._broker

    async def connect(self) -> None:
        """Connect."""
        await self._broker.connect()

    async def close(self) -> None:
        """Leave the connection to whom it belongs to."""

    @property
    def connected(self) -> bool:
        """Whether messages can be published now."""
        return self._broker.connected

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages now."""
        return self._broker.blocked

    def on_change(self, call: Callable[[bool], None]) -> None:
        """Call `call(connected)` whenever the connection is made or lost."""
        self._broker.on_change(call)

    async def declare(self, queue: Queue) -> None:
        """Make sure that the queue exists."""
        await self._fence().declare(queue)

    async def delete(self, queue: str, *, if_empty: bool = False, if_unused: bool = False) -> bool:
        """Delete a queue."""
        return await self._fence().delete(queue, if_empty=if_empty, if_unused=if_unused)

    async def declare_exchange(self, exchange: Exchange) -> None:
        """Make sure that the exchange exists."""
        await self._fence().declare_exchange(exchange)

    async def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Let messages of an exchange go to the queue."""
        await self._fence().bind(queue, exchange, routing_key)

    async def purge(self, queue: str) -> int:
        """Drop all ready messages."""
        return await self._fence().purge(queue)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumer:
        """Deliver the queue's messages to `handler`."""
        return await self._fence().consume(queue, handler, prefetch=prefetch)

    async def depth(self, queue: str) -> Depth:
        """Read the depth."""
        return await self._broker.depth(queue)

    def publish(self, message: Outgoing) -> None:
        """Send without waiting."""
        self._broker.publish(message)

    async def publish_confirmed(self, message: Outgoing) -> None:
        """Send and wait until the broker has taken responsibility."""
        await self._broker.publish_confirmed(message)
