"""The adapter against scripted bytes: no server, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pika import ConnectionParameters, exceptions, frame, spec

from funcatron.brokers.amqp import adapter as adapters
from funcatron.brokers.amqp import codec, properties
from funcatron.brokers.amqp.adapter import Adapter
from funcatron.brokers.amqp.channel import AmqpDelivery, DeliveryChannel
from funcatron.brokers.amqp.confirms import ConfirmChannel
from funcatron.brokers.amqp.consumers import Forwarder, Subscription
from funcatron.brokers.base import Delivery, Outgoing
from funcatron.brokers.forwarding import Target
from funcatron.errors import BadMessage, BrokerAway, BrokerError

FRAME_MAX = 4096
CHANNEL, PUBLISHING = 3, 7
VALUES = properties.encode(Outgoing(b"", "q", headers={"path": "/x"}, reply_to="back", correlation_id="r-1"))
PERSISTENT = properties.encode(Outgoing(b"", "q", persistent=True))


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.aborted = False

    def set_write_buffer_limits(self, high: int) -> None:
        """As asyncio's."""

    def write(self, data: bytes) -> None:
        """One write."""
        self.written += data
        self.writes += 1

    def writelines(self, chunks: list[bytes]) -> None:
        """One write of many."""
        self.write(b"".join(chunks))

    def abort(self) -> None:
        """End."""
        self.aborted = True


class Wire:
    """An adapter on such a transport, with a channel for deliveries."""

    def __init__(self) -> None:
        parameters = ConnectionParameters(frame_max=FRAME_MAX)
        self.adapter: Adapter = Adapter(parameters, asyncio.get_running_loop())
        self.transport = Transport()
        self.adapter._transport = self.transport  # as after connection_made
        self.adapter.frame_max = FRAME_MAX
        self.channel = DeliveryChannel(self.adapter, SimpleNamespace(channel_number=CHANNEL))
        self.adapter.hot[CHANNEL] = self.channel
        self.failed: list[tuple[AmqpDelivery, Exception]] = []

    def subscribe(self, handler: Callable[[Delivery], None], prefetch: int = 1000) -> Subscription:
        """Let messages go to a handler."""
        made = Subscription("q", handler, prefetch, lambda *it: self.failed.append(it), lambda *_: None)
        self.channel.takers[b"f1"] = made
        return made

    def forward(self, route: Any, rest: Callable[[Delivery], None]) -> list[tuple[Target, AmqpDelivery]]:
        """Let messages go on; returns what is to be confirmed."""
        confirmed: list[tuple[Target, AmqpDelivery]] = []
        made = Forwarder("q", route, rest, 1000, lambda *_: None, lambda *_: None, lambda *it: confirmed.append(it))
        made.link = SimpleNamespace(adapter=self.adapter)  # type: ignore[assignment]  # all that it uses of a link
        made._use(PUBLISHING)
        self.channel.takers[b"f1"] = made
        return confirmed

    def feed(self, raw: bytes, step: int = 0) -> None:
        """Let bytes come in, `step` at a time."""
        for at in range(0, len(raw), step or len(raw)):
            self.adapter.data_received(raw[at : at + (step or len(raw))])

    @property
    def frames(self) -> list[Any]:
        """What was written, decoded by pika."""
        raw, found = self.transport.written, []
        while raw:
            size, one = frame.decode_frame(raw)
            assert one is not None
            found.append(one)
            raw = raw[size:]
        return found


def delivered(tag: int, body: bytes, values: bytes = VALUES, key: str = "host/x", mark: bytes = b"f1") -> bytes:
    """Return the frames of a delivery."""
    arguments = codec.short(mark) + codec.TAG.pack(tag, 0) + codec.short("ex") + codec.short(key)
    size = 4 + len(arguments)
    method = codec.METHOD_FRAME.pack(codec.METHOD, CHANNEL, size, codec.BASIC_DELIVER) + arguments + codec.END_BYTE
    return b"".join(codec.message(method, CHANNEL, values, body, FRAME_MAX))


@pytest.fixture
async def wire() -> Wire:
    """A wire."""
    return Wire()


BODIES = [b"", b"a", b"\xce\xce\xce", b"b" * 4088, b"c" * 4089, b"d" * 20_000, b"e"]


@pytest.mark.parametrize("step", [0, 1, 2, 7, 8, 11, 100, 4096, 5000])
async def test_deliveries_are_read_however_the_bytes_are_cut(wire: Wire, step: int) -> None:
    """In order, whole, with their properties."""
    got: list[Delivery] = []
    wire.subscribe(got.append)
    stream = b"".join(delivered(number, body) for number, body in enumerate(BODIES, 1))
    wire.feed(stream + frame.Heartbeat().marshal() + delivered(len(BODIES) + 1, b"last"), step)
    assert [it.body for it in got] == [*BODIES, b"last"]
    assert all((it.routing_key, it.exchange, it.redelivered) == ("host/x", "ex", False) for it in got)
    assert all(it.properties.headers == {"path": "/x"} for it in got)


