"""What holds for every Broker."""

from __future__ import annotations

import asyncio
import time

import pytest

from funcatron.brokers.base import Broker, Delivery, Depth, Exchange, Outgoing, Properties, Queue
from funcatron.errors import BrokerAway, BrokerError, UnknownDepth
from funcatron.message.topology import DEAD_LETTER
from tests.conformance.conftest import PATIENCE, Box, World, depth_is, until


def texts(count: int) -> list[bytes]:
    """Return so many bodies, in order."""
    return [f"{number:06d}".encode() for number in range(count)]


# publish, consume, settle


async def test_a_message_arrives_with_all_that_was_sent(world: World, broker: Broker) -> None:
    """Body, key, headers, reply address, correlation id, expiration, persistence and content type travel."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=10)
    sent = Outgoing(b"\0\xff\xce body", queue, "", {"action": "x", "päth": "/ü"}, "back", "r-1", 60_000, True, "a/b")
    broker.publish(sent)
    got = await box.take()
    assert (got.body, got.routing_key, got.exchange, got.redelivered) == (sent.body, queue, "", False)
    assert got.properties == Properties({"action": "x", "päth": "/ü"}, "back", "r-1", 60_000, True, "a/b")
    assert got.origin() == ("back", "r-1")
    assert got.may_have("päth")
    assert not got.may_have("attempt")


async def test_what_was_not_sent_is_absent(world: World, broker: Broker) -> None:
    """A bare message has no headers, no addresses, no expiration, and is transient JSON."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=10)
    broker.publish(Outgoing(b"", queue))
    got = await box.take()
    assert got.body == b""
    assert got.properties == Properties({}, None, None, None, False, "application/json")
    assert got.origin() == (None, None)


async def test_a_foreign_properties_object_is_not_shared_between_messages(world: World, broker: Broker) -> None:
    """What a publisher changes after the publish does not change what was sent."""
    queue, box, headers = await world.queue(broker), Box(ack=True), {"n": "1"}
    await broker.consume(queue, box, prefetch=10)
    message = Outgoing(b"a", queue, headers=headers)
    broker.publish(message)
    message.body = b"b"
    assert (await box.take()).body == b"a"


async def test_messages_come_in_the_order_in_which_they_were_published(world: World, broker: Broker) -> None:
    """First in, first out, whatever their size and whether they are confirmed."""
    queue, box = await world.queue(broker), Box(ack=True)
    bodies = [body * (1 if number % 50 else 40_000) for number, body in enumerate(texts(500))]
    for body in bodies:
        broker.publish(Outgoing(body, queue))
    await broker.consume(queue, box, prefetch=20)
    await box.hold(500)
    assert box.bodies == bodies


async def test_consumers_of_one_queue_share_its_messages(world: World, broker: Broker) -> None:
    """Each message goes to one of them, and none stays idle while the other is full."""
    queue, one, two, other = await world.queue(broker), Box(), Box(), await world.broker()
    await broker.consume(queue, one, prefetch=5)
    await other.consume(queue, two, prefetch=5)
    for body in texts(10):
        broker.publish(Outgoing(body, queue))
    await asyncio.gather(one.hold(5), two.hold(5))
    assert sorted(one.bodies + two.bodies) == texts(10)


async def test_a_nacked_message_comes_again_to_the_front_and_is_marked(world: World, broker: Broker) -> None:
    """Requeued messages keep their order before what came later."""
    queue, box = await world.queue(broker), Box()
    consumer = await broker.consume(queue, box, prefetch=3)
    for body in texts(5):
        broker.publish(Outgoing(body, queue))
    first, second, third = list(await box.hold(3))
    await consumer.cancel()
    box.got.clear()
    second.nack(requeue=True)
    first.nack(requeue=True)
    third.ack()
    await depth_is(broker, queue, Depth(4, 0))
    again = Box(ack=True)
    await broker.consume(queue, again, prefetch=1)
    got = await again.hold(4)
    assert [(it.body, it.redelivered) for it in got] == [
        (b"000000", True),
        (b"000001", True),
        (b"000003", False),
        (b"000004", False),
    ]


