"""A broker inside one process, for dev mode and tests: complete, with the semantics of the others.

Brokers that share a `MemoryHub` see the same queues. A test cuts one's connection with `cut`, and troubles all of
them by the hub.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from funcatron.brokers.base import Broker, Consumer, Delivery, Depth, Exchange, Handler, Outgoing, Properties, Queue
from funcatron.brokers.deadletter import RETRY, dead_letter, give_back
from funcatron.brokers.forwarding import Forwarding, Route
from funcatron.brokers.hub import HubQueue, MemoryHub, Stored
from funcatron.errors import BrokerAway, BrokerError, UnknownDepth
from funcatron.settings import Settings

log = logging.getLogger("funcatron.brokers.memory")

_PROCESS_HUB: list[MemoryHub] = []  # the one that settings-made brokers share; made on first use


class MemoryDelivery(Delivery):
    """A delivered message."""

    __slots__ = ("_consumer", "_queue", "_stored", "message")

    def __init__(self, consumer: MemoryConsumer, queue: HubQueue, stored: Stored) -> None:
        self._consumer = consumer
        self._queue = queue
        self._stored: Stored | None = stored
        self.message = stored.message
        self.body = stored.message.body
        self.exchange = stored.message.exchange
        self.routing_key = stored.message.routing_key
        self.redelivered = stored.redelivered

    @property
    def properties(self) -> Properties:
        """Headers and the rest."""
        m = self.message
        return Properties(dict(m.headers), m.reply_to, m.correlation_id, m.expiration_ms, m.persistent, m.content_type)

    def ack(self) -> None:
        """Done."""
        stored = self._take()
        if stored is not None:
            self._queue.settle(stored)

    def nack(self, *, requeue: bool) -> None:
        """Give it back, or drop it."""
        stored = self._take()
        if stored is not None:
            if requeue:
                self._queue.give_back(stored)
            else:
                self._queue.settle(stored)

    def _take(self) -> Stored | None:
        stored, self._stored = self._stored, None
        if stored is None or stored not in self._consumer.held:
            return None  # settled, or the connection was lost since
        self._consumer.held.remove(stored)
        return stored

    @property
    def settled(self) -> bool:
        """Whether nothing is to be done any more."""
        return self._stored is None or self._stored not in self._consumer.held


class MemoryConsumer(Consumer):
    """A subscription; it goes on with the next connection."""

    def __init__(self, broker: MemoryBroker, queue: str, handler: Handler, prefetch: int) -> None:
        self.queue = queue
        self.held: set[Stored] = set()
        self.cancelled = False
        self._broker = broker
        self._handler = handler
        self._on: HubQueue | None = None
        self._prefetch = _checked(prefetch)

    def attach(self) -> None:
        """Start. Raises BrokerError if there is no such queue."""
        self._on = self._broker.hub.need(self.queue, self._broker)
        self._on.takers.append(self)
        self._on.schedule()

    def lose(self) -> None:
        """The connection is lost: what it held goes back."""
        queue, self._on = self._on, None
        held, self.held = self.held, set()
        if queue is not None:
            for stored in held:
                queue.give_back(stored)
            self._broker.hub.leave(queue, self)

    async def cancel(self) -> None:
        """Stop taking messages."""
        self.cancelled = True
        queue, self._on = self._on, None
        if queue is not None:
            self._broker.hub.leave(queue, self)

    async def set_prefetch(self, prefetch: int) -> None:
        """Change how many unsettled messages it may hold."""
        self._prefetch = _checked(prefetch)
        if self._on is not None:
            self._on.schedule()

    @property
    def room(self) -> bool:
        """Whether it may hold one more."""
        return len(self.held) < self._prefetch

    def take(self, stored: Stored) -> None:
        """Hand a message to the handler."""
        queue = self._on
        if queue is None:
            raise RuntimeError("a message for a consumer that is not on its queue")
        self.held.add(stored)
        delivery = MemoryDelivery(self, queue, stored)
        try:
            self._handler(delivery)
        except Exception as err:  # noqa: BLE001  # a handler's fault costs its message, not the consumer
            self._broker.failed(delivery, err)

    def ended(self) -> None:
        """The queue was deleted: try again until there is one of that name."""
        self._on = None
        self.held.clear()
        if not self.cancelled:
            self._broker.lost(self)


def _checked(prefetch: int) -> int:
    if prefetch < 1:
        raise ValueError(f"a consumer takes at least one message at a time, not {prefetch}")
    return prefetch


class MemoryBroker(Broker, Forwarding):
    """A connection to a hub."""

    def __init__(self, hub: MemoryHub | None = None, name: str = "funcatron") -> None:
        self.hub = hub if hub is not None else MemoryHub()
        self._name = name
        self._connected = False
        self._consumers: list[MemoryConsumer] = []
        self._declared: dict[str, Queue] = {}
        self._bound: dict[tuple[str, str, str], None] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # the connection

    async def connect(self) -> None:
        """Connect; waits while the hub is stopped."""
        await self.hub.up.wait()
        if self._connected:
            return
        for queue in self._declared.values():
            self.hub.declare(queue, self)
        for binding in self._bound:
            self.hub.bind(*binding)
        self._connected = True
        self.hub.connections.append(self)
        self._consumers = [it for it in self._consumers if not it.cancelled]
        for consumer in self._consumers:
            try:
                consumer.attach()
            except BrokerError:
                self.lost(consumer)
        self._tell(True)

    def cut(self) -> None:
        """Lose the connection, for tests; it is made again at once, or when the hub is up again."""
        self._disconnect()
        self._spawn(self.connect())

    def _disconnect(self) -> None:
        if not self._connected:
            return
        self._connected = False
        self.hub.connections.remove(self)
        for consumer in self._consumers:
            consumer.lose()
        for queue in [it for it in self.hub.queues.values() if it.owner is self]:
            self.hub.drop(queue.queue.name)
        self._tell(False)

    async def close(self) -> None:
        """Disconnect for good."""
        for task in list(self._tasks):
            task.cancel()
        self._disconnect()

    @property
    def connected(self) -> bool:
        """Whether messages can be published now."""
        return self._connected

    @property
    def blocked(self) -> str | None:
        """What the hub was blocked with."""
        return self.hub.blocked if self._connected else None

    def on_change(self, call: Callable[[bool], None]) -> None:
        """Call `call(connected)` whenever the connection is made or lost."""
        self._listeners.append(call)

    def _tell(self, connected: bool) -> None:
        for call in list(self._listeners):
            try:
                call(connected)
            except Exception:  # a listener's fault is not the connection's
                log.exception("a listener to the connection failed")

    def _need(self) -> MemoryHub:
        if not self._connected:
            raise BrokerAway("there is no connection to the memory broker now")
        return self.hub

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # topology

    async def declare(self, queue: Queue) -> None:
        """Make sure that the queue exists."""
        self._need().declare(queue, self)
        self._declared[queue.name] = queue

    async def delete(self, queue: str, *, if_empty: bool = False, if_unused: bool = False) -> bool:
        """Delete a queue; False if a condition forbade it."""
        hub = self._need()
        found = hub.queues.get(queue)
        if found is not None and ((if_empty and found.ready) or (if_unused and found.takers)):
            return False
        self._declared.pop(queue, None)
        self._bound = {it: None for it in self._bound if it[0] != queue}
        hub.drop(queue)
        return True

    async def declare_exchange(self, exchange: Exchange) -> None:
        """Make sure that the exchange exists."""
        self._need().declare_exchange(exchange)

    async def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Let messages of an exchange go to the queue."""
        hub = self._need()
        hub.need(queue, self)
        hub.bind(queue, exchange, routing_key)
        self._bound[queue, exchange, routing_key] = None

    async def depth(self, queue: str) -> Depth:
        """Read the depth."""
        try:
            found = self._need().need(queue, self)
        except BrokerError as err:
            raise UnknownDepth(f"the depth of {queue} cannot be read: {err}") from err
        found.expire()
        return Depth(len(found.ready), len(found.unacked))

    async def purge(self, queue: str) -> int:
        """Drop all ready messages."""
        found = self._need().need(queue, self)
        found.expire()
        count = len(found.ready)
        found.ready.clear()
        return count

    # messages

    def publish(self, message: Outgoing) -> None:
        """Send without waiting."""
        hub = self._need()
        try:
            hub.publish(dataclasses.replace(message))
        except BrokerError as err:
            log.error("the broker refused a message: %s", err)

    async def publish_confirmed(self, message: Outgoing) -> None:
        """Send and wait until the hub has it."""
        hub = self._need()
        if hub.blocked is not None:
            raise BrokerError(f"the broker takes no messages now: {hub.blocked}")
        if not hub.publish(dataclasses.replace(message)):
            raise BrokerError(f"no queue took the message (exchange {message.exchange!r}, key {message.routing_key!r})")

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumer:
        """Deliver the queue's messages to `handler`."""
        self._need()
        consumer = MemoryConsumer(self, queue, handler, prefetch)
        consumer.attach()
        self._consumers.append(consumer)
        return consumer

    async def forward(self, queue: str, route: Route, rest: Handler, *, prefetch: int) -> Consumer:
        """Send the queue's messages on."""

        def handle(delivery: Delivery) -> None:
            try:
                target = route(delivery.routing_key, lambda: delivery.properties.headers)
            except Exception as err:  # noqa: BLE001  # a route that fails is no route; `rest` decides
                log.warning("no route could be found for %r: %s", delivery.routing_key[:100], err)
                target = None
            if target is None or not isinstance(delivery, MemoryDelivery):
                rest(delivery)
                return
            onward = dataclasses.replace(delivery.message, exchange=target.exchange, routing_key=target.routing_key)
            try:
                taken = self.hub.publish(onward)
                if not taken and target.alternate:
                    taken = self.hub.publish(dataclasses.replace(onward, exchange=target.alternate))
            except BrokerError as err:
                log.error("the broker refused a forwarded message: %s", err)
                taken = False
            if taken or not onward.persistent:
                delivery.ack()
            else:
                asyncio.get_running_loop().call_later(RETRY, give_back, delivery)

        return await self.consume(queue, handle, prefetch=prefetch)

    def failed(self, delivery: MemoryDelivery, error: Exception) -> None:
        """A handler raised."""
        log.error("a message could not be handled: %s", error, exc_info=error)
        if not delivery.settled:
            self._spawn(dead_letter(self, delivery, f"{type(error).__name__}: {error}", self._name))

    def lost(self, consumer: MemoryConsumer) -> None:
        """A consumer's queue is gone."""
        self._spawn(self._revive(consumer))

    async def _revive(self, consumer: MemoryConsumer) -> None:
        while self._connected and not consumer.cancelled:
            await asyncio.sleep(0.05)
            if self._connected and not consumer.cancelled and consumer.queue in self.hub.queues:
                consumer.attach()
                return


def from_settings(_settings: Settings, name: str) -> MemoryBroker:
    """Make a broker on the hub of this process."""
    if not _PROCESS_HUB:
        _PROCESS_HUB.append(MemoryHub())
    return MemoryBroker(_PROCESS_HUB[0], name)