async def test_frames_of_other_channels_may_stand_between(wire: Wire) -> None:
    """Deliveries of one channel do not mix, those of two may."""
    got: list[Delivery] = []
    wire.subscribe(got.append)
    other = DeliveryChannel(wire.adapter, SimpleNamespace(channel_number=4))
    wire.adapter.hot[4] = other
    other.takers[b"f1"] = wire.channel.takers[b"f1"]
    first, second = delivered(1, b"one" * 3000), delivered(1, b"two" * 3000).replace(b"\x00\x03\x00", b"\x00\x04\x00")
    mixed, cuts = b"", []
    for raw in (first, second):
        parts, rest = [], raw
        while rest:
            size = 8 + int.from_bytes(rest[3:7], "big")
            parts.append(rest[:size])
            rest = rest[size:]
        cuts.append(parts)
    for one, two in zip(*cuts, strict=True):
        mixed += one[:1] + CHANNEL.to_bytes(2, "big") + one[3:] + two[:1] + (4).to_bytes(2, "big") + two[3:]
    wire.feed(mixed)
    assert [it.body for it in got] == [b"one" * 3000, b"two" * 3000]


async def test_what_one_read_causes_goes_out_in_one_write_acks_last(wire: Wire) -> None:
    """Publishes in their order, then one ack for all."""
    confirm = codec.publish_method(2, "", "back")

    def handle(delivery: Delivery) -> None:
        delivery.ack()
        wire.adapter.write_message(codec.message(confirm, 2, VALUES, delivery.body, FRAME_MAX))

    wire.subscribe(handle)
    wire.feed(b"".join(delivered(tag, b"%d" % tag) for tag in range(1, 6)))
    assert wire.transport.writes == 1
    *answers, last = wire.frames
    assert [it.fragment for it in answers[2::3]] == [b"1", b"2", b"3", b"4", b"5"]
    assert (last.channel_number, last.method.delivery_tag, last.method.multiple) == (CHANNEL, 5, True)


async def test_what_is_written_outside_of_a_read_goes_out_at_the_end_of_the_turn(wire: Wire) -> None:
    """All of it in one write."""
    got: list[Delivery] = []
    wire.subscribe(got.append)
    wire.feed(b"".join(delivered(tag, b"x") for tag in range(1, 4)))
    for delivery in got:
        delivery.ack()
    assert wire.transport.writes == 0
    await asyncio.sleep(0)
    assert (wire.transport.writes, wire.frames[0].method.delivery_tag) == (1, 3)