async def test_a_dropped_message_does_not_come_again(world: World, broker: Broker) -> None:
    """`nack(requeue=False)` ends it."""
    queue, box = await world.queue(broker), Box()
    await broker.consume(queue, box, prefetch=1)
    broker.publish(Outgoing(b"a", queue))
    broker.publish(Outgoing(b"b", queue))
    (await box.take()).nack(requeue=False)
    assert (await box.take()).body == b"b"
    await depth_is(broker, queue, Depth(0, 1))


async def test_messages_may_be_settled_in_any_order_and_only_once(world: World, broker: Broker) -> None:
    """Settling twice does nothing; the rest stays with the consumer."""
    queue, box = await world.queue(broker), Box()
    await broker.consume(queue, box, prefetch=100)
    for body in texts(20):
        broker.publish(Outgoing(body, queue))
    got = list(await box.hold(20))
    for index in (7, 3, 19, 3, 0, 1, 2, 11):
        got[index].ack()
    await depth_is(broker, queue, Depth(0, 13))
    got[3].nack(requeue=True)
    for it in reversed(got):
        it.ack()
    await depth_is(broker, queue, Depth(0, 0))
    broker.publish(Outgoing(b"the channel still works", queue))
    await box.hold(21)


async def test_no_more_than_the_prefetch_is_unsettled(world: World, broker: Broker) -> None:
    """What is beyond stays ready in the queue."""
    queue, box = await world.queue(broker), Box()
    await broker.consume(queue, box, prefetch=3)
    for body in texts(10):
        broker.publish(Outgoing(body, queue))
    await depth_is(broker, queue, Depth(7, 3))
    assert len(box.got) == 3
    box.got[1].ack()
    await box.hold(4)
    await depth_is(broker, queue, Depth(6, 3))


async def test_the_prefetch_can_be_changed_up_and_down(world: World, broker: Broker) -> None:
    """A handler never sees more than the present one, whatever it held before."""
    queue, box = await world.queue(broker), Box()
    consumer = await broker.consume(queue, box, prefetch=2)
    for body in texts(20):
        broker.publish(Outgoing(body, queue))
    await box.hold(2)
    await consumer.set_prefetch(6)
    await box.hold(6)
    await consumer.set_prefetch(2)
    for it in box.got[:5]:
        it.ack()
    await box.hold(7)
    await until(lambda: len(box.got) == 7)
    assert box.bodies == texts(7)
    for it in list(box.got):
        it.ack()
    await box.hold(9)
    await world.queue(broker)  # a round trip: whatever the acks brought is there
    assert len(box.got) == 9
    await consumer.cancel()


async def test_changes_of_the_prefetch_at_once_leave_one_consumer(world: World, broker: Broker) -> None:
    """The last one counts; none below 1 is taken."""
    queue, box = await world.queue(broker), Box()
    consumer = await broker.consume(queue, box, prefetch=1)
    await asyncio.gather(*(consumer.set_prefetch(prefetch) for prefetch in (5, 2, 7, 3)))
    for body in texts(10):
        broker.publish(Outgoing(body, queue))
    await depth_is(broker, queue, Depth(7, 3))
    assert box.bodies == texts(3)
    for prefetch in (0, -1):
        with pytest.raises(ValueError, match="at least one"):
            await consumer.set_prefetch(prefetch)
        with pytest.raises(ValueError, match="at least one"):
            await broker.consume(queue, box, prefetch=prefetch)


