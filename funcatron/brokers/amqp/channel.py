"""Deliveries of one channel: from frames to messages, and their settling."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from funcatron.brokers.amqp import properties
from funcatron.brokers.amqp.adapter import Adapter
from funcatron.brokers.amqp.codec import BODY, END, FRAME, HEADER, HEADER_FRAME, OVERHEAD, TAG
from funcatron.brokers.amqp.tags import Tags
from funcatron.brokers.base import Delivery, Properties

BEFORE_VALUES = 19  # bytes of a content header frame before the properties
_BEFORE_ARGUMENTS = 11  # bytes of a method frame before the arguments
_ENCODED = {"attempt": b"attempt"}  # what every message is asked for


class Taker(Protocol):
    """Who gets the messages of a consumer tag."""

    forwards: bool  # whether `forward` and `relay` are to be asked

    def whole(self, delivery: AmqpDelivery) -> None:
        """Take a message."""

    def forward(self, channel: DeliveryChannel, tag: int, data: bytes, cuts: tuple[int, int, int, int]) -> bool:
        """Maybe send a message on by its frames; False: `whole` shall have it. In `data`, at the `cuts`: arguments of
        basic.deliver from the exchange on, content header frame, body frame (none if empty), end."""

    def relay(self, delivery: AmqpDelivery, header: bytes) -> bool:
        """Maybe begin to send a message on whose body frames are still to come, each to `relay_body`."""

    def relay_body(self, frame: bytes) -> None:
        """Send a body frame on."""


class AmqpDelivery(Delivery):
    """A delivery whose routing key and properties are decoded when they are asked for."""

    __slots__ = ("_channel", "_properties", "arguments", "owner", "tag", "values")

    def __init__(self, channel: DeliveryChannel, tag: int, redelivered: bool, arguments: bytes, values: bytes) -> None:
        self._channel: DeliveryChannel | None = channel
        self._properties: Properties | None = None
        self.arguments = arguments  # of basic.deliver, from the exchange on
        self.body = b""
        self.owner: Holder | None = None
        self.redelivered = redelivered
        self.tag = tag
        self.values = values  # encoded properties

    @property
    def exchange(self) -> str:  # type: ignore[override]  # read-only, and decoded late
        """The exchange that it came by."""
        return self.arguments[1 : 1 + self.arguments[0]].decode("utf-8", "replace")

    @property
    def routing_key(self) -> str:  # type: ignore[override]  # read-only, and decoded late
        """The routing key that it was published with."""
        arguments = self.arguments
        return arguments[arguments[0] + 2 :].decode("utf-8", "surrogateescape")

    @property
    def properties(self) -> Properties:
        """Headers and the rest. Raises BadMessage when they are malformed."""
        if self._properties is None:
            self._properties = properties.decode(self.values)
        return self._properties

    def origin(self) -> tuple[str | None, str | None]:
        """Return reply-to and correlation id, the rest skipped. Raises BadMessage when they are malformed."""
        return properties.origin(self.values)

    def may_have(self, header: str) -> bool:
        """Look for a header's name in the encoded properties, where a value may hold it as well."""
        return (_ENCODED.get(header) or header.encode()) in self.values

    def ack(self) -> None:
        """Count it as done."""
        channel = self._channel
        if channel is not None:
            self._channel = None
            if channel.open:
                channel.tags.ack(self.tag)
                channel.adapter.settle(channel.tags)
                if self.owner is not None:
                    self.owner.released()

    def nack(self, *, requeue: bool) -> None:
        """Give it back, or drop it."""
        channel = self._channel
        if channel is not None:
            self._channel = None
            if channel.open:
                channel.adapter.write(channel.tags.nack(self.tag, requeue))
                if self.owner is not None:
                    self.owner.released()

    @property
    def settled(self) -> bool:
        """Whether nothing is to be done any more."""
        return self._channel is None or not self._channel.open


