"""What is RabbitMQ's own: foreign publishers, logins, TLS, virtual hosts, heartbeats, a server that does not read."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pika
import pytest

from funcatron.brokers.amqp import adapter as adapters
from funcatron.brokers.base import Depth, Outgoing, Queue
from funcatron.brokers.rabbitmq import RabbitmqBroker
from funcatron.errors import BrokerAway, BrokerError, UnknownDepth
from tests.conformance.conftest import PATIENCE, Box, depth_is, rabbitmq_broker, until
from tests.rabbitmq import RabbitmqNode, free_ports


@asynccontextmanager
async def connected(node: RabbitmqNode, **changes: Any) -> AsyncIterator[RabbitmqBroker]:
    """Give a connected broker."""
    broker = rabbitmq_broker(node, **changes)
    await asyncio.wait_for(broker.connect(), PATIENCE)
    try:
        yield broker
    finally:
        await broker.close()


def publish_foreign(node: RabbitmqNode, queue: str, properties: pika.BasicProperties, body: bytes) -> None:
    """Publish by bare pika, as a foreign front end would."""
    credentials = pika.PlainCredentials(node.user, node.password)
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.amqp_port, credentials=credentials)) as it:
        it.channel().basic_publish("", queue, body, properties)


async def test_headers_of_foreign_publishers_are_read_as_strings(node: RabbitmqNode) -> None:
    """Numbers, times, tables, lists; no properties at all; and what is forwarded keeps its types."""
    headers = {
        "n": 7,
        "on": True,
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "t": {"a": [1, "x"]},
        "d": Decimal("1.5"),
        "v": None,
        "s": "text",
    }
    async with connected(node) as broker:
        queue, box = "test.foreign", Box(ack=True)
        await broker.declare(Queue(queue, durable=False, exclusive=True))
        await broker.consume(queue, box, prefetch=10)
        odd = pika.BasicProperties(headers=headers, timestamp=5, type="t", user_id=node.user, expiration="60000")
        await asyncio.to_thread(publish_foreign, node, queue, odd, b"odd")
        await asyncio.to_thread(publish_foreign, node, queue, pika.BasicProperties(), b"bare")
        first, second = await box.hold(2)
        assert first.properties.headers == {
            "n": "7",
            "on": "true",
            "at": "2026-01-02T00:00:00+00:00",
            "t": "{a: [1, x]}",
            "d": "1.5",
            "v": "",
            "s": "text",
        }
        assert first.properties.expiration_ms == 60_000
        assert second.properties.headers == {}
        assert second.properties.content_type is None


async def test_large_headers_travel_and_too_large_ones_are_refused(node: RabbitmqNode) -> None:
    """The properties of a message must fit into a frame; nothing breaks over one that does not."""
    async with connected(node) as broker:
        queue, box = "test.headers", Box(ack=True)
        await broker.declare(Queue(queue, durable=False, exclusive=True))
        await broker.consume(queue, box, prefetch=1)
        with pytest.raises(BrokerError):
            broker.publish(Outgoing(b"x", queue, headers={"h": "x" * 131_072}))
        with pytest.raises(BrokerError):
            broker.publish(Outgoing(b"x", "k" * 256))
        broker.publish(Outgoing(b"x", queue, headers={"h": "x" * 130_000}))
        assert len((await box.take()).properties.headers["h"]) == 130_000


async def test_a_refused_login_is_logged_with_its_reason_and_tried_again(
    node: RabbitmqNode, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the user is there; the password is in no line."""
    user, password = "late-comer", "p4ssw0rd-of-the-late"  # a test's own
    broker = rabbitmq_broker(node, user=user, password=password)
    connecting = asyncio.ensure_future(broker.connect())
    try:
        with caplog.at_level(logging.WARNING, "funcatron"):
            await until(lambda: "ACCESS_REFUSED" in caplog.text or "uthentication" in caplog.text)
        assert not connecting.done()
        await asyncio.to_thread(node.ctl, "add_user", user, password)
        await asyncio.to_thread(node.ctl, "set_permissions", user, ".*", ".*", ".*")
        async with asyncio.timeout(PATIENCE):
            await connecting
        assert broker.connected
        assert user in caplog.text
        assert password not in caplog.text
    finally:
        await broker.close()
        with suppress(RuntimeError):
            await asyncio.to_thread(node.ctl, "delete_user", user)