async def test_a_cancelled_consumer_gets_nothing_more_and_may_settle_what_it_has(world: World, broker: Broker) -> None:
    """Cancelling is idempotent."""
    queue, box, other = await world.queue(broker), Box(), Box()
    consumer = await broker.consume(queue, box, prefetch=2)
    for body in texts(5):
        broker.publish(Outgoing(body, queue))
    await box.hold(2)
    await consumer.cancel()
    await consumer.cancel()
    box.got[0].ack()
    box.got[1].ack()
    await broker.consume(queue, other, prefetch=10)
    await other.hold(3)
    assert (box.bodies, other.bodies) == (texts(5)[:2], texts(5)[2:])


async def test_what_is_on_its_way_while_a_consumer_is_cancelled_is_not_marked_as_redelivered(
    world: World, broker: Broker
) -> None:
    """It reaches the handler, or the next consumer; each message one of them."""
    queue, box, other = await world.queue(broker), Box(), Box()
    sender = await world.broker()
    consumer = await broker.consume(queue, box, prefetch=200)
    for body in texts(400):
        sender.publish(Outgoing(body, queue))
    await box.hold(1)
    await consumer.cancel()
    before = len(box.got)
    await broker.consume(queue, other, prefetch=400)
    await other.hold(400 - before)
    assert len(box.got) == before
    assert sorted(box.bodies + other.bodies) == sorted(texts(400))
    assert not any(it.redelivered for it in box.got + other.got)


async def test_what_a_smaller_prefetch_holds_back_is_not_marked_as_redelivered_by_a_cancel(
    world: World, broker: Broker
) -> None:
    """The driver may have taken more than it may pass on."""
    queue, box, other = await world.queue(broker), Box(), Box()
    consumer = await broker.consume(queue, box, prefetch=4)
    for body in texts(10):
        broker.publish(Outgoing(body, queue))
    await box.hold(4)
    await consumer.set_prefetch(2)
    await asyncio.wait_for(consumer.cancel(), 5)
    before = len(box.got)
    await broker.consume(queue, other, prefetch=10)
    await other.hold(10 - before)
    assert box.bodies + other.bodies == texts(10)
    assert not any(it.redelivered for it in box.got + other.got)


async def test_consuming_a_queue_that_is_not_there_is_an_error(world: World, broker: Broker) -> None:
    """And costs other consumers nothing."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=1)
    with pytest.raises(BrokerError):
        await broker.consume(world.name(), Box(), prefetch=1)
    broker.publish(Outgoing(b"still here", queue))
    assert (await box.take()).body == b"still here"


async def test_an_answer_finds_its_way_to_the_reply_queue(world: World, broker: Broker) -> None:
    """Request and answer between two connections; the answer goes out before the ack."""
    client, queue, replies = await world.broker(), await world.queue(broker), Box(ack=True)
    reply_to = world.name("reply")
    await client.declare(Queue(reply_to, durable=False, exclusive=True, auto_delete=True))
    await client.consume(reply_to, replies, prefetch=100)

    def serve(delivery: Delivery) -> None:
        found = delivery.properties
        assert found.reply_to is not None
        broker.publish(Outgoing(delivery.body.upper(), found.reply_to, correlation_id=found.correlation_id))
        delivery.ack()

    await broker.consume(queue, serve, prefetch=10)
    for number in range(100):
        client.publish(Outgoing(b"abc", queue, reply_to=reply_to, correlation_id=str(number)))
    got = await replies.hold(100)
    assert [(it.body, it.properties.correlation_id) for it in got] == [(b"ABC", str(number)) for number in range(100)]


async def test_an_answer_to_a_queue_that_is_gone_is_dropped_quietly(world: World, broker: Broker) -> None:
    """The reply queue of a Frontend that died is nobody's fault."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=1)
    broker.publish(Outgoing(b"lost", world.name("gone")))
    broker.publish(Outgoing(b"here", queue))
    assert (await box.take()).body == b"here"


