"""The memory broker's other side: queues and exchanges that the connections of one process share.

Tests use it to make trouble: `stop`, `start`, `restart`, `block`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from funcatron.brokers.base import Exchange, Outgoing, Queue
from funcatron.errors import BrokerError


@dataclass(slots=True, eq=False)
class Stored:
    """A message in a queue."""

    message: Outgoing
    position: int
    expires: float | None  # on the loop's clock
    redelivered: bool = False


class Taker(Protocol):
    """A consumer as its queue sees it."""

    @property
    def room(self) -> bool:
        """Whether it may hold one more message."""

    def take(self, stored: Stored) -> None:
        """Deliver a message to it."""

    def ended(self) -> None:
        """The queue is gone."""


class HubQueue:
    """A queue with its messages and consumers."""

    def __init__(self, queue: Queue, owner: object | None) -> None:
        self.queue = queue
        self.owner = owner  # the connection that an exclusive queue belongs to
        self.ready: deque[Stored] = deque()
        self.unacked: set[Stored] = set()
        self.takers: deque[Taker] = deque()
        self._next = 0
        self._scheduled = False

    def put(self, message: Outgoing) -> None:
        """Add a message at the end."""
        now = asyncio.get_running_loop().time()
        expires = None if message.expiration_ms is None else now + max(0, message.expiration_ms) / 1000
        self.ready.append(Stored(message, self._next, expires))
        self._next += 1
        self.schedule()

    def give_back(self, stored: Stored) -> None:
        """Put a taken message back to where it stood. As a new object: who still holds the old one can do nothing."""
        self.unacked.discard(stored)
        again = Stored(stored.message, stored.position, stored.expires, redelivered=True)
        at = 0
        while at < len(self.ready) and self.ready[at].position < again.position:
            at += 1
        self.ready.insert(at, again)
        self.schedule()

    def settle(self, stored: Stored) -> None:
        """Forget a taken message."""
        self.unacked.discard(stored)
        self.schedule()

    def expire(self) -> None:
        """Drop what has expired. As in RabbitMQ only from the front on."""
        now = asyncio.get_running_loop().time()
        while self.ready and (expires := self.ready[0].expires) is not None and expires <= now:
            self.ready.popleft()

    def schedule(self) -> None:
        """Deliver in the next turn of the loop."""
        if not self._scheduled and self.takers:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        while self.ready:
            self.expire()
            taker = next((it for it in self.takers if it.room), None)
            if taker is None or not self.ready:
                return
            self.takers.remove(taker)
            self.takers.append(taker)  # in turn
            stored = self.ready.popleft()
            self.unacked.add(stored)
            taker.take(stored)


@dataclass(slots=True)
class MemoryHub:
    """What brokers of one process are connected to."""

    queues: dict[str, HubQueue] = field(default_factory=dict)
    exchanges: dict[str, Exchange] = field(default_factory=dict)
    bindings: dict[tuple[str, str, str], None] = field(default_factory=dict)  # exchange, key, queue
    connections: list[Connection] = field(default_factory=list)
    up: asyncio.Event = field(default_factory=asyncio.Event)
    blocked: str | None = None
    held: list[Outgoing] = field(default_factory=list)  # published while blocked

    def __post_init__(self) -> None:
        """It is up from the start."""
        self.up.set()

    # trouble, for tests

    def stop(self) -> None:
        """Go away as a broker does that is stopped: what is not durable, or not persistent, is lost."""
        self.up.clear()
        for connection in list(self.connections):
            connection.cut()
        self.held.clear()
        self.queues = {name: it for name, it in self.queues.items() if it.queue.durable}
        self.bindings = {it: None for it in self.bindings if it[2] in self.queues}
        for queue in self.queues.values():
            queue.ready = deque(it for it in queue.ready if it.message.persistent)

    def start(self) -> None:
        """Come back."""
        self.up.set()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def block(self, reason: str | None) -> None:
        """Take no messages (an alarm), or take them again: None."""
        self.blocked = reason
        if reason is None:
            held, self.held = self.held, []
            for message in held:
                self.put(message)

    # what connections do

    def need(self, name: str, owner: object) -> HubQueue:
        """Return a queue that `owner` may use. Raises BrokerError."""
        queue = self.queues.get(name)
        if queue is None:
            raise BrokerError(f"there is no queue {name!r}")
        if queue.owner is not None and queue.owner is not owner:
            raise BrokerError(f"the queue {name!r} is another connection's own")
        return queue

    def declare(self, queue: Queue, owner: object) -> None:
        """Make sure that a queue exists. Raises BrokerError if it exists with other properties."""
        if queue.name in self.queues:
            if self.need(queue.name, owner).queue != queue:
                raise BrokerError(f"the queue {queue.name!r} exists with other properties")
            return
        self.queues[queue.name] = HubQueue(queue, owner if queue.exclusive else None)

    def declare_exchange(self, exchange: Exchange) -> None:
        """Make sure that an exchange exists. Raises BrokerError if it exists with other properties."""
        if self.exchanges.setdefault(exchange.name, exchange) != exchange:
            raise BrokerError(f"the exchange {exchange.name!r} exists with other properties")

    def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let messages of an exchange go to a queue. Raises BrokerError if one of them is missing."""
        if exchange not in self.exchanges:
            raise BrokerError(f"there is no exchange {exchange!r}")
        self.bindings[exchange, routing_key, queue] = None

    def drop(self, name: str) -> None:
        """Delete a queue with all that is in it."""
        queue = self.queues.pop(name, None)
        if queue is not None:
            self.bindings = {it: None for it in self.bindings if it[2] != name}
            for taker in list(queue.takers):
                taker.ended()

    def leave(self, queue: HubQueue, taker: Taker) -> None:
        """A consumer has ended."""
        if taker in queue.takers:
            queue.takers.remove(taker)
            if queue.queue.auto_delete and not queue.takers and self.queues.get(queue.queue.name) is queue:
                self.drop(queue.queue.name)

    def publish(self, message: Outgoing) -> bool:
        """Take a message; False if no queue got it. Raises BrokerError if there is no such exchange."""
        if self.blocked is not None:
            self.held.append(message)
            return True
        return self.put(message)

    def put(self, message: Outgoing) -> bool:
        """Put a message into the queues that it goes to."""
        found = list(self._queues_for(message.exchange, message.routing_key))
        for queue in found:
            queue.expire()
            queue.put(message)
        return bool(found)

    def _queues_for(self, exchange: str, key: str) -> Iterator[HubQueue]:
        if exchange == "":
            if key in self.queues:
                yield self.queues[key]
            return
        known = self.exchanges.get(exchange)
        if known is None:
            raise BrokerError(f"there is no exchange {exchange!r}")
        names = {
            queue
            for name, bound, queue in self.bindings
            if name == exchange and (known.kind == "fanout" or bound == key) and queue in self.queues
        }
        if not names and known.alternate is not None:
            yield from self._queues_for(known.alternate, key)
        for name in sorted(names):
            yield self.queues[name]


class Connection(Protocol):
    """A connection as the hub sees it."""

    def cut(self) -> None:
        """The connection is lost."""
