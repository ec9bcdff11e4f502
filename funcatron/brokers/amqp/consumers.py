"""Consumers over a link: to a handler, or on to another queue. They outlive the link."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from funcatron.brokers.amqp import codec, properties
from funcatron.brokers.amqp.channel import BEFORE_VALUES, AmqpDelivery, DeliveryChannel
from funcatron.brokers.amqp.link import Attached, Link
from funcatron.brokers.base import Consumer, Handler
from funcatron.brokers.forwarding import Route, Target
from funcatron.errors import BrokerAway, BrokerError

log = logging.getLogger("funcatron.brokers.amqp")

Failed = Callable[[AmqpDelivery, Exception], None]  # what becomes of a message whose handler raised
Lost = Callable[["Subscription", Exception], None]  # called when the broker ended a consumer


class Subscription(Consumer):
    """A consumer whose messages go to a handler.

    The broker keeps to the prefetch that a consumer was started with, so a change starts a new one in its place; what
    would be too much until the old one's messages are settled waits here.
    """

    forwards = False

    def __init__(self, queue: str, handler: Handler, prefetch: int, failed: Failed, lost: Lost) -> None:
        self.queue = queue
        self.prefetch = _checked(prefetch)
        self.cancelled = False
        self.reviving = False  # whether a task tries to start it again
        self.link: Link | None = None
        self.attached: Attached | None = None
        self._changing = asyncio.Lock()
        self._failed = failed
        self._handler = handler
        self._held = 0
        self._lost = lost
        self._parked: deque[AmqpDelivery] = deque()

    async def attach(self, link: Link) -> None:
        """Start on a link, unless it was cancelled. Raises BrokerError."""
        async with self._changing:
            if not self.cancelled:
                await self._attach(link)

    async def _attach(self, link: Link) -> None:
        if self.link is not link:
            self._held = 0
            self._parked.clear()
            self.link = link
        self.attached = await link.attach(self.queue, self, self.prefetch, self._on_end)

    def _on_end(self, reason: Exception) -> None:
        self.attached = None
        if not self.cancelled and not isinstance(reason, BrokerAway):  # the next connection starts it otherwise
            self._lost(self, reason)

    async def cancel(self) -> None:
        """Stop taking messages. The handler gets what waits here, and what the broker sends until it knows."""
        self.cancelled = True
        while self._parked:
            self._handle(self._parked.popleft())
        async with self._changing:
            await self._detach()

    async def _detach(self) -> None:
        link, attached, self.attached = self.link, self.attached, None
        if link is not None and attached is not None:
            try:
                await link.detach(attached)
            except BrokerAway:
                log.debug("the consumer of %s ended with its connection", self.queue)

    async def set_prefetch(self, prefetch: int) -> None:
        """Start anew with another prefetch."""
        async with self._changing:
            if _checked(prefetch) == self.prefetch or self.cancelled:
                return
            self.prefetch = prefetch
            link = self.link
            if self.attached is not None and link is not None:
                await self._detach()
                try:
                    await self._attach(link)
                except BrokerAway:
                    log.debug("the consumer of %s starts anew with the next connection", self.queue)
                except BrokerError as err:
                    self._lost(self, err)
            self._unpark()

    def whole(self, delivery: AmqpDelivery) -> None:
        """Take a message."""
        delivery.owner = self
        self._held += 1
        if self._held > self.prefetch and not self.cancelled:
            self._parked.append(delivery)
        else:
            self._handle(delivery)

    def _handle(self, delivery: AmqpDelivery) -> None:
        try:
            self._handler(delivery)
        except Exception as err:  # noqa: BLE001  # a handler's fault costs its message, not the consumer
            self._failed(delivery, err)

    def released(self) -> None:
        """A message was settled."""
        self._held -= 1
        if self._parked:
            self._unpark()

    def _unpark(self) -> None:
        while self._parked and self._held - len(self._parked) < self.prefetch:
            self._handle(self._parked.popleft())

    def forward(self, channel: DeliveryChannel, tag: int, data: bytes, cuts: tuple[int, int, int, int]) -> bool:
        """Never."""
        return False

    def relay(self, delivery: AmqpDelivery, header: bytes) -> bool:
        """Never."""
        return False

    def relay_body(self, frame: bytes) -> None:
        """Never."""


def _checked(prefetch: int) -> int:
    if prefetch < 1:
        raise ValueError(f"a consumer takes at least one message at a time, not {prefetch}")
    return prefetch


class Forwarder(Subscription):
    """A consumer whose messages go on by `route`, their content frames as they came."""

    forwards = True

    def __init__(
        self,
        queue: str,
        route: Route,
        rest: Handler,
        prefetch: int,
        failed: Failed,
        lost: Lost,
        confirm: Callable[[Target, AmqpDelivery], None],
    ) -> None:
        super().__init__(queue, rest, prefetch, failed, lost)
        self._route = route
        self._confirm = confirm
        self._raw = b""  # what _headers reads
        self._raw_at = 0
        self._methods: dict[Target, bytes] = {}
        self._alternates: dict[tuple[str, str], str] = {}
        self._header = self._body = b""

    async def _attach(self, link: Link) -> None:
        if self.link is not link:
            await self._open(link)  # a channel to publish by that nothing else writes to
        await super()._attach(link)

    async def _open(self, link: Link) -> None:
        channel = await link.channel(gone=lambda reason: self._reopen(link, reason))
        channel.add_on_return_callback(partial(self._returned, link))
        self._use(channel.channel_number)

    def _returned(self, link: Link, _channel: object, method: Any, values: Any, body: bytes) -> None:
        """No queue took a message: it goes to its target's alternate exchange."""
        alternate = self._alternates.get((method.exchange, method.routing_key), "")
        try:
            link.publish(alternate, method.routing_key, b"".join(values.encode()), body)
        except BrokerError as err:
            log.error("a message that no queue took could not go to %r: %s", alternate, err)

    def _use(self, number: int) -> None:
        self._methods.clear()
        self._number = number
        self._header = codec.FRAME.pack(codec.HEADER, number, 0)[:3]
        self._body = codec.FRAME.pack(codec.BODY, number, 0)[:3]

    def _reopen(self, link: Link, reason: Exception) -> None:
        if link.adapter.is_open:
            log.error("the broker refused a forwarded message: %s", reason)
            self._use(link.channel_now(lambda why: self._reopen(link, why), partial(self._returned, link)))

    def forward(self, channel: DeliveryChannel, tag: int, data: bytes, cuts: tuple[int, int, int, int]) -> bool:
        """Send a message on by its frames, with this channel's number in them."""
        at, header, body, end = cuts
        at += 1 + data[at]
        key = data[at + 1 : at + 1 + data[at]].decode("utf-8", "surrogateescape")
        self._raw, self._raw_at = data, header + BEFORE_VALUES
        target = self._target(key)
        if target is None or properties.delivery_mode(data, self._raw_at) == 2:
            return False
        adapter = channel.adapter
        start = self._methods.get(target) or self._method(target)
        if body == end:
            adapter.write_frames((start, data[header + 3 : end]))
        else:
            adapter.write_frames((start, data[header + 3 : body], self._body, data[body + 3 : end]))
        channel.tags.ack(tag)
        adapter.settle(channel.tags)
        return True

    def relay(self, delivery: AmqpDelivery, header: bytes) -> bool:
        """Begin to send a large message on as it comes in."""
        self._raw, self._raw_at = delivery.values, 0
        target = self._target(delivery.routing_key)
        if target is None or properties.delivery_mode(delivery.values) == 2 or self.link is None:
            return False
        start = self._methods.get(target) or self._method(target)
        self.link.adapter.write_frames((start, header[3:]))
        return True

    def relay_body(self, frame: bytes) -> None:
        """Send a body frame on."""
        if self.link is not None:
            self.link.adapter.write_frames((self._body, frame[3:]))

    def whole(self, delivery: AmqpDelivery) -> None:
        """Take a message that could not go on by its frames: nobody's, or one to be confirmed."""
        self._raw, self._raw_at = delivery.values, 0
        target = self._target(delivery.routing_key)
        if target is None:
            super().whole(delivery)
        else:
            self._confirm(target, delivery)

    def _target(self, key: str) -> Target | None:
        try:
            return self._route(key, self._headers)
        except Exception as err:  # noqa: BLE001  # a route that fails is no route; `rest` decides
            log.warning("no route could be found for %r: %s", key[:100], err)
            return None

    def _headers(self) -> Mapping[str, str]:
        return properties.headers_of(self._raw, self._raw_at)

    def _method(self, target: Target) -> bytes:
        """Encode basic.publish and the start of the content header frame that follows it."""
        if len(self._methods) > 4096:
            self._methods.clear()
            self._alternates.clear()
        if target.alternate:
            self._alternates[target.exchange, target.routing_key] = target.alternate
        mandatory = bool(target.alternate)
        method = codec.publish_method(self._number, target.exchange, target.routing_key, mandatory=mandatory)
        start = method + self._header
        self._methods[target] = start
        return start