async def test_an_expired_message_is_not_delivered(world: World, broker: Broker) -> None:
    """Its time begins when it is published."""
    queue, box = await world.queue(broker), Box(ack=True)
    broker.publish(Outgoing(b"too late", queue, expiration_ms=1))
    broker.publish(Outgoing(b"forever", queue))
    await depth_is(broker, queue, Depth(1, 0))
    await broker.consume(queue, box, prefetch=10)
    assert (await box.take()).body == b"forever"


@pytest.mark.parametrize("megabytes", [1, 100])
async def test_a_large_body_travels_whole(world: World, broker: Broker, megabytes: int) -> None:
    """Larger than any frame, any read and any buffer on the way."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=1)
    body = bytes(range(256)) * (4096 * megabytes)
    broker.publish(Outgoing(body, queue))
    broker.publish(Outgoing(b"next", queue))
    assert (await box.take()).body == body
    assert (await box.take()).body == b"next"


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 262_128, 262_129])
async def test_bodies_at_the_borders_of_frames_travel_whole(world: World, broker: Broker, size: int) -> None:
    """A frame of RabbitMQ takes 131,072 bytes, eight of them its own."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=1)
    broker.publish(Outgoing(b"\xce" * size, queue))
    assert (await box.take()).body == b"\xce" * size


async def test_a_thousand_queues_can_be_consumed_at_once(world: World, broker: Broker) -> None:
    """As many Funcs may be deployed; each has its own handler and prefetch."""
    other, boxes = await world.broker(), {}
    queues = [world.name() for _ in range(1000)]
    async with asyncio.timeout(3 * PATIENCE):
        for queue in queues:
            await broker.declare(Queue(queue, durable=False, exclusive=True))
            boxes[queue] = Box(ack=True)
            await broker.consume(queue, boxes[queue], prefetch=2)
        for queue in queues:
            other.publish(Outgoing(queue.encode(), queue))
        for queue, box in boxes.items():
            assert (await box.take()).body == queue.encode()


# topology


async def test_a_fanout_exchange_copies_to_every_bound_queue(world: World, broker: Broker) -> None:
    """Whatever the key."""
    exchange, boxes = world.name("fanout"), [Box(ack=True), Box(ack=True)]
    await broker.declare_exchange(Exchange(exchange, "fanout"))
    for box in boxes:
        queue = await world.queue(broker)
        await broker.bind(queue, exchange)
        await broker.bind(queue, exchange)
        await broker.consume(queue, box, prefetch=1)
    broker.publish(Outgoing(b"all", "any/key", exchange))
    broker.publish(Outgoing(b"end", "", exchange))
    for box in boxes:
        await box.hold(2)
        assert box.bodies == [b"all", b"end"]
        assert (box.got[0].exchange, box.got[0].routing_key) == (exchange, "any/key")


async def test_a_direct_exchange_routes_by_the_whole_key(world: World, broker: Broker) -> None:
    """And what no queue is bound for goes to the alternate exchange, unchanged."""
    direct, alternate = world.name("direct"), world.name("alternate")
    await broker.declare_exchange(Exchange(alternate, "fanout"))
    await broker.declare_exchange(Exchange(direct, "direct", alternate=alternate))
    await broker.declare_exchange(Exchange(direct, "direct", alternate=alternate))
    queue, rest, box, others = await world.queue(broker), await world.queue(broker), Box(ack=True), Box(ack=True)
    await broker.bind(queue, direct, "here")
    await broker.bind(rest, alternate)
    await broker.consume(queue, box, prefetch=10)
    await broker.consume(rest, others, prefetch=10)
    for key in ("here", "her", "here/more"):
        broker.publish(Outgoing(key.encode(), key, direct, {"k": key}))
    await box.hold(1)
    await others.hold(2)
    assert box.bodies == [b"here"]
    assert [(it.body, it.routing_key, it.properties.headers) for it in others.got] == [
        (b"her", "her", {"k": "her"}),
        (b"here/more", "here/more", {"k": "here/more"}),
    ]