class Holder(Protocol):
    """Who counts unsettled messages."""

    def released(self) -> None:
        """One more is settled."""


class DeliveryChannel:
    """An AMQP channel for consumers. Their messages come one after the other, each in frames that do not mix."""

    __slots__ = (
        "_chunks",
        "_delivery",
        "_missing",
        "_relaying",
        "_taker",
        "adapter",
        "number",
        "open",
        "pika",
        "starting",
        "tags",
        "takers",
    )

    def __init__(self, adapter: Adapter, pika: Any) -> None:
        self.adapter = adapter
        self.number: int = pika.channel_number
        self.pika = pika  # pika's channel
        self.open = True
        self.starting = asyncio.Lock()  # held while a consumer is being started
        self.tags = Tags(self.number)
        self.takers: dict[bytes, Taker] = {}
        self._chunks: list[bytes] = []
        self._delivery: AmqpDelivery | None = None
        self._missing = 0
        self._relaying = False
        self._taker: Taker | None = None

    def deliver(self, data: bytes, start: int, stop: int, end: int) -> int:
        """Take basic.deliver, with its content when all of it is there: the usual case, by one look at each frame."""
        at = start + _BEFORE_ARGUMENTS
        after = at + 1 + data[at]
        taker = self.takers.get(data[at + 1 : after])
        tag, redelivered = TAG.unpack_from(data, after)
        last: int
        if end - stop >= BEFORE_VALUES:
            kind, channel, size, _, _, length = HEADER_FRAME.unpack_from(data, stop)
            body = stop + OVERHEAD + size
            last = body + OVERHEAD + length if length else body
            if (
                last <= end
                and kind == HEADER
                and channel == self.number
                and data[body - 1] == END
                and data[last - 1] == END
                and (not length or FRAME.unpack_from(data, body) == (BODY, channel, length))
            ):
                cuts = (after + 9, stop, body, last)
                if taker is not None and taker.forwards and taker.forward(self, tag, data, cuts):
                    return last
                values = data[stop + BEFORE_VALUES : body - 1]
                delivery = AmqpDelivery(self, tag, redelivered != 0, data[after + 9 : stop - 1], values)
                if length:
                    delivery.body = data[body + 7 : last - 1]
                if taker is None:  # its consumer is just being cancelled
                    delivery.nack(requeue=True)
                else:
                    taker.whole(delivery)
                return last
        self._taker = taker
        self._delivery = AmqpDelivery(self, tag, redelivered != 0, data[after + 9 : stop - 1], b"")
        return stop

    def header(self, data: bytes, start: int, stop: int) -> None:
        """Take a content header whose body is still to come (or is empty)."""
        delivery = self._delivery
        if delivery is None:
            raise ValueError("a content header without a basic.deliver")
        delivery.values = data[start + BEFORE_VALUES : stop - 1]
        self._missing = HEADER_FRAME.unpack_from(data, start)[5]
        taker = self._taker
        self._relaying = taker is not None and taker.forwards and taker.relay(delivery, data[start:stop])
        if not self._missing:
            self._complete(delivery)

    def body(self, data: bytes, start: int, stop: int) -> None:
        """Take one of several body frames."""
        delivery = self._delivery
        if delivery is None or not self._missing:
            raise ValueError("a body frame without a content header")
        self._missing -= stop - start - OVERHEAD
        if self._relaying and self._taker is not None:
            self._taker.relay_body(data[start:stop])
        else:
            self._chunks.append(data[start + 7 : stop - 1])
        if self._missing <= 0:
            self._complete(delivery)

    def _complete(self, delivery: AmqpDelivery) -> None:
        taker, chunks = self._taker, self._chunks
        self._delivery = self._taker = None
        self._chunks = []
        if self._relaying:
            self._relaying = False
            delivery.ack()
            return
        delivery.body = b"".join(chunks)
        del chunks
        if taker is None:
            delivery.nack(requeue=True)
        else:
            taker.whole(delivery)
