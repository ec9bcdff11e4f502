"""What becomes of a message that nobody can handle: it is kept in the dead-letter queue, never lost, never a loop."""

from __future__ import annotations

import asyncio
import logging
import time

from funcatron.brokers.base import Broker, Delivery, Outgoing
from funcatron.errors import BadMessage, BrokerAway, BrokerError
from funcatron.message.topology import DEAD_LETTER

log = logging.getLogger("funcatron.brokers")

MAX_HEADERS = 30_000  # characters of headers that are kept as they are
RETRY = 1.0  # s until a message that could not be dead-lettered is given back


async def dead_letter(broker: Broker, delivery: Delivery, reason: str, sender: str = "") -> None:
    """Move a delivery to the dead-letter queue: persistent and confirmed, then the original is acked.

    Its headers are kept; `reason`, `from`, `at` (ms) and `routing-key` are added. When the broker refuses, the
    delivery is given back after a second, so that it is tried again. Never raises BrokerError.
    """
    try:
        await broker.publish_confirmed(dead(delivery, reason, sender))
    except BrokerAway:
        return  # the broker has requeued the original by itself
    except BrokerError as err:
        log.error("a message could not be moved to %s, it is given back: %s", DEAD_LETTER, err)
        asyncio.get_running_loop().call_later(RETRY, give_back, delivery)
        return
    delivery.ack()


def dead(delivery: Delivery, reason: str, sender: str = "") -> Outgoing:
    """Return the message to keep for a delivery."""
    headers = {}
    reply_to = correlation = None
    content_type = "application/json"
    try:
        found = delivery.properties
        headers = dict(found.headers)
        reply_to, correlation = found.reply_to, found.correlation_id
        content_type = found.content_type or content_type
    except BadMessage as err:
        reason = f"{reason}; {err}"
    headers = _fitting(headers) | {
        "reason": reason[:1000],
        "from": sender,
        "at": str(time.time_ns() // 1_000_000),
        "routing-key": delivery.routing_key,
    }
    return Outgoing(
        delivery.body,
        DEAD_LETTER,
        headers=headers,
        reply_to=reply_to,
        correlation_id=correlation,
        persistent=True,
        content_type=content_type,
    )


def _fitting(headers: dict[str, str]) -> dict[str, str]:
    """Leave room for what is added: brokers bound the size of all headers together."""
    if sum(map(len, headers)) + sum(map(len, headers.values())) <= MAX_HEADERS:
        return headers
    return {name: value[:500] for name, value in list(headers.items())[:50]}


def give_back(delivery: Delivery) -> None:
    """Let a delivery be delivered again."""
    delivery.nack(requeue=True)