async def test_declaring_again_changes_nothing_and_differently_is_an_error(world: World, broker: Broker) -> None:
    """An error costs nothing else."""
    name = await world.queue(broker)
    broker.publish(Outgoing(b"kept", name))
    await broker.declare(Queue(name))
    with pytest.raises(BrokerError):
        await broker.declare(Queue(name, durable=False))
    await depth_is(broker, name, Depth(1, 0))


async def test_a_queue_is_deleted_only_if_the_conditions_hold(world: World, broker: Broker) -> None:
    """A missing one counts as deleted."""
    queue, box = await world.queue(broker), Box()
    broker.publish(Outgoing(b"a", queue))
    await depth_is(broker, queue, Depth(1, 0))
    assert not await broker.delete(queue, if_empty=True)
    consumer = await broker.consume(queue, box, prefetch=1)
    assert not await broker.delete(queue, if_unused=True)
    await consumer.cancel()
    assert await broker.delete(queue, if_unused=True)
    assert await broker.delete(queue)


async def test_purging_drops_what_is_ready_and_says_how_many(world: World, broker: Broker) -> None:
    """What a consumer holds stays with it."""
    queue, box = await world.queue(broker), Box()
    for body in texts(7):
        broker.publish(Outgoing(body, queue))
    await broker.consume(queue, box, prefetch=2)
    await box.hold(2)
    await depth_is(broker, queue, Depth(5, 2))
    assert await broker.purge(queue) == 5
    await depth_is(broker, queue, Depth(0, 2))


async def test_an_unknown_depth_is_an_error_and_never_zero(world: World, broker: Broker) -> None:
    """A queue that is not there has no depth."""
    with pytest.raises(UnknownDepth):
        await broker.depth(world.name())


async def test_an_exclusive_queue_is_its_connection_s_own_and_goes_with_it(world: World, broker: Broker) -> None:
    """Others can neither consume nor redeclare it; they may publish to it."""
    owner, box, name = await world.broker(), Box(ack=True), world.name("exclusive")
    await owner.declare(Queue(name, durable=False, exclusive=True))
    await owner.consume(name, box, prefetch=1)
    with pytest.raises(BrokerError):
        await broker.consume(name, Box(), prefetch=1)
    broker.publish(Outgoing(b"hello", name))
    assert (await box.take()).body == b"hello"
    await owner.close()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await broker.publish_confirmed(Outgoing(b"anybody there?", name))
            except BrokerError:
                break


async def test_a_consumer_of_a_deleted_queue_goes_on_when_the_queue_is_there_again(
    world: World, broker: Broker
) -> None:
    """Nobody has to consume anew."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=1)
    await broker.delete(queue)
    await broker.declare(Queue(queue))
    broker.publish(Outgoing(b"back", queue))
    assert (await box.take()).body == b"back"


# confirmed publishing


async def test_a_confirmed_message_is_in_the_queue(world: World, broker: Broker) -> None:
    """The broker has it when the call returns; many may be under way at once."""
    queue = await world.queue(broker)
    await asyncio.gather(*(broker.publish_confirmed(Outgoing(body, queue, persistent=True)) for body in texts(200)))
    await depth_is(broker, queue, Depth(200, 0))


async def test_a_confirmed_message_that_no_queue_takes_is_an_error(world: World, broker: Broker) -> None:
    """Only that one; those around it are fine."""
    queue, gone = await world.queue(broker), world.name("gone")
    where = [queue, gone, queue, gone, gone, queue]
    results = await asyncio.gather(
        *(broker.publish_confirmed(Outgoing(b"x", name, persistent=True)) for name in where), return_exceptions=True
    )
    assert [isinstance(it, BrokerError) for it in results] == [name == gone for name in where]
    await depth_is(broker, queue, Depth(3, 0))


async def test_a_confirmed_message_to_an_exchange_that_is_not_there_is_an_error(world: World, broker: Broker) -> None:
    """And publishing goes on."""
    queue = await world.queue(broker)
    with pytest.raises(BrokerError):
        await broker.publish_confirmed(Outgoing(b"x", "k", world.name("exchange")))
    await broker.publish_confirmed(Outgoing(b"x", queue))


async def test_a_message_to_an_exchange_that_is_not_there_costs_the_others_nothing(
    world: World, broker: Broker
) -> None:
    """It is logged; what was published around it arrives."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=10)
    broker.publish(Outgoing(b"before", queue))
    broker.publish(Outgoing(b"lost", "k", world.name("exchange")))
    await box.hold(1)
    async with asyncio.timeout(PATIENCE):
        while b"after" not in box.bodies:
            broker.publish(Outgoing(b"after", queue))
            await asyncio.sleep(0.01)


