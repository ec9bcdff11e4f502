"""RabbitMQ by AMQP 0-9-1: pika for topology, control and the connection, the fast path of `amqp` for messages."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pika import ConnectionParameters, PlainCredentials

from funcatron.brokers.amqp import properties
from funcatron.brokers.amqp.channel import AmqpDelivery
from funcatron.brokers.amqp.consumers import Forwarder, Subscription
from funcatron.brokers.amqp.link import Link
from funcatron.brokers.amqp.management import Management
from funcatron.brokers.amqp.topology import Topology
from funcatron.brokers.base import Broker, Consumer, Depth, Exchange, Handler, Outgoing, Queue
from funcatron.brokers.deadletter import RETRY, dead_letter
from funcatron.brokers.forwarding import Forwarding, Route, Target
from funcatron.errors import BrokerAway, BrokerError, UnknownDepth
from funcatron.settings import Settings

log = logging.getLogger("funcatron.brokers.rabbitmq")

FIRST_RETRY, LAST_RETRY = 0.05, 1.5  # s between attempts to connect, before jitter


@dataclass(frozen=True, slots=True)
class RabbitmqParameters:
    """Where the broker is and how to speak with it. Times in seconds."""

    host: str = "127.0.0.1"
    port: int = 5672
    user: str = "guest"
    password: str = "guest"  # RabbitMQ's own default
    vhost: str = "/"
    tls: bool = False
    ca: Path | None = None
    management_url: str | None = None
    heartbeat: int = 20
    timeout: float = 10.0
    name: str = "funcatron"  # shown by the broker's own tools


class RabbitmqBroker(Broker, Forwarding):
    """A connection to RabbitMQ."""

    def __init__(self, parameters: RabbitmqParameters) -> None:
        self._parameters = parameters
        self._tls = _context(parameters) if parameters.tls else None
        self._link: Link | None = None
        self._topology = Topology()
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[bool], None]] = []
        self._management: Management | None = None
        self._ready = asyncio.Event()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None

    # the connection

    async def connect(self) -> None:
        """Connect; returns when connected for the first time."""
        if self._main is None:
            self._closing = False
            self._main = asyncio.get_running_loop().create_task(self._run(), name="broker connection")
        ready = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait((ready, self._main), return_when=asyncio.FIRST_COMPLETED)
            if self._main.done():
                self._main.result()
        except asyncio.CancelledError:
            if not self._ready.is_set():
                await self.close()
            raise
        finally:
            ready.cancel()

    async def _run(self) -> None:
        delay = FIRST_RETRY
        while not self._closing:
            try:
                link = await self._open()
            except (OSError, BrokerError) as err:
                log.warning("no connection to RabbitMQ at %s: %s", self._where, err)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # jitter
                delay = min(delay * 2, LAST_RETRY)
                continue
            except Exception:  # a fault of the driver's own must not end the reconnecting either
                log.exception("connecting to RabbitMQ at %s failed", self._where)
                await asyncio.sleep(LAST_RETRY)
                continue
            delay = FIRST_RETRY
            self._ready.set()
            self._tell(True)
            reason = await asyncio.shield(link.adapter.lost)
            self._link = None
            self._ready.clear()
            if not self._closing:
                log.warning("the connection to RabbitMQ at %s is lost: %s", self._where, reason)
            self._tell(False)

    async def _open(self) -> Link:
        p = self._parameters
        parameters = ConnectionParameters(
            host=p.host,
            port=p.port,
            virtual_host=p.vhost,
            credentials=PlainCredentials(p.user, p.password),
            heartbeat=p.heartbeat,
            client_properties={"connection_name": p.name, "product": "Funcatron"},
        )
        link = await Link.open(parameters, self._tls, p.timeout)
        try:
            async with asyncio.timeout(p.timeout + len(self._subscriptions) * 0.1):
                await self._topology.restore(link)
                await asyncio.gather(*(self._restart(link, it) for it in self._subscriptions if not it.cancelled))
        except BaseException as err:
            link.adapter.abort()
            if isinstance(err, TimeoutError):
                raise BrokerAway("the broker did not answer in time") from err
            raise
        if not link.adapter.is_open:
            raise BrokerAway("the connection was lost again")
        self._link = link
        return link

    async def _restart(self, link: Link, subscription: Subscription) -> None:
        try:
            await subscription.attach(link)
        except BrokerAway:
            return  # so is the link, and the next one starts it
        except BrokerError as err:
            self._lost(subscription, err)

    def _lost(self, subscription: Subscription, reason: Exception) -> None:
        log.warning("consuming %s has ended, it is tried again: %s", subscription.queue, reason)
        if not subscription.reviving:
            subscription.reviving = True
            self._spawn(self._revive(subscription))

    async def _revive(self, subscription: Subscription) -> None:
        try:
            await self._attach_again(subscription)
        finally:
            subscription.reviving = False

    async def _attach_again(self, subscription: Subscription) -> None:
        delay = FIRST_RETRY
        while not subscription.cancelled:
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # jitter
            delay = min(delay * 2, LAST_RETRY)
            link = self._link
            if link is None or subscription.cancelled or subscription.attached is not None:
                return  # the next connection starts it
            try:
                await subscription.attach(link)
            except BrokerError as err:
                log.debug("consuming %s is not possible yet: %s", subscription.queue, err)
            else:
                return

    @property
    def _where(self) -> str:
        p = self._parameters
        return f"{p.user}@{p.host}:{p.port}{'' if p.vhost == '/' else ' vhost ' + p.vhost}{' (TLS)' if p.tls else ''}"

    def _tell(self, connected: bool) -> None:
        for call in list(self._listeners):
            try:
                call(connected)
            except Exception:  # a listener's fault is not the connection's
                log.exception("a listener to the connection failed")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Flush, say goodbye, disconnect."""
        self._closing = True
        link, main = self._link, self._main
        self._main = None
        for task in list(self._tasks):
            task.cancel()
        if link is not None:
            self._link = None
            await link.close(5.0)
        if main is not None:
            if link is None:
                main.cancel()
            await asyncio.wait((main,))
        if self._management is not None:
            await self._management.close()
            self._management = None

    @property
    def connected(self) -> bool:
        """Whether messages can be published now."""
        return self._link is not None and self._link.adapter.is_open

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages now."""
        return self._link.blocked if self._link is not None else None

    def on_change(self, call: Callable[[bool], None]) -> None:
        """Call `call(connected)` whenever the connection is made or lost."""
        self._listeners.append(call)

    def _need(self) -> Link:
        # a lost link is here until the task that makes the next one has had its turn, which never comes if somebody
        # tries again and again over this one
        if self._link is None or not self._link.adapter.is_open:
            raise BrokerAway(f"there is no connection to RabbitMQ at {self._where} now")
        return self._link

    # topology

    async def declare(self, queue: Queue) -> None:
        """Make sure that the queue exists."""
        await self._topology.queue(self._need(), queue)

    async def delete(self, queue: str, *, if_empty: bool = False, if_unused: bool = False) -> bool:
        """Delete a queue; False if a condition forbade it."""
        try:
            await self._need().call(
                lambda channel, done: channel.queue_delete(queue, if_unused=if_unused, if_empty=if_empty, callback=done)
            )
        except BrokerAway:
            raise
        except BrokerError as err:
            if "PRECONDITION_FAILED" in str(err):
                return False
            raise
        self._topology.forget(queue)
        return True

    async def declare_exchange(self, exchange: Exchange) -> None:
        """Make sure that the exchange exists."""
        await self._topology.exchange(self._need(), exchange)

    async def bind(self, queue: str, exchange: str, routing_key: str = "") -> None:
        """Let messages of an exchange go to the queue."""
        await self._topology.bind(self._need(), queue, exchange, routing_key)

    async def purge(self, queue: str) -> int:
        """Drop all ready messages."""
        reply = await self._need().call(lambda channel, done: channel.queue_purge(queue, callback=done))
        return int(reply.method.message_count)

    async def depth(self, queue: str) -> Depth:
        """Read ready messages by AMQP, unsettled ones by the management API."""
        if self._parameters.management_url is None:
            raise UnknownDepth("unsettled messages are not known without the management API")
        try:
            reply = await self._need().call(
                lambda channel, done: channel.queue_declare(queue, passive=True, callback=done)
            )
        except BrokerError as err:
            raise UnknownDepth(f"the depth of {queue} cannot be read: {err}") from err
        if self._management is None:
            p = self._parameters
            self._management = Management(self._parameters.management_url, p.user, p.password, p.vhost, self._tls)
        return Depth(ready=int(reply.method.message_count), unacked=await self._management.unacked(queue))

    # messages

    def publish(self, message: Outgoing) -> None:
        """Send without waiting."""
        link = self._link
        if link is None:
            raise BrokerAway(f"there is no connection to RabbitMQ at {self._where} now")
        link.publish(message.exchange, message.routing_key, properties.encode(message), message.body)

    async def publish_confirmed(self, message: Outgoing) -> None:
        """Send and wait until the broker has taken responsibility."""
        await self._confirmed(message.exchange, message.routing_key, properties.encode(message), message.body)

    async def _confirmed(self, exchange: str, routing_key: str, values: bytes, body: bytes) -> None:
        link = self._need()
        if link.blocked is not None:
            raise BrokerError(f"the broker takes no messages now: {link.blocked}")
        confirms = await link.confirms()
        await confirms.publish(exchange, routing_key, values, body)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumer:
        """Deliver the queue's messages to `handler`."""
        return await self._start(Subscription(queue, handler, prefetch, self._failed, self._lost))

    async def forward(self, queue: str, route: Route, rest: Handler, *, prefetch: int) -> Consumer:
        """Send the queue's messages on by their frames."""
        return await self._start(
            Forwarder(queue, route, rest, prefetch, self._failed, self._lost, self._forward_confirmed)
        )

    async def _start(self, subscription: Subscription) -> Consumer:
        await subscription.attach(self._need())
        self._subscriptions = [it for it in self._subscriptions if not it.cancelled] + [subscription]
        return subscription

    def _failed(self, delivery: AmqpDelivery, error: Exception) -> None:
        log.error("a message could not be handled: %s", error, exc_info=error)
        if not delivery.settled:
            self._spawn(dead_letter(self, delivery, f"{type(error).__name__}: {error}", self._parameters.name))

    def _forward_confirmed(self, target: Target, delivery: AmqpDelivery) -> None:
        self._spawn(self._forward_one(target, delivery))

    async def _forward_one(self, target: Target, delivery: AmqpDelivery) -> None:
        try:
            exchange = target.alternate or target.exchange
            await self._confirmed(exchange, target.routing_key, delivery.values, delivery.body)
        except BrokerError as err:
            log.error("a message could not be forwarded to %s, it is given back: %s", target.routing_key, err)
            await asyncio.sleep(RETRY)
            delivery.nack(requeue=True)
        else:
            delivery.ack()


def _context(parameters: RabbitmqParameters) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(parameters.ca) if parameters.ca else None)


def from_settings(settings: Settings, name: str) -> RabbitmqBroker:
    """Make the driver that the settings describe."""
    scheme = "https" if settings.broker_tls else "http"
    return RabbitmqBroker(
        RabbitmqParameters(
            host=settings.broker_host,
            port=settings.amqp_port,
            user=settings.broker_user,
            password=settings.password,
            vhost=settings.broker_vhost,
            tls=settings.broker_tls,
            ca=settings.broker_ca,
            management_url=f"{scheme}://{settings.broker_host}:{settings.management_port}",
            name=name,
        )
    )
