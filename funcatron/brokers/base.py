"""The Broker seam: what every message broker must be able to do for Funcatron.

A driver is one file in this folder and a name in `funcatron.brokers.DRIVERS`; the suite in `tests/conformance`
says what holds for all of them. Handlers are plain callables that run on the event loop: no task a message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as it should be. `exclusive` ones go with the connection that declared them."""

    name: str
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """A named point that messages are published to; unroutable ones go on to `alternate`, else they are dropped."""

    name: str
    kind: Literal["fanout", "direct"]
    alternate: str | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages in a queue: `ready` to be taken, and `unacked` (taken, not settled)."""

    ready: int
    unacked: int


@dataclass(slots=True)
class Outgoing:
    """A message to publish. With `exchange` "" the routing key is the queue's name."""

    body: bytes
    routing_key: str
    exchange: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    reply_to: str | None = None
    correlation_id: str | None = None
    expiration_ms: int | None = None
    persistent: bool = False
    content_type: str = "application/json"  # "": none is sent


@dataclass(slots=True)  # not frozen, which would triple the time that it takes to make one for each message
class Properties:
    """What travels beside a body."""

    headers: Mapping[str, str]
    reply_to: str | None
    correlation_id: str | None
    expiration_ms: int | None
    persistent: bool
    content_type: str | None


class Delivery(ABC):
    """One delivered message. It is settled once: by `ack` or by `nack`. Settling after the connection was lost does
    nothing, since the broker has requeued the message by then."""

    __slots__ = ("body", "exchange", "redelivered", "routing_key")

    body: bytes
    exchange: str
    routing_key: str
    redelivered: bool

    @property
    @abstractmethod
    def properties(self) -> Properties:
        """Headers and the rest, decoded on first use."""

    def origin(self) -> tuple[str | None, str | None]:
        """Return reply-to and correlation id, without the rest where that is cheaper. Raises as `properties` does."""
        properties = self.properties
        return properties.reply_to, properties.correlation_id

    def may_have(self, header: str) -> bool:
        """Say whether it may have a header; False is certain, and cheap to know."""
        return header in self.properties.headers

    @abstractmethod
    def ack(self) -> None:
        """Tell the broker that the message is done. Acks of one loop turn go out together, after the publishes that
        were made before them."""

    @abstractmethod
    def nack(self, *, requeue: bool) -> None:
        """Give the message back (to the front of its queue where the broker can), or drop it."""


Handler = Callable[[Delivery], None]


class Consumer(ABC):
    """A running subscription; it survives reconnects until it is cancelled."""

    queue: str

    @abstractmethod
    async def cancel(self) -> None:
        """Stop taking messages. Idempotent.

        Until this returns the handler still gets what the broker had sent before it knew, beyond the prefetch if need
        be, so that it decides what becomes of it: given back, it would come again marked as redelivered, though nobody
        had looked at it. Afterwards nothing comes. All that was delivered may still be settled.
        """

    @abstractmethod
    async def set_prefetch(self, prefetch: int) -> None:
        """Change how many unsettled messages this consumer may hold."""


class Broker(ABC):
    """A connection to a broker. It reconnects for ever with jittered backoff and declares and consumes again what was
    declared and consumed; while it is away, `publish` raises BrokerAway at once."""

    @abstractmethod
    async def connect(self) -> None:
        """Connect; returns when connected for the first time (retries until then). Cancellable."""

    @abstractmethod
    async def close(self) -> None:
        """Flush what was published and acked, then disconnect. Idempotent."""

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether messages can be published now."""

    @property
    @abstractmethod
    def blocked(self) -> str | None:
        """Why the broker takes no messages now (memory or disk alarm), or None."""

    @abstractmethod
    def on_change(self, call: Callable[[bool], None]) -> None:
        """Call `call(connected)` whenever the connection is made or lost."""

    @abstractmethod
    async def declare(self, queue: Queue) -> None:
        """Make sure that the queue exists. Idempotent. Raises BrokerError if it exists with other properties."""

    @abstractmethod
    async def delete(self, queue: str, *, if_empty: bool = False, if_unused: bool = False) -> bool:
        """Delete a queue; False if a condition forbade it. A missing queue counts as deleted."""

    @abstractmethod
    async def declare_exchange(self, exchange: Exchange) -> None:
        """Make sure that the exchange exists. Idempotent."""

    @abstractmethod
    async def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Let messages of an exchange (with that key, for a direct one) go to the queue. Idempotent."""

    @abstractmethod
    def publish(self, message: Outgoing) -> None:
        """Send without waiting: for messages that somebody waits for. Frames of one loop turn go out in one write.

        Raises BrokerAway when there is no connection, or the broker has not read for so long that too much waits to be
        written; BrokerError for a message that the broker's protocol cannot carry (a key over 255 bytes).
        """

    @abstractmethod
    async def publish_confirmed(self, message: Outgoing) -> None:
        """Send and wait until the broker has taken responsibility. Raises BrokerAway (outcome unknown) or
        BrokerError (refused, or no queue took it)."""

    @abstractmethod
    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumer:
        """Deliver the queue's messages, in its order, to `handler`; at most `prefetch` unsettled at a time.

        A handler that raises is logged and its message goes to the dead-letter queue. Raises BrokerError if there is
        no such queue, ValueError for a prefetch below 1.
        """

    @abstractmethod
    async def depth(self, queue: str) -> Depth:
        """Read the depth. Raises UnknownDepth when it cannot be read or there is no such queue: never 0 for unknown."""

    @abstractmethod
    async def purge(self, queue: str) -> int:
        """Drop all ready messages; returns how many."""