# what goes wrong


async def test_a_handler_that_raises_costs_its_message_only(world: World, broker: Broker) -> None:
    """The message is kept in the dead-letter queue with the reason, its headers and its key."""
    queue, good, dead = await world.queue(broker), Box(ack=True), Box(ack=True)

    def handle(delivery: Delivery) -> None:
        if delivery.body == b"bad":
            raise ValueError("cannot do that")
        good(delivery)

    await broker.consume(queue, handle, prefetch=1)
    await broker.consume(DEAD_LETTER, dead, prefetch=1)
    before = time.time_ns() // 1_000_000
    broker.publish(Outgoing(b"bad", queue, "", {"action": "service"}, "back", "r-1"))
    broker.publish(Outgoing(b"good", queue))
    got = await dead.take()
    found = got.properties
    assert got.body == b"bad"
    assert (found.persistent, found.reply_to, found.correlation_id) == (True, "back", "r-1")
    assert found.headers["action"] == "service"
    assert found.headers["routing-key"] == queue
    assert "cannot do that" in found.headers["reason"]
    assert "from" in found.headers
    assert before <= int(found.headers["at"]) <= time.time_ns() // 1_000_000
    assert (await good.take()).body == b"good"
    await depth_is(broker, queue, Depth(0, 0))


async def test_without_a_connection_publishing_fails_at_once(world: World, broker: Broker) -> None:
    """And everything else does, too; after the reconnect all is well."""
    queue = await world.queue(broker)
    changes: list[bool] = []
    broker.on_change(changes.append)
    world.cut(broker)
    await until(lambda: not broker.connected or changes != [])
    await until(lambda: broker.connected)
    assert changes == [False, True]
    broker.publish(Outgoing(b"x", queue))
    await broker.close()
    with pytest.raises(BrokerAway):
        broker.publish(Outgoing(b"x", queue))
    with pytest.raises(BrokerAway):
        await broker.publish_confirmed(Outgoing(b"x", queue))
    with pytest.raises(BrokerAway):
        await broker.declare(Queue(queue))
    with pytest.raises(BrokerError):
        await broker.depth(queue)
    again = await world.broker()
    await depth_is(again, queue, Depth(1, 0))


async def test_what_was_unsettled_comes_again_after_the_connection_was_lost(world: World, broker: Broker) -> None:
    """Marked as redelivered; settling the old delivery does nothing to the new one."""
    queue, box = await world.queue(broker), Box()
    await broker.consume(queue, box, prefetch=2)
    for body in texts(3):
        await broker.publish_confirmed(Outgoing(body, queue, persistent=True))
    old = list(await box.hold(2))
    box.got.clear()
    world.cut(broker)
    new = list(await box.hold(2))
    assert [(it.body, it.redelivered) for it in new] == [(b"000000", True), (b"000001", True)]
    for it in old:
        it.ack()
        it.nack(requeue=True)
    await depth_is(broker, queue, Depth(1, 2))
    for it in new:
        it.ack()
    assert (await box.hold(3))[2].body == b"000002"


