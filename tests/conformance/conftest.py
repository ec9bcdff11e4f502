"""The brokers that the Broker suite runs against: each driver, with ways to make trouble for it."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from funcatron.brokers.base import Broker, Delivery, Depth, Queue
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.brokers.rabbitmq import RabbitmqBroker, RabbitmqParameters
from funcatron.errors import BrokerError, UnknownDepth
from funcatron.message.topology import DEAD_LETTER
from tests.rabbitmq import SERVER, RabbitmqNode

PATIENCE = 20.0  # s that anything awaited may take, on a loaded machine


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Run the Broker suite on uvloop, as the product does."""
    return {"uvloop": uvloop.new_event_loop} if item.path.name.startswith("test_broker") else None


class World(ABC):
    """Brokers of one kind that are connected to the same server."""

    def __init__(self) -> None:
        self.brokers: list[Broker] = []
        self._queues: list[str] = []

    async def broker(self) -> Broker:
        """Return one more connected broker."""
        made = self._make()
        self.brokers.append(made)
        await asyncio.wait_for(made.connect(), PATIENCE)
        return made

    def name(self, kind: str = "queue") -> str:
        """Return a name that nothing has yet."""
        return f"test.{kind}.{secrets.token_hex(4)}"

    async def queue(self, broker: Broker, **properties: bool) -> str:
        """Declare a queue that is deleted after the test."""
        name = self.name()
        await broker.declare(Queue(name, **properties))
        self._queues.append(name)
        return name

    @abstractmethod
    def _make(self) -> Broker: ...

    @abstractmethod
    def cut(self, broker: Broker) -> None:
        """Cut a broker's connection."""

    @abstractmethod
    async def restart(self) -> None:
        """Stop the server in an orderly way and start it again."""

    @abstractmethod
    async def block(self) -> None:
        """Make the server take no messages."""

    @abstractmethod
    async def unblock(self) -> None:
        """Make it take messages again."""

    async def close(self) -> None:
        """Delete what was made, and disconnect."""
        for broker in self.brokers:
            with suppress(BrokerError):
                for name in self._queues:
                    await broker.delete(name)
                self._queues.clear()
        for broker in self.brokers:
            await broker.close()


class MemoryWorld(World):
    """Brokers on a hub."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = MemoryHub()

    def _make(self) -> Broker:
        return MemoryBroker(self.hub)

    def cut(self, broker: Broker) -> None:
        assert isinstance(broker, MemoryBroker)
        broker.cut()

    async def restart(self) -> None:
        self.hub.restart()

    async def block(self) -> None:
        self.hub.block("low on memory")

    async def unblock(self) -> None:
        self.hub.block(None)


class RabbitmqWorld(World):
    """Brokers on a node of RabbitMQ."""

    def __init__(self, node: RabbitmqNode) -> None:
        super().__init__()
        self.node = node

    def _make(self) -> Broker:
        return rabbitmq_broker(self.node)

    def cut(self, broker: Broker) -> None:
        cut(broker)

    async def restart(self) -> None:
        await asyncio.to_thread(self.node.restart)

    async def block(self) -> None:
        await asyncio.to_thread(self.node.ctl, "set_vm_memory_high_watermark", "0.0000001")

    async def unblock(self) -> None:
        await asyncio.to_thread(self.node.ctl, "set_vm_memory_high_watermark", "0.4")


def rabbitmq_broker(node: RabbitmqNode, **changes: object) -> RabbitmqBroker:
    """Return a broker for a node, not connected yet."""
    wanted = {
        "port": node.amqp_port,
        "user": node.user,
        "password": node.password,
        "management_url": f"http://127.0.0.1:{node.management_port}",
        **changes,
    }
    return RabbitmqBroker(RabbitmqParameters(**wanted))  # type: ignore[arg-type]


def cut(broker: Broker) -> None:
    """Cut a RabbitMQ broker's connection as a failing network would."""
    assert isinstance(broker, RabbitmqBroker)
    assert broker._link is not None
    broker._link.adapter.abort()


@pytest.fixture(scope="session")
def node() -> Iterator[RabbitmqNode]:
    """A node of RabbitMQ that all tests of the suite share."""
    if not Path(SERVER).exists():
        pytest.skip("machine: no RabbitMQ server is installed")
    with RabbitmqNode() as made:
        yield made


@pytest.fixture(params=["memory", "rabbitmq"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Every driver."""
    made: World = MemoryWorld() if request.param == "memory" else RabbitmqWorld(request.getfixturevalue("node"))
    yield made
    await made.close()


@pytest.fixture
async def broker(world: World) -> Broker:
    """A connected broker, with the dead-letter queue declared and empty."""
    made = await world.broker()
    await made.declare(Queue(DEAD_LETTER))
    await made.purge(DEAD_LETTER)
    return made


class Box:
    """A handler that keeps what it gets; with `ack` it settles at once."""

    def __init__(self, *, ack: bool = False) -> None:
        self.got: list[Delivery] = []
        self._ack = ack
        self._come = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        if self._ack:
            delivery.ack()
        task = asyncio.get_running_loop().create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._come:
            self._come.notify_all()

    async def hold(self, count: int) -> list[Delivery]:
        """Wait until so many have come, and return all that have."""
        async with asyncio.timeout(PATIENCE), self._come:
            await self._come.wait_for(lambda: len(self.got) >= count)
        return self.got

    async def take(self) -> Delivery:
        """Wait for the next one and take it out."""
        return (await self.hold(1)).pop(0)

    @property
    def bodies(self) -> list[bytes]:
        """What has come."""
        return [it.body for it in self.got]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # of things that give no event
            await asyncio.sleep(0.01)


async def depth_is(broker: Broker, queue: str, depth: Depth) -> None:
    """Wait until a queue's depth is so; brokers may be late with it."""
    seen: object = None
    try:
        async with asyncio.timeout(PATIENCE):
            while seen != depth:
                try:
                    seen = await broker.depth(queue)
                except UnknownDepth as err:
                    seen = err
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the depth of {queue} is {seen}, not {depth}") from None
