"""One connection to RabbitMQ, from the handshake to its loss: pika's calls as coroutines, channels by their use."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections.abc import Callable
from typing import Any

from pika import exceptions
from pika.connection import Parameters

from funcatron.brokers.amqp import codec
from funcatron.brokers.amqp.adapter import Adapter
from funcatron.brokers.amqp.channel import DeliveryChannel, Taker
from funcatron.brokers.amqp.confirms import ConfirmChannel
from funcatron.errors import BrokerAway, BrokerError

log = logging.getLogger("funcatron.brokers.amqp")

MAX_DELIVERY_CHANNELS = 128  # beyond, consumers share channels: each costs the broker four processes
_MAX_METHODS = 4096  # encoded basic.publish frames that are kept

# What pika's calls take last: a function that gets the reply.
Start = Callable[[Callable[[Any], None]], object]


class Link:
    """An open connection. Its calls raise BrokerError when the broker refuses, BrokerAway when the link is lost."""

    def __init__(self, adapter: Adapter, loop: asyncio.AbstractEventLoop) -> None:
        self.adapter = adapter
        self.blocked: str | None = None
        self._loop = loop
        self._calls: dict[Any, set[asyncio.Future[Any]]] = {}  # by pika channel
        self._control: Any = None
        self._control_lock = asyncio.Lock()
        self._confirm: ConfirmChannel | None = None
        self._confirm_lock = asyncio.Lock()
        self._attach_lock = asyncio.Lock()
        self._attached: dict[str, Attached] = {}  # by consumer tag
        self._deliveries: dict[int, DeliveryChannel] = {}
        self._tags = itertools.count(1)
        self._publish_number = 0
        self._methods: dict[tuple[str, str], bytes] = {}
        adapter.add_on_connection_blocked_callback(self._on_blocked)
        adapter.add_on_connection_unblocked_callback(self._on_unblocked)

    @classmethod
    async def open(cls, parameters: Parameters, tls: ssl.SSLContext | None, patience: float) -> Link:
        """Connect, authenticate and open what publishing needs. Raises BrokerError or OSError."""
        loop = asyncio.get_running_loop()
        adapter: Adapter = Adapter(parameters, loop)
        adapter.opened.add_done_callback(_seen)
        try:
            async with asyncio.timeout(patience):
                host = parameters.host if tls else None
                await loop.create_connection(
                    lambda: adapter, parameters.host, parameters.port, ssl=tls, server_hostname=host
                )
                await adapter.opened
                link = cls(adapter, loop)
                await link._open_publishing()
        except TimeoutError as err:
            adapter.abort()
            raise BrokerAway(f"no answer from the broker within {patience:g} s") from err
        except exceptions.AMQPError as err:
            adapter.abort()
            raise BrokerError(_words(err)) from err
        except BaseException:
            adapter.abort()
            raise
        return link

    async def close(self, patience: float) -> None:
        """Send what is to be sent, then say goodbye; give up on that after `patience` seconds."""
        adapter = self.adapter
        if adapter.is_open:
            adapter.flush()
            adapter.close()
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(adapter.lost)
        except TimeoutError:
            adapter.abort()
            await asyncio.shield(adapter.lost)

    # pika's calls as coroutines

    async def call(self, start: Callable[[Any, Callable[[Any], None]], object]) -> Any:
        """Make one of pika's calls on the control channel, one at a time, and return the reply."""
        async with self._control_lock:
            if self._control is None or not self._control.is_open:
                self._control = await self.channel()
            control = self._control
            return await self.rpc(control, lambda done: start(control, done))

    async def channel(self, gone: Callable[[Exception], None] | None = None) -> Any:
        """Open a pika channel; `gone` is called with the reason when it is closed by the broker or lost."""
        if not self.adapter.is_open:
            raise BrokerAway("the connection to the broker is lost")
        opened: asyncio.Future[Any] = self._loop.create_future()
        try:
            channel = self.adapter.channel(on_open_callback=lambda it: _answer(opened, it))
        except exceptions.NoFreeChannels as err:
            raise BrokerError("the broker allows no more channels on a connection") from err
        self._calls[channel] = {opened}
        channel.add_on_close_callback(lambda it, reason: self._on_channel_closed(it, reason, gone))
        return await opened

    def channel_now(
        self, gone: Callable[[Exception], None], returned: Callable[[Any, Any, Any, bytes], None] | None = None
    ) -> int:
        """Open a channel for publishing and return its number at once: its opening goes out before what is published,
        so nothing needs to wait for the reply. `returned` gets what no queue took of what is mandatory."""
        channel = self.adapter.channel()
        if returned is not None:
            channel.add_on_return_callback(returned)
        self._calls[channel] = set()
        channel.add_on_close_callback(lambda it, reason: self._on_channel_closed(it, reason, gone))
        return int(channel.channel_number)

    async def rpc(self, channel: Any, start: Start) -> Any:
        """Make one of pika's calls on a channel and return the reply."""
        waiting = self._calls.get(channel)
        if waiting is None:
            raise BrokerAway("the channel is closed")
        reply: asyncio.Future[Any] = self._loop.create_future()
        waiting.add(reply)
        try:
            start(lambda frame: _answer(reply, frame))
            return await reply
        except exceptions.AMQPError as err:
            raise BrokerAway(_words(err)) from err
        finally:
            waiting.discard(reply)

    def _on_channel_closed(self, channel: Any, reason: Exception, gone: Callable[[Exception], None] | None) -> None:
        error = _translate(reason)
        self.adapter.hot.pop(channel.channel_number, None)
        self.adapter.confirms.pop(channel.channel_number, None)
        for waiting in self._calls.pop(channel, ()):
            if not waiting.done():
                waiting.set_exception(error)
        if gone is not None:
            gone(error)

    def _on_blocked(self, _connection: object, frame: Any) -> None:
        self.blocked = frame.method.reason or "no reason given"
        log.warning("the broker takes no messages now: %s", self.blocked)

    def _on_unblocked(self, _connection: object, _frame: object) -> None:
        self.blocked = None
        log.info("the broker takes messages again")

    # publishing

    async def _open_publishing(self) -> None:
        channel = await self.channel(gone=self._on_publishing_closed)
        self._publish_number = channel.channel_number
        self._methods.clear()

    def _on_publishing_closed(self, reason: Exception) -> None:
        if not self.adapter.is_open:
            return
        log.error("the broker refused a message: %s", reason)
        self._publish_number = self.channel_now(self._on_publishing_closed)
        self._methods.clear()

    def publish(self, exchange: str, routing_key: str, values: bytes, body: bytes) -> None:
        """Write a message with encoded properties. Raises BrokerError when it cannot be written."""
        method = self._methods.get((exchange, routing_key))
        if method is None:
            if len(self._methods) >= _MAX_METHODS:
                self._methods.clear()
            method = codec.publish_method(self._publish_number, exchange, routing_key)
            self._methods[exchange, routing_key] = method
        self.adapter.write_message(codec.message(method, self._publish_number, values, body, self.adapter.frame_max))

    async def confirms(self) -> ConfirmChannel:
        """Return the channel for publishing with confirms, opened on first use."""
        async with self._confirm_lock:
            if self._confirm is None:
                channel = await self.channel(gone=self._on_confirms_closed)
                await self.rpc(channel, lambda done: channel.confirm_delivery(_never, callback=done))
                confirm = ConfirmChannel(self.adapter, channel.channel_number)

                def returned(_channel: object, method: Any, properties: Any, _body: bytes) -> None:
                    where = f"exchange {method.exchange!r}, key {method.routing_key!r}"
                    confirm.returned(properties.message_id, f"{method.reply_text} ({where})")

                channel.add_on_return_callback(returned)
                self._confirm = confirm
            return self._confirm

    def _on_confirms_closed(self, reason: Exception) -> None:
        confirm, self._confirm = self._confirm, None
        if confirm is not None:
            confirm.fail(lambda: type(reason)(*reason.args))

    # consuming

    async def attach(self, queue: str, taker: Taker, prefetch: int, gone: Callable[[Exception], None]) -> Attached:
        """Start a consumer whose messages go to `taker`. `gone` is called when the broker ends it: the queue was
        deleted, or its channel closed."""
        async with self._attach_lock:
            channel = await self._delivery_channel()
            shared = bool(channel.takers)
            attached = Attached(channel, f"f{next(self._tags)}")
            channel.takers[attached.tag.encode()] = taker
            self._attached[attached.tag] = attached
        pika = channel.pika
        try:
            if shared:  # a queue that is missing would close the channel for all of them
                await self.call(lambda control, done: control.queue_declare(queue, passive=True, callback=done))
            async with channel.starting:  # the prefetch is that of the consumers that start after it
                await self.rpc(pika, lambda done: pika.basic_qos(prefetch_count=prefetch, callback=done))
                await self.rpc(
                    pika, lambda done: pika.basic_consume(queue, _never, consumer_tag=attached.tag, callback=done)
                )
        except BaseException:
            self._drop(attached)
            raise
        attached.gone = gone
        return attached

    async def detach(self, attached: Attached) -> None:
        """End a consumer; what it holds may still be settled. Idempotent."""
        attached.gone = None
        pika = attached.channel.pika
        if attached.channel.open and attached.tag in self._attached:
            await self.rpc(pika, lambda done: pika.basic_cancel(attached.tag, callback=done))
        self._drop(attached)

    def _drop(self, attached: Attached) -> None:
        self._attached.pop(attached.tag, None)
        attached.channel.takers.pop(attached.tag.encode(), None)

    async def _delivery_channel(self) -> DeliveryChannel:
        channels = self._deliveries.values()
        for each in channels:
            if not each.takers:
                return each
        if len(channels) >= min(MAX_DELIVERY_CHANNELS, (self.adapter.params.channel_max or 2047) - 8):
            return min(channels, key=lambda it: len(it.takers))
        opened: list[DeliveryChannel] = []
        pika = await self.channel(gone=lambda reason: self._on_deliveries_closed(opened, reason))
        opened.append(DeliveryChannel(self.adapter, pika))
        pika.add_on_cancel_callback(self._on_cancelled)
        self._deliveries[pika.channel_number] = opened[0]
        self.adapter.hot[pika.channel_number] = opened[0]
        return opened[0]

    def _on_deliveries_closed(self, opened: list[DeliveryChannel], reason: Exception) -> None:
        for channel in opened:
            channel.open = False
            self._deliveries.pop(channel.number, None)
            for attached in [it for it in self._attached.values() if it.channel is channel]:
                self._end(attached, reason)

    def _on_cancelled(self, frame: Any) -> None:
        attached = self._attached.get(frame.method.consumer_tag)
        if attached is not None:
            self._end(attached, BrokerError("the queue was deleted or moved"))

    def _end(self, attached: Attached, reason: Exception) -> None:
        self._drop(attached)
        if attached.gone is not None:
            attached.gone(reason)


class Attached:
    """A consumer on a link."""

    __slots__ = ("channel", "gone", "tag")

    def __init__(self, channel: DeliveryChannel, tag: str) -> None:
        self.channel = channel
        self.gone: Callable[[Exception], None] | None = None
        self.tag = tag


def _answer(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _never(_frame: object) -> None:
    """What pika would call for confirms, if it saw them."""


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()  # it is looked at, even when nobody awaits it any more


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _translate(reason: Exception) -> BrokerError:
    if isinstance(reason, exceptions.ChannelClosedByBroker):
        return BrokerError(f"the broker refused: {reason.reply_text}")
    return BrokerAway(f"the connection to the broker is lost: {_words(reason)}")