async def test_what_was_declared_and_consumed_is_again_after_a_reconnect(world: World, broker: Broker) -> None:
    """Exclusive queues with their bindings and consumers, too; cancelled consumers stay cancelled."""
    exchange, mine, box, never = world.name("fanout"), world.name("mine"), Box(ack=True), Box(ack=True)
    await broker.declare_exchange(Exchange(exchange, "fanout"))
    await broker.declare(Queue(mine, durable=False, exclusive=True))
    await broker.bind(mine, exchange)
    cancelled = await broker.consume(mine, never, prefetch=1)
    await cancelled.cancel()
    await broker.consume(mine, box, prefetch=1)
    changes: list[bool] = []
    broker.on_change(changes.append)
    for number in range(3):
        world.cut(broker)
        await until(lambda: changes == [False, True] * (number + 1))  # noqa: B023  # awaited within the turn
        await broker.publish_confirmed(Outgoing(str(number).encode(), "", exchange))
        assert (await box.take()).body == str(number).encode()
    assert never.got == []


async def test_a_confirm_that_never_comes_is_an_error(world: World, broker: Broker) -> None:
    """The outcome is unknown when the connection is lost."""
    queue = await world.queue(broker)
    await broker.publish_confirmed(Outgoing(b"first", queue))
    waiting = [asyncio.ensure_future(broker.publish_confirmed(Outgoing(b"x", queue))) for _ in range(5)]
    world.cut(broker)
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(it is None or isinstance(it, BrokerAway) for it in results)


async def test_durable_messages_survive_a_restart_of_the_broker(world: World, broker: Broker) -> None:
    """Connections come back by themselves, and consumers go on."""
    queue, box, control = await world.queue(broker), Box(), world.name("control")
    await broker.declare(Queue(control, durable=False, exclusive=True))
    other = Box(ack=True)
    await broker.consume(control, other, prefetch=1)
    for body in texts(10):
        await broker.publish_confirmed(Outgoing(body, queue, persistent=True))
    await broker.consume(queue, box, prefetch=3)
    await box.hold(3)
    box.got.clear()
    await world.restart()
    async with asyncio.timeout(3 * PATIENCE):
        await box.hold(3)
        for number in range(10):
            (await box.take()).ack()
            assert number < 10
    broker.publish(Outgoing(b"control", control))
    assert (await other.take()).body == b"control"


async def test_an_alarm_shows_and_refuses_what_would_be_confirmed(world: World, broker: Broker) -> None:
    """Messages are not lost by it: what was published meanwhile arrives when it is over."""
    queue, box = await world.queue(broker), Box(ack=True)
    await broker.consume(queue, box, prefetch=10)
    assert broker.blocked is None
    await world.block()
    try:
        broker.publish(Outgoing(b"waits", queue))  # RabbitMQ tells those who publish
        await until(lambda: broker.blocked is not None)
        assert broker.connected
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(BrokerError):
                await broker.publish_confirmed(Outgoing(b"refused", queue))
        assert box.got == []
    finally:
        await world.unblock()
    await until(lambda: broker.blocked is None)
    assert (await box.take()).body == b"waits"
    await broker.publish_confirmed(Outgoing(b"again", queue))
    assert (await box.take()).body == b"again"


async def test_closing_flushes_what_was_published_and_acked(world: World, broker: Broker) -> None:
    """Nothing that was said before the close is lost; closing twice is fine."""
    other, queue, box = await world.broker(), await world.queue(broker), Box()
    await other.consume(queue, box, prefetch=10)
    for body in texts(5):
        other.publish(Outgoing(body, queue))
    for it in await box.hold(5):
        it.ack()
    for body in texts(500):
        other.publish(Outgoing(body * 1000, queue))
    await other.close()
    await other.close()
    await depth_is(broker, queue, Depth(500, 0))


async def test_connecting_can_be_given_up(world: World) -> None:
    """A cancelled connect leaves nothing behind that connects later."""
    broker = world._make()
    task = asyncio.ensure_future(broker.connect())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await broker.close()
    assert not broker.connected
