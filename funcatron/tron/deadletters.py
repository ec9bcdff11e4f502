"""The dead-letter queue: putting messages there, looking at them, sending them again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from funcatron.brokers.base import Broker, Delivery, Outgoing
from funcatron.brokers.deadletter import dead_letter
from funcatron.errors import BadMessage, BrokerError, Conflict, NotFound, UnknownDepth
from funcatron.message import topology
from funcatron.tron.counters import Counters

log = logging.getLogger("funcatron.tron.deadletters")

SETTLE = 0.25
"""How long no message must come until all that could be had were had, s."""

ADDED = frozenset({"reason", "from", "at", "routing-key"})
"""Headers that dead-lettering adds."""

SHOWN = 4096
"""How much of a body is shown, bytes."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter queue. `id` is made of its content, since queues know no ids."""

    id: str
    reason: str
    sender: str
    at_ms: int | None
    headers: Mapping[str, str]
    size: int
    body: str

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "id": self.id,
            "reason": self.reason,
            "from": self.sender,
            "at": self.at_ms,
            "action": self.headers.get("action"),
            "request-id": self.headers.get("request-id"),
            "headers": dict(self.headers),
            "size": self.size,
            "body": self.body,
        }


class DeadLetters:
    """The dead-letter queue of an installation, as one Tron uses it."""

    def __init__(self, broker: Broker, instance: str, counters: Counters) -> None:
        self.broker = broker
        self.instance = instance
        self.counters = counters
        self._looking = asyncio.Lock()

    async def put(self, delivery: Delivery, reason: str) -> None:
        """Move a message there: acked only once the dead-letter queue has it."""
        await dead_letter(self.broker, delivery, reason, self.instance)
        self.counters.dead_lettered += 1
        log.warning("message dead-lettered: %s", reason, extra={"request-id": _headers(delivery).get("request-id")})

    async def first(self, limit: int) -> list[DeadLetter]:
        """Return up to `limit` messages, the oldest first; they stay where they are."""
        async with self._looking:
            held = await self._hold(limit)
            letters = [_letter(delivery) for delivery in held]
            _give_back(held)
            return letters

    async def retry(self, letter_id: str, limit: int) -> DeadLetter:
        """Send one of the first `limit` messages again. Raises NotFound, or Conflict for what cannot be sent again."""
        found = await self._pick(letter_id, limit)
        letter = _letter(found)
        try:
            await self.broker.publish_confirmed(_again(found))
        except (BrokerError, Conflict):
            found.nack(requeue=True)
            raise
        found.ack()
        return letter

    async def drop(self, letter_id: str, limit: int) -> DeadLetter:
        """Throw one of the first `limit` messages away. Raises NotFound."""
        found = await self._pick(letter_id, limit)
        found.ack()
        return _letter(found)

    async def _pick(self, letter_id: str, limit: int) -> Delivery:
        async with self._looking:
            held = await self._hold(limit)
            picked = next((delivery for delivery in held if _id(delivery) == letter_id), None)
            _give_back(delivery for delivery in held if delivery is not picked)
        if picked is None:
            raise NotFound(f"there is no dead letter {letter_id} among the first {limit}")
        return picked

    async def _hold(self, limit: int) -> list[Delivery]:
        """Take up to `limit` messages without settling them."""
        held: list[Delivery] = []
        arrived = asyncio.Event()

        def take(delivery: Delivery) -> None:
            held.append(delivery)
            arrived.set()

        expected = await self._ready(limit)
        if expected == 0:
            return held
        consumer = await self.broker.consume(topology.DEAD_LETTER, take, prefetch=limit)
        try:
            while len(held) < expected:
                arrived.clear()
                await asyncio.wait_for(arrived.wait(), SETTLE)
        except TimeoutError:
            log.debug("%d of %d dead letters came", len(held), expected)  # others look too, or the depth is unknown
        finally:
            await consumer.cancel()
        return held

    async def _ready(self, limit: int) -> int:
        try:
            return min(limit, (await self.broker.depth(topology.DEAD_LETTER)).ready)
        except UnknownDepth:
            return limit


def _give_back(deliveries: Iterable[Delivery]) -> None:
    for delivery in deliveries:
        delivery.nack(requeue=True)


def _again(delivery: Delivery) -> Outgoing:
    """Return the message as it was sent first."""
    headers = {name: value for name, value in _headers(delivery).items() if name not in ADDED}
    if headers.get("action", "service") != "service" or "path" not in headers:
        raise Conflict("only requests (action service) can be sent again; drop it instead")
    key = topology.firehose_key(headers.get("host", ""), headers.get("path", ""))
    headers.pop("deadline", None)  # long past; nobody waits for it any more
    return Outgoing(
        _unawaited(delivery.body), routing_key=key, exchange=topology.FIREHOSE, headers=headers, persistent=True
    )


def _unawaited(body: bytes) -> bytes:
    """Return a request as one that nobody waits for: a Runner drops what is late, and its answer has nowhere to go."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise Conflict(f"it is not JSON ({err}); drop it instead") from err
    if not isinstance(message, dict):
        raise Conflict("it is not a JSON object; drop it instead")
    for name in ("deadline", "reply-to", "reply-queue"):
        message.pop(name, None)
    return orjson.dumps(message)


def _letter(delivery: Delivery) -> DeadLetter:
    headers = _headers(delivery)
    at = str(headers.get("at", ""))
    return DeadLetter(
        id=_id(delivery),
        reason=headers.get("reason", "unknown"),
        sender=headers.get("from", "unknown"),
        at_ms=int(at) if at.isdecimal() else None,
        headers=headers,
        size=len(delivery.body),
        body=delivery.body[:SHOWN].decode(errors="replace"),
    )


def _id(delivery: Delivery) -> str:
    headers = _headers(delivery)
    digest = hashlib.sha256(repr(sorted(headers.items())).encode() + b"\0" + delivery.body)
    return digest.hexdigest()[:16]


def _headers(delivery: Delivery) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in delivery.properties.headers.items()}
    except BadMessage:
        return {}
