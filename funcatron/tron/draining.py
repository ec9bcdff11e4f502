"""Takes a func queue out of service without losing a message, once no route leads to it.

Its Runners are told to work off what is in it, to finish, and to let go of it. What is left is dispatched again. The
queue is deleted only when it is known to be empty: unknown is not empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from funcatron.brokers.base import Broker, Delivery, Outgoing
from funcatron.brokers.deadletter import dead_letter
from funcatron.errors import BadMessage, BrokerAway, BrokerError, UnknownDepth
from funcatron.message import topology
from funcatron.stores.records import Draining
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Peers
from funcatron.tron.tasks import Tasks

log = logging.getLogger("funcatron.tron.draining")


MOVING = 100
"""Messages that are dispatched again at a time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, s. `retire`: for the Runners' word that they let go; then `disable` is sent again. `poll`:
    between looks, growing to `poll_most`. `quiet`: without a message until none is left."""

    retire: float = 30.0
    quiet: float = 0.5
    poll: float = 0.1
    poll_most: float = 5.0


class Drainer:
    """Drains func queues. `drain` can be cancelled at any point and begun again later, also by another process."""

    def __init__(
        self,
        broker: Broker,
        outbox: Outbox,
        peers: Peers,
        tasks: Tasks,
        patience: Patience | None = None,
        routes: Callable[[], int] = lambda: 0,
    ) -> None:
        """`routes` tells the version of the route table, which Frontends that route directly must have taken."""
        self.broker = broker
        self.outbox = outbox
        self.peers = peers
        self.tasks = tasks
        self.patience = patience or Patience()
        self.routes = routes

    async def drain(self, draining: Draining) -> None:
        """Return once the queue is gone."""
        queue = draining.queue
        loop = asyncio.get_running_loop()
        began = told = loop.time()
        self.outbox.disable(draining.sha, queue)
        pause = self.patience.poll
        while True:
            try:
                if await self._gone(queue, patient=loop.time() - began < self.patience.retire):
                    log.info("the queue %s is drained and gone", queue, extra={"sha": draining.sha})
                    return
            except BrokerError as err:
                log.info("the queue %s is still there: %s", queue, err)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self.patience.poll_most)
            if loop.time() - told >= self.patience.retire:
                self.outbox.disable(draining.sha, queue)
                told = loop.time()

    async def _gone(self, queue: str, *, patient: bool) -> bool:
        """Delete the queue if nothing can be lost by it. `patient`: Runners may still say that they let go of it."""
        if self.peers.behind(self.routes()):  # they may send to it yet; who is silent for long is forgotten
            return False
        if patient and self._runners(queue):
            return False
        try:
            depth = await self.broker.depth(queue)
        except UnknownDepth:
            if patient and self.peers.of("runner"):
                return False
            # maybe it is gone already; the broker deletes no queue that has messages or consumers
            return await self.broker.delete(queue, if_empty=True, if_unused=True)
        if depth.unacked:
            return False
        if depth.ready:
            await self._dispatch_again(queue)
        return await self.broker.delete(queue, if_empty=True, if_unused=True)

    async def _dispatch_again(self, queue: str) -> None:
        """Move what is left in the queue to the firehose; each message is acked when the firehose has it.

        Ends when no more come: a Runner that has not let go yet may take some as well.
        """
        hands: set[asyncio.Task[None]] = set()
        moved = 0
        came = asyncio.Event()

        async def move(delivery: Delivery) -> None:
            nonlocal moved
            try:
                await self.broker.publish_confirmed(_again(delivery))
            except BrokerAway:
                return  # it is in its queue again
            except BadMessage as err:
                await dead_letter(self.broker, delivery, f"left in {queue}: {err}", self.outbox.instance)
                return
            except BrokerError as err:
                log.error("a message of %s cannot be dispatched again yet: %s", queue, err)
                await asyncio.sleep(self.patience.poll_most)
                delivery.nack(requeue=True)
                return
            delivery.ack()
            moved += 1

        def take(delivery: Delivery) -> None:
            came.set()
            task = self.tasks.start(move(delivery), "dispatching again")
            if task is not None:
                hands.add(task)
                task.add_done_callback(hands.discard)

        consumer = await self.broker.consume(queue, take, prefetch=MOVING)
        try:
            while True:
                came.clear()
                await asyncio.wait_for(came.wait(), self.patience.quiet)
        except TimeoutError:
            log.debug("no more messages of %s", queue)
        finally:
            await consumer.cancel()
        if hands:
            await asyncio.wait(set(hands))
        log.info("%d messages of %s were dispatched again", moved, queue)

    def _runners(self, queue: str) -> bool:
        return any(queue in peer.loaded for peer in self.peers.of("runner"))


def _again(delivery: Delivery) -> Outgoing:
    properties = delivery.properties
    headers = properties.headers
    key = topology.firehose_key(headers.get("host", ""), headers.get("path", ""))
    return Outgoing(
        delivery.body,
        routing_key=key,
        exchange=topology.FIREHOSE,
        headers=headers,
        reply_to=properties.reply_to,
        correlation_id=properties.correlation_id,
        expiration_ms=properties.expiration_ms,
        persistent=properties.persistent,
        content_type=properties.content_type or "application/json",
    )
