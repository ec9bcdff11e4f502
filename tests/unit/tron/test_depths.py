"""The depths of queues: what is not known is None, whatever broker there is. With a real RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

import pytest
import pytest_asyncio

from funcatron.brokers.amqp.totals import QueueTotals, from_settings
from funcatron.brokers.base import Delivery, Depth, Outgoing, Queue
from funcatron.brokers.gauge import EachQueue, Gauge, open_gauge
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.brokers.rabbitmq import RabbitmqBroker, RabbitmqParameters
from funcatron.errors import UnknownDepth
from funcatron.message.topology import FIREHOSE
from funcatron.settings import Settings
from funcatron.tron.depths import Depths
from tests.rabbitmq import RabbitmqNode
from tests.unit.tron.conftest import until

MANY = 200


class Played(Gauge):
    """A gauge that says what the test wants."""

    def __init__(self) -> None:
        self.known: dict[str, Depth | None] = {}
        self.error: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[list[str]] = []

    async def depths(self, queues: Iterable[str]) -> dict[str, Depth | None]:
        self.asked.append(list(queues))
        await self.gate.wait()
        if self.error is not None:
            raise UnknownDepth(self.error)
        return {queue: self.known.get(queue) for queue in self.asked[-1]}

    async def close(self) -> None:
        self.asked.append(["closed"])


@pytest.fixture
def gauge() -> Played:
    return Played()


async def test_func_queues_and_the_firehose_are_read(gauge: Played) -> None:
    taken: list[Mapping[str, Depth | None]] = []
    gauge.known = {"a": Depth(3, 1), FIREHOSE: Depth(0, 2)}
    depths = Depths(gauge, taken.append)
    await depths.collect(["a", "b"])
    assert taken == [{FIREHOSE: Depth(0, 2), "a": Depth(3, 1), "b": None}]
    assert depths.seconds is not None
    await depths.close()
    assert gauge.asked[-1] == ["closed"]


async def test_a_reading_that_takes_long_is_not_overtaken(gauge: Played) -> None:
    taken: list[Mapping[str, Depth | None]] = []
    depths = Depths(gauge, taken.append)
    gauge.gate.clear()
    slow = asyncio.ensure_future(depths.collect(["a"]))
    await until(lambda: gauge.asked)
    await depths.collect(["a"])
    assert len(gauge.asked) == 1
    gauge.gate.set()
    await slow
    await depths.collect(["a"])
    assert len(taken) == 2


async def test_what_cannot_be_read_is_unknown_and_said_once(gauge: Played, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    taken: list[Mapping[str, Depth | None]] = []
    depths = Depths(gauge, taken.append)
    gauge.error = "the broker is away"
    await depths.collect(["a"])
    await depths.collect(["a"])
    assert taken == [{FIREHOSE: None, "a": None}] * 2
    assert depths.unknown == "the broker is away"
    gauge.error = None
    await depths.collect(["a"])
    assert depths.unknown == ""
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_broker_without_a_gauge_is_asked_queue_by_queue() -> None:
    hub = MemoryHub()
    broker = MemoryBroker(hub)
    gauge = open_gauge(Settings(broker="memory"), broker)
    assert isinstance(gauge, EachQueue)
    with pytest.raises(UnknownDepth, match="away"):
        await gauge.depths(["a"])
    await broker.connect()
    await broker.declare(Queue("a"))
    broker.publish(Outgoing(b"x", "a"))
    assert await gauge.depths(["a", "none", "a"]) == {"a": Depth(1, 0), "none": None}
    await gauge.close()
    await broker.close()


# RabbitMQ


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitmqNode]:
    with RabbitmqNode() as started:
        yield started


def settings(node: RabbitmqNode, **more: object) -> Settings:
    given: dict[str, object] = {
        "broker": "rabbitmq",
        "broker_user": node.user,
        "broker_password": node.password,
        "amqp_port": node.amqp_port,
        "management_port": node.management_port,
    }
    return Settings(**(given | more))


@pytest_asyncio.fixture
async def broker(node: RabbitmqNode) -> AsyncIterator[RabbitmqBroker]:
    made = RabbitmqBroker(RabbitmqParameters(port=node.amqp_port, user=node.user, password=node.password))
    await made.connect()
    yield made
    await made.close()


async def test_one_call_reads_all_queues_as_they_are_now(node: RabbitmqNode, broker: RabbitmqBroker) -> None:
    names = [f"func.f{n}.abcdef01" for n in range(MANY)]
    for name in names:
        await broker.declare(Queue(name))
    for name in names[:3]:
        for _ in range(5):
            await broker.publish_confirmed(Outgoing(b"x", name))
    held: list[Delivery] = []
    await broker.consume(names[0], held.append, prefetch=2)
    await until(lambda: len(held) == 2)
    gauge = open_gauge(settings(node), broker)
    assert isinstance(gauge, QueueTotals)
    found = await gauge.depths([*names, "func.none.abcdef01"])
    assert found == {
        **dict.fromkeys(names, Depth(0, 0)),
        names[0]: Depth(3, 2),
        names[1]: Depth(5, 0),
        names[2]: Depth(5, 0),
        "func.none.abcdef01": None,
    }
    await broker.publish_confirmed(Outgoing(b"x", names[1]))
    assert (await gauge.depths([names[1]])) == {names[1]: Depth(6, 0)}, "it is of now"
    await gauge.close()


@pytest.mark.parametrize("wrong", [{"broker_password": "wrong"}, {"management_port": 1}, {"broker_vhost": "none"}])
async def test_what_the_management_api_refuses_is_unknown(node: RabbitmqNode, wrong: dict[str, object]) -> None:
    gauge = from_settings(settings(node, **wrong))
    with pytest.raises(UnknownDepth, match="management API"):
        await gauge.depths(["a"])
    await gauge.close()
