"""An optional power of a Broker: moving messages from a queue on to others without decoding them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

from funcatron.brokers.base import Consumer, Handler


class Target(NamedTuple):
    """Where a message goes on to. With `exchange` "" the routing key is the queue's name."""

    exchange: str
    routing_key: str
    alternate: str = ""
    """The exchange that gets it, by the same key, when no queue is there; without one it is dropped then."""


# Says where a message goes by its routing key, or None: then it is handed whole to the handler of the rest. The second
# argument reads the headers; they are decoded only if it is called. It raises BadMessage if they are malformed.
Route = Callable[[str, Callable[[], Mapping[str, str]]], Target | None]


class Forwarding(ABC):
    """What a Broker also implements that can forward."""

    @abstractmethod
    async def forward(self, queue: str, route: Route, rest: Handler, *, prefetch: int) -> Consumer:
        """Take the queue's messages and send each, properties and body unchanged, where `route` says; a message for
        which it says None, or raises, goes to `rest`, which settles it.

        A message is taken from its queue after it was sent on; a persistent one after the broker confirmed that.
        Raises BrokerError if there is no such queue.
        """