async def test_virtual_hosts_are_apart(node: RabbitmqNode) -> None:
    """The same name is another queue in each; one whose name has a slash has a depth, too."""
    await asyncio.to_thread(node.ctl, "add_vhost", "a/b")
    await asyncio.to_thread(node.ctl, "set_permissions", "-p", "a/b", node.user, ".*", ".*", ".*")
    async with connected(node, vhost="a/b") as one, connected(node) as other:
        for broker, count in ((one, 1), (other, 0)):
            await broker.declare(Queue("test.vhost", durable=False, exclusive=True))
            for _ in range(count):
                await broker.publish_confirmed(Outgoing(b"x", "test.vhost"))
        await depth_is(one, "test.vhost", Depth(1, 0))
        await depth_is(other, "test.vhost", Depth(0, 0))


async def test_without_the_management_api_the_depth_is_unknown(node: RabbitmqNode) -> None:
    """Not told of, not there, or refusing: never 0."""
    (nobody,) = free_ports(1)
    for url in (None, f"http://127.0.0.1:{nobody}", f"http://127.0.0.1:{node.amqp_port}"):
        async with connected(node, management_url=url) as broker:
            await broker.declare(Queue("test.depth", durable=False, exclusive=True))
            with pytest.raises(UnknownDepth):
                await broker.depth("test.depth")


async def test_connecting_waits_for_a_server_that_is_not_there_yet(node: RabbitmqNode) -> None:
    """It tries again and again."""
    (port,) = free_ports(1)
    broker = rabbitmq_broker(node, port=port)
    connecting = asyncio.ensure_future(broker.connect())
    await asyncio.wait([connecting], timeout=0.3)
    assert not connecting.done()
    async with Relay(node.amqp_port, port):
        async with asyncio.timeout(PATIENCE):
            await connecting
        assert broker.connected
        await broker.close()


