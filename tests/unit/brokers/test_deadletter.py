"""What is kept of a message that nobody can handle."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from funcatron.brokers import deadletter
from funcatron.brokers.amqp import properties
from funcatron.brokers.base import Broker, Delivery, Depth, Outgoing, Properties, Queue
from funcatron.brokers.deadletter import dead, dead_letter
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import BadMessage, BrokerAway, BrokerError
from funcatron.message.topology import DEAD_LETTER


class Fake(Delivery):
    """A delivery that notes how it was settled."""

    def __init__(self, found: Properties | None, key: str = "key") -> None:
        self.body, self.exchange, self.routing_key, self.redelivered = b"body", "", key, False
        self.found = found
        self.settled: list[str] = []
        self.done = asyncio.Event()

    @property
    def properties(self) -> Properties:
        """As given, or malformed."""
        if self.found is None:
            raise BadMessage("malformed")
        return self.found

    def ack(self) -> None:
        """Note it."""
        self.settled.append("ack")
        self.done.set()

    def nack(self, *, requeue: bool) -> None:
        """Note it."""
        self.settled.append(f"requeue={requeue}")
        self.done.set()


class Refusing:
    """A broker that takes nothing."""

    def __init__(self, error: BrokerError) -> None:
        self.error = error

    async def publish_confirmed(self, _message: Outgoing) -> None:
        """Refuse."""
        raise self.error


async def test_the_properties_are_kept_and_the_reason_is_added() -> None:
    """So that the message can be looked at and sent again."""
    message = dead(Fake(Properties({"action": "service"}, "back", "r-1", 5, False, "a/b")), "no Func", "tron-1")
    assert (message.routing_key, message.exchange, message.persistent) == (DEAD_LETTER, "", True)
    assert (message.reply_to, message.correlation_id, message.content_type) == ("back", "r-1", "a/b")
    assert message.expiration_ms is None
    assert {"action": "service", "reason": "no Func", "from": "tron-1", "routing-key": "key"}.items() <= (
        message.headers.items()
    )


async def test_a_message_whose_properties_are_malformed_is_kept_all_the_same() -> None:
    """And the reason says so."""
    message = dead(Fake(None), "undecodable", "x")
    assert (message.body, message.headers["reason"]) == (b"body", "undecodable; malformed")


@pytest.mark.parametrize(
    "headers", [{"h": "x" * 130_000}, {f"h{n}": "x" * 100 for n in range(1200)}, {"ü" * 100: "ü" * 60_000}]
)
async def test_headers_near_the_broker_s_limit_leave_room_for_the_reason(headers: dict[str, str]) -> None:
    """Otherwise the message could never be moved."""
    message = dead(Fake(Properties(headers, None, None, None, False, None)), "r" * 5000, "x")
    assert len(properties.encode(message)) < 100_000
    assert message.headers["reason"] == "r" * 1000


async def test_a_key_that_is_no_text_is_kept_byte_by_byte() -> None:
    """A foreign publisher's."""
    message = dead(
        Fake(Properties({}, None, None, None, False, None), b"\xff/x".decode("utf-8", "surrogateescape")), "r"
    )
    assert b"\xff/x" in properties.encode(message)
    with pytest.raises(BrokerError, match="Unicode"):
        properties.encode(Outgoing(b"", "q", headers={"h": "\ud800"}))


async def test_the_original_is_acked_once_the_message_is_kept() -> None:
    """By the broker's confirmation."""
    broker = MemoryBroker(MemoryHub())
    await broker.connect()
    await broker.declare(Queue(DEAD_LETTER))
    delivery = Fake(Properties({}, None, None, None, False, None))
    await dead_letter(broker, delivery, "r")
    assert delivery.settled == ["ack"]
    assert await broker.depth(DEAD_LETTER) == Depth(1, 0)
    await broker.close()


async def test_the_original_is_given_back_when_the_broker_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once, which would be a loop; and not at all when the connection is lost, since the broker does it."""
    monkeypatch.setattr(deadletter, "RETRY", 0.01)
    delivery = Fake(Properties({}, None, None, None, False, None))
    await dead_letter(cast(Broker, Refusing(BrokerAway("lost"))), delivery, "r")
    assert delivery.settled == []
    await dead_letter(cast(Broker, Refusing(BrokerError("no"))), delivery, "r")
    assert delivery.settled == []
    async with asyncio.timeout(5):
        await delivery.done.wait()
    assert delivery.settled == ["requeue=True"]