async def test_while_the_broker_does_not_read_no_acks_go_out_and_publishes_are_bounded(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the broker sends no more than the prefetch; all goes out when it reads again."""
    monkeypatch.setattr(adapters, "MAX_WAITING", 10_000)
    wire.subscribe(lambda delivery: delivery.ack())
    wire.adapter.pause_writing()
    wire.feed(delivered(1, b"x"))
    message = codec.message(b"", 2, VALUES, b"x" * 1000, FRAME_MAX)
    for _ in range(10):
        wire.adapter.write_message(message)
    with pytest.raises(BrokerError, match="does not read"):
        wire.adapter.write_message(message)
    await asyncio.sleep(0)
    assert wire.transport.writes == 0
    wire.adapter.resume_writing()
    assert wire.transport.writes == 1
    assert wire.transport.written.endswith(codec.ack(CHANNEL, 1, True))
    wire.adapter.write_message(codec.message(b"", 2, VALUES, b"x", FRAME_MAX))


@pytest.mark.parametrize(
    "raw",
    [
        delivered(1, b"x")[:-1] + b"\x00",
        codec.FRAME.pack(codec.BODY, CHANNEL, 3) + b"abc\xce",
        codec.FRAME.pack(codec.HEADER, CHANNEL, 14) + b"\0" * 14 + b"\xce",
        codec.FRAME.pack(9, 0, 0) + b"\xce",
        codec.FRAME.pack(codec.METHOD, 0, 4) + b"\xff\xff\xff\xff\xce",
        codec.FRAME.pack(codec.METHOD, CHANNEL, 2**31) + b"x",
        b"AMQP\0\0\x09\x01",
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10,
    ],
)
async def test_bytes_that_are_no_amqp_end_the_connection_and_nothing_else(wire: Wire, raw: bytes) -> None:
    """With a reason; no exception leaves, and nothing is waited for."""
    wire.subscribe(lambda delivery: delivery.ack())
    wire.feed(raw)
    assert wire.transport.aborted
    wire.adapter.connection_lost(None)
    with pytest.raises(exceptions.AMQPError):
        await wire.adapter.opened


async def test_a_message_for_nobody_is_given_back(wire: Wire) -> None:
    """Its consumer was just cancelled."""
    wire.feed(delivered(1, b"x", mark=b"gone"))
    wire.feed(delivered(2, b"x" * 9000, mark=b"gone"))
    assert [(it.method.delivery_tag, it.method.requeue) for it in wire.frames] == [(1, True), (2, True)]


async def test_malformed_properties_are_a_bad_message_when_they_are_read(wire: Wire) -> None:
    """The body can still be had, and the message settled."""
    got: list[Delivery] = []
    wire.subscribe(got.append)
    wire.feed(delivered(1, b"x", values=b"\xff\xff\xff"))
    with pytest.raises(BadMessage):
        _ = got[0].properties
    got[0].ack()


async def test_a_handler_that_raises_does_not_end_the_reading(wire: Wire) -> None:
    """Each failure is reported with its message."""

    def handle(delivery: Delivery) -> None:
        if delivery.body == b"2":
            raise ValueError("no")
        delivery.ack()

    wire.subscribe(handle)
    wire.feed(b"".join(delivered(tag, b"%d" % tag) for tag in (1, 2, 3)))
    assert [(it.body, str(err)) for it, err in wire.failed] == [(b"2", "no")]
    assert [it.method.delivery_tag for it in wire.frames] == [1, 3]


async def test_a_handler_never_holds_more_than_the_prefetch(wire: Wire) -> None:
    """What the broker sends beyond it, after a change, waits."""
    got: list[Delivery] = []
    subscription = wire.subscribe(got.append, prefetch=2)
    wire.feed(b"".join(delivered(tag, b"%d" % tag) for tag in range(1, 6)))
    assert len(got) == 2
    got[0].ack()
    assert [it.body for it in got] == [b"1", b"2", b"3"]
    subscription.prefetch = 10
    got[1].ack()
    assert len(got) == 5


@pytest.mark.parametrize("step", [0, 1, 7, 100, 4096])
async def test_forwarding_passes_header_and_body_frames_on_unchanged(wire: Wire, step: int) -> None:
    """But for the number of the channel; then it acks."""
    there = Target("funcs", "func.a")
    wire.forward(lambda _key, _headers: there, lambda _: None)
    wire.feed(b"".join(delivered(tag, body) for tag, body in enumerate(BODIES, 1)), step)
    sent = [it for it in wire.frames if it.channel_number == PUBLISHING]
    expected = b"".join(
        b"".join(
            codec.message(codec.publish_method(PUBLISHING, "funcs", "func.a"), PUBLISHING, VALUES, body, FRAME_MAX)
        )
        for body in BODIES
    )
    assert b"".join(it.marshal() for it in sent) == expected
    acks = [it.method for it in wire.frames if it.channel_number == CHANNEL]
    assert acks[-1].delivery_tag == len(BODIES)
    assert acks[-1].multiple
    if not step:
        assert len(acks) == 1


@pytest.mark.parametrize("step", [0, 50])
async def test_forwarding_leaves_the_rest_and_what_is_persistent_to_others(wire: Wire, step: int) -> None:
    """They are handed over whole, and not acked."""
    rest: list[Delivery] = []
    there = Target("funcs", "func.a")
    confirmed = wire.forward(lambda key, _headers: None if key == "no/where" else there, rest.append)
    stream = [
        delivered(1, b"a"),
        delivered(2, b"b" * 9000, key="no/where"),
        delivered(3, b"c" * 9000, values=PERSISTENT),
        delivered(4, b"d"),
        delivered(5, b"e", key="no/where"),
    ]
    wire.feed(b"".join(stream), step)
    assert [it.body for it in rest] == [b"b" * 9000, b"e"]
    assert [(target, it.body) for target, it in confirmed] == [(there, b"c" * 9000)]
    await asyncio.sleep(0)
    acked = {it.method.delivery_tag for it in wire.frames if it.channel_number == CHANNEL}
    assert acked == {1, 4}


async def test_the_route_reads_headers_only_when_it_asks(wire: Wire) -> None:
    """From the frame, before anything is copied."""
    seen = []

    def route(key: str, headers: Callable[[], dict[str, str]]) -> Target:
        seen.append((key, headers()))
        return Target("", "x")

    wire.forward(route, lambda _: None)
    wire.feed(delivered(1, b"a", key="k") + delivered(2, b"b" * 9000, key="l"))
    assert seen == [("k", {"path": "/x"}), ("l", {"path": "/x"})]


async def test_confirms_come_one_by_one_or_for_all_up_to_a_tag(wire: Wire) -> None:
    """Nacks refuse; returns come before the confirm and are told apart by the message id."""
    confirms = ConfirmChannel(wire.adapter, 9)
    waiting = [confirms.publish("ex", "k", VALUES, b"x") for _ in range(6)]
    confirms.returned("5", "NO_ROUTE")
    for method in (spec.Basic.Ack(2), spec.Basic.Nack(1), spec.Basic.Ack(5, multiple=True)):
        wire.feed(frame.Method(9, method).marshal())
    results = await asyncio.gather(*waiting[:5], return_exceptions=True)
    assert [type(it) for it in results] == [BrokerError, type(None), type(None), type(None), BrokerError]
    assert "NO_ROUTE" in str(results[4])
    waiting.append(confirms.publish("ex", "k", VALUES, b"x"))
    waiting[5].cancel()
    confirms.fail(lambda: BrokerAway("lost"))
    with pytest.raises(BrokerAway):
        await waiting[6]