class Relay:
    """A TCP relay to the server that can stop to pass bytes on, either way."""

    def __init__(self, to: int, port: int = 0) -> None:
        self.port = port
        self.up, self.down = asyncio.Event(), asyncio.Event()  # set: bytes to (from) the server pass
        self.up.set()
        self.down.set()
        self._to = to
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Relay:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=65536)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everything."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut all connections that there are."""
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", self._to, limit=65536)
        self._writers += (writer, out)
        for pump in (self._pump(reader, out, self.up), self._pump(there, writer, self.down)):
            task = asyncio.get_running_loop().create_task(pump)
            self._tasks.add(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await gate.wait()
                writer.write(data)
                await writer.drain()
            writer.close()


async def test_a_server_that_does_not_read_gets_no_acks_and_bounded_publishes(
    node: RabbitmqNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it sends no more than the prefetch. All goes out when it reads again."""
    monkeypatch.setattr(adapters, "MAX_WAITING", 4 * 1024 * 1024)
    async with Relay(node.amqp_port) as relay, connected(node, port=relay.port) as broker, connected(node) as other:
        queue, sink, box = "test.slow", "test.sink", Box(ack=True)
        for name in (queue, sink):
            await other.declare(Queue(name, durable=False))
        await broker.consume(queue, box, prefetch=5)
        relay.up.clear()
        link = broker._link
        assert link is not None
        sent = 0
        with pytest.raises(BrokerError, match="does not read"):  # noqa: PT012  # until it is too much
            while True:
                broker.publish(Outgoing(bytes(1_000_000), sink))
                sent += 1
                await asyncio.sleep(0)
        assert link.adapter.paused
        for number in range(50):
            other.publish(Outgoing(str(number).encode(), queue))
        await box.hold(5)
        await depth_is(other, queue, Depth(45, 5))
        assert len(box.got) == 5
        relay.up.set()
        await box.hold(50)
        await depth_is(other, sink, Depth(sent, 0))
        for name in (queue, sink):
            await other.delete(name)


async def test_a_silent_server_is_given_up_after_its_heartbeats_failed(node: RabbitmqNode) -> None:
    """Both ways are dead, no packet says so; the connection is made anew."""
    async with Relay(node.amqp_port) as relay, connected(node, port=relay.port, heartbeat=1) as broker:
        changes: list[bool] = []
        broker.on_change(changes.append)
        relay.up.clear()
        relay.down.clear()
        await until(lambda: changes == [False])
        relay.up.set()
        relay.down.set()
        await until(lambda: changes == [False, True])


async def test_an_idle_connection_is_kept_by_heartbeats(node: RabbitmqNode) -> None:
    """Ours reach the server, which would close the connection otherwise."""
    async with connected(node, heartbeat=1) as broker:
        changes: list[bool] = []
        broker.on_change(changes.append)
        assert broker._link is not None
        checker = broker._link.adapter._heartbeat_checker
        await until(lambda: checker._heartbeat_frames_sent >= 6)
        assert changes == []


async def test_a_connection_can_be_lost_at_any_moment_of_starting(node: RabbitmqNode) -> None:
    """Cut again and again while it is set up, it is complete in the end, and consumes once."""
    async with Relay(node.amqp_port) as relay, connected(node, port=relay.port) as broker:
        boxes = {}
        for number in range(20):
            name = f"test.cut.{number}"
            await broker.declare(Queue(name, durable=False, exclusive=True))
            boxes[name] = Box(ack=True)
            await broker.consume(name, boxes[name], prefetch=3)
        relay.cut()
        for turn in range(30):
            done, _ = await asyncio.wait({asyncio.ensure_future(asyncio.sleep(turn * 0.005))})
            assert done
            relay.cut()
        for name, box in boxes.items():
            await publish_at_last(broker, Outgoing(name.encode(), name))
            assert (await box.take()).body == name.encode()
        assert broker._link is not None
        assert len(broker._link._attached) == 20


async def publish_at_last(broker: RabbitmqBroker, message: Outgoing) -> None:
    """Publish over a connection that may turn out to be a cut one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await until(lambda: broker.connected)
            try:
                return await broker.publish_confirmed(message)
            except BrokerAway:
                continue


def test_it_runs_on_asyncio_s_own_loop_as_well(node: RabbitmqNode) -> None:
    """Where uvloop is not to be had."""

    async def main() -> bytes:
        async with connected(node) as broker:
            await broker.declare(Queue("test.loop", durable=False, exclusive=True))
            box = Box(ack=True)
            await broker.consume("test.loop", box, prefetch=1)
            broker.publish(Outgoing(b"x" * 1_000_000, "test.loop"))
            return (await box.take()).body

    with asyncio.Runner() as runner:
        assert runner.run(main()) == b"x" * 1_000_000


@pytest.fixture(scope="module")
def tls_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RabbitmqNode, int, Path]]:
    """A node that speaks TLS; its port, and the certificate to trust."""
    if shutil.which("openssl") is None:
        pytest.skip("machine: no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    (port,) = free_ports(1)
    with RabbitmqNode(
        f"listeners.ssl.default = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {certificate}",
        f"ssl_options.certfile = {certificate}",
        f"ssl_options.keyfile = {key}",
        "ssl_options.verify = verify_none",
        "ssl_options.fail_if_no_peer_cert = false",
    ) as made:
        yield made, port, certificate


async def test_tls_is_spoken_and_a_stranger_is_not_trusted(
    tls_node: tuple[RabbitmqNode, int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """With the certificate to trust it works, without it says why not."""
    node, port, certificate = tls_node
    async with connected(node, port=port, tls=True, ca=certificate) as broker:
        await broker.declare(Queue("test.tls", durable=False, exclusive=True))
        box = Box(ack=True)
        await broker.consume("test.tls", box, prefetch=1)
        broker.publish(Outgoing(b"x" * 1_000_000, "test.tls"))
        assert (await box.take()).body == b"x" * 1_000_000
    stranger = rabbitmq_broker(node, port=port, tls=True)
    connecting = asyncio.ensure_future(stranger.connect())
    with caplog.at_level(logging.WARNING, "funcatron"):
        await until(lambda: "certificate verify failed" in caplog.text.lower())
    connecting.cancel()
    await asyncio.wait([connecting])
    await stranger.close()
