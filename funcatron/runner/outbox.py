"""What the Runner sends besides answers, and the tasks that wait for the broker's confirmation of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from funcatron.brokers.base import Broker, Delivery, Outgoing
from funcatron.brokers.deadletter import dead
from funcatron.errors import BrokerAway, BrokerError

log = logging.getLogger("funcatron.runner.outbox")

PAUSE = 1.0  # a message that could not be moved is given back after that, s


class Outbox:
    """Moves messages to other queues, confirmed, and settles the originals afterwards, so that none is ever lost."""

    def __init__(self, broker: Broker, sender: str) -> None:
        self.broker, self.sender = broker, sender
        self._tasks: set[asyncio.Task[None]] = set()

    def dead_letter(self, delivery: Delivery, reason: str, **headers: str | None) -> None:
        """Move a message to the dead-letter queue, with `headers` (those that are not None) besides the usual ones."""
        message = dead(delivery, reason, self.sender)
        message.headers = _merged(message.headers, headers)
        self.spawn(self._move(delivery, message))

    def again(self, delivery: Delivery, queue: str, **headers: str | None) -> None:
        """Put a message to the end of its queue, as it was but for `headers`; it then is no redelivery."""
        props = delivery.properties
        merged = _merged(props.headers, headers)
        message = Outgoing(
            body=delivery.body,
            routing_key=queue,
            headers=merged,
            reply_to=props.reply_to,
            correlation_id=props.correlation_id,
            expiration_ms=_left(merged.get("deadline"), props.expiration_ms),
            persistent=props.persistent,
            content_type=props.content_type or "application/json",
        )
        self.spawn(self._move(delivery, message))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that must end before the Runner does."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def settle(self) -> None:
        """Wait until all that was spawned is done."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _move(self, delivery: Delivery, message: Outgoing) -> None:
        try:
            await self.broker.publish_confirmed(message)
        except BrokerAway:
            return  # the broker has the original back, and delivers it again
        except BrokerError as err:
            extra = {"request-id": message.correlation_id}
            log.error("a message could not be moved to %s: %s", message.routing_key, err, extra=extra)
            await asyncio.sleep(PAUSE)
            delivery.nack(requeue=True)
            return
        delivery.ack()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the Runner failed", exc_info=task.exception())


def _merged(headers: Any, changes: dict[str, str | None]) -> dict[str, str]:
    """Return headers with changes (python names); None leaves one as it is."""
    return {**headers, **{name.replace("_", "-"): value for name, value in changes.items() if value is not None}}


def _left(deadline: str | None, expiration: int | None) -> int | None:
    """Return the milliseconds that are left of a message's life."""
    if expiration is None:
        return None
    if deadline is None or not deadline.isascii() or not deadline.isdigit():
        return expiration
    return max(1, min(expiration, int(deadline) - int(time.time() * 1000)))
