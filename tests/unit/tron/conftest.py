"""A whole Tron on the memory broker, with Runners and Frontends that are played."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from funcatron.brokers.base import Delivery, Outgoing, Queue
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import BadBundle, BadSpec
from funcatron.message import answer_bytes, parse, topology
from funcatron.settings import Settings
from funcatron.tron import queues
from funcatron.tron.draining import Patience
from funcatron.tron.inspection import Inspection
from funcatron.tron.leadership import Pace
from funcatron.tron.rollouts import Limits
from funcatron.tron.tron import Tron, Tuning
from funcatron.tron.web.app import create_app

PATIENCE = 5.0


async def until(holds: Callable[[], Any], what: str = "") -> Any:
    """Wait until something holds, at most for a few seconds; returns it."""
    async with asyncio.timeout(PATIENCE):
        while not (value := holds()):  # noqa: ASYNC110 - the state of any part, which has no events for tests
            await asyncio.sleep(0.005)
        return value


def bundle_bytes(name: str = "hello", host: str | None = None, path: str = "/hello", **more: Any) -> bytes:
    """Return what the played inspector takes for a bundle."""
    return json.dumps({"name": name, "host": host, "base_path": path, **more}).encode()


async def played_inspector(path: Path) -> Inspection:
    try:
        found = json.loads(path.read_bytes())  # noqa: ASYNC240 - a few bytes
    except ValueError as err:
        raise BadBundle("this is no bundle: neither a PEX nor a JAR nor an npm package") from err
    if "problems" in found:
        raise BadSpec("the spec is wrong", found["problems"])
    found.pop("n", None)
    return Inspection(
        kind="python",
        title="T",
        version="1",
        operations=({"id": "app.greet", "method": "GET", "path": "/greet", "timeout": None},),
        document={"swagger": "2.0"},
        **found,
    )


class Played:
    """A part that has a connection and a control queue of its own."""

    kind = ""
    exchange = ""

    def __init__(self, hub: MemoryHub, name: str) -> None:
        self.id = name
        self.broker = MemoryBroker(hub, name)
        self.queue = f"funcatron.{self.kind}.{name}"
        self.heard: list[dict[str, Any]] = []

    async def start(self) -> None:
        await self.broker.connect()
        await self.broker.declare(Queue(self.queue, durable=False, exclusive=True, auto_delete=True))
        await self.broker.bind(self.queue, self.exchange)
        await self.broker.consume(self.queue, self._take, prefetch=100)
        self.awake()

    def awake(self) -> None:
        self.say("awake", host_info={"hostname": "test", "pid": 1}, bundles=[], **{"reply-to": self.queue})

    def say(self, action: str, **fields: Any) -> None:
        message = {
            "action": action,
            "msg-id": str(uuid.uuid4()),
            "from": self.id,
            "at": 0,
            "version": 1,
            "type": self.kind,
            "instance-id": self.id,
            **fields,
        }
        self.broker.publish(Outgoing(json.dumps(message).encode(), topology.FOR_TRON, headers={"action": action}))

    def actions(self, action: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["action"] == action]

    def _take(self, delivery: Delivery) -> None:
        message = parse(delivery.body).fields  # everything that the Tron says follows its schema
        delivery.ack()
        self.heard.append(message)
        if message["action"] == "resend-awake":
            self.awake()
        self.hear(message)

    def hear(self, message: dict[str, Any]) -> None:
        """React."""


class PlayedRunner(Played):
    """Loads what it is told to (unless `refuse` has the SHA, or `silent`), and answers requests with its SHA."""

    kind = "runner"
    exchange = topology.RUNNERS

    def __init__(self, hub: MemoryHub, name: str) -> None:
        super().__init__(hub, name)
        self.refuse: dict[str, str] = {}
        self.silent = False
        self.serving: dict[str, Any] = {}
        self.held: list[Delivery] = []
        self.hold = False
        self.work: set[asyncio.Task[Any]] = set()

    def hear(self, message: dict[str, Any]) -> None:
        if message["action"] == "enable":
            self._spawn(self._load(message, message["msg-id"]))
        elif message["action"] == "all-bundles":
            for bundle in message["bundles"]:
                self._spawn(self._load(bundle, message["msg-id"]))
        elif message["action"] == "disable":
            self._spawn(self._drop(message))

    async def _load(self, bundle: dict[str, Any], ack_id: str) -> None:
        sha, queue = bundle["sha"], bundle["queue"]
        if self.silent:
            return
        if sha in self.refuse:
            self.say("ack", **{"ack-id": ack_id}, sha=sha, ok=False, stage="failed", error=self.refuse[sha])
            return
        if queue not in self.serving:
            self.serving[queue] = None
            self.serving[queue] = await self.broker.consume(queue, lambda one: self._serve(one, sha), prefetch=10)
        self.say("ack", **{"ack-id": ack_id}, sha=sha, ok=True, stage="serving", final=True)

    async def _drop(self, message: dict[str, Any]) -> None:
        consumer = self.serving.pop(message["queue"], None)
        if consumer is not None:
            await consumer.cancel()
        self.say("ack", **{"ack-id": message["msg-id"]}, sha=message["sha"], ok=True, stage="retired")

    def _serve(self, delivery: Delivery, sha: str) -> None:
        if self.hold:
            self.held.append(delivery)
            return
        properties = delivery.properties
        if properties.reply_to:
            answer = answer_bytes(str(properties.correlation_id), 200, [], b"", sender=self.id, sha=sha)
            self.broker.publish(Outgoing(answer, properties.reply_to, correlation_id=properties.correlation_id))
        delivery.ack()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.work.add(task)
        task.add_done_callback(self.work.discard)


class PlayedFrontend(Played):
    """Sends requests and gathers answers by request id."""

    kind = "frontend"
    exchange = topology.FRONTENDS

    def __init__(self, hub: MemoryHub, name: str) -> None:
        super().__init__(hub, name)
        self.answers: dict[str, dict[str, Any]] = {}

    def _take(self, delivery: Delivery) -> None:
        if delivery.properties.correlation_id:
            self.answers[delivery.properties.correlation_id] = parse(delivery.body).fields
            delivery.ack()
        else:
            super()._take(delivery)

    def request(
        self, path: str, host: str = "example.com", *, wait: bool = True, body: bytes = b"{}", **headers: str
    ) -> str:
        """Send a request to the firehose; returns its id."""
        request_id = uuid.uuid4().hex
        message = Outgoing(
            body,
            topology.firehose_key(host, path),
            exchange=topology.FIREHOSE,
            headers={"action": "service", "request-id": request_id, "host": host, "path": path} | headers,
            reply_to=self.queue if wait else None,
            correlation_id=request_id,
            persistent=not wait,
        )
        self.broker.publish(message)
        return request_id

    async def answer(self, request_id: str) -> dict[str, Any]:
        """Wait for the answer to a request."""
        answer: dict[str, Any] = await until(lambda: self.answers.get(request_id))
        return answer

    @property
    def routes(self) -> list[tuple[str | None, str, str]]:
        """The routes that it was told last."""
        told = self.actions("route")
        return [(one["host"], one["path"], one["sha"]) for one in told[-1]["routes"]] if told else []


@dataclass
class Installation:
    """A hub and a data folder; `tron` starts (and starts again) a Tron on them."""

    hub: MemoryHub
    data: Path
    played: list[Played] = field(default_factory=list)
    limits: Limits = field(default_factory=lambda: Limits(load=3.0, tick=0.02))

    def settings(self, **more: Any) -> Settings:
        return Settings(data=self.data, broker="memory", **more)

    @asynccontextmanager
    async def tron(self, *, kill: bool = False, pace: Pace | None = None, **settings: Any) -> AsyncIterator[Tron]:
        patience = Patience(retire=1.0, quiet=0.05, poll=0.01, poll_most=0.05)
        tuning = Tuning(limits=self.limits, patience=patience, inspector=played_inspector, pace=pace or Pace())
        tron = Tron(self.settings(**settings), MemoryBroker(self.hub, "tron"), tuning)
        await tron.open()
        tron.start()
        await tron.wait_ready()
        try:
            yield tron
        finally:
            await tron.shutdown(grace=0.0 if kill else 1.0)

    def client(self, tron: Tron, **more: Any) -> httpx.AsyncClient:
        app: Any = create_app(tron)
        options = {"base_url": "http://127.0.0.1:3000", **more}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), **options)

    async def runner(self, name: str = "r1", **options: Any) -> PlayedRunner:
        runner = PlayedRunner(self.hub, name)
        for option, value in options.items():
            setattr(runner, option, value)
        await runner.start()
        self.played.append(runner)
        return runner

    async def frontend(self, name: str = "f1") -> PlayedFrontend:
        frontend = PlayedFrontend(self.hub, name)
        await frontend.start()
        self.played.append(frontend)
        return frontend


@pytest_asyncio.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    made = Installation(MemoryHub(), tmp_path)
    stack = MemoryBroker(made.hub, "stack")  # a stack's broker has the topology from its definitions
    await stack.connect()
    await queues.declare(stack, topology.FOR_TRON)
    yield made
    await stack.close()
    for part in made.played:
        await part.broker.close()


@pytest_asyncio.fixture
async def tron(installation: Installation) -> AsyncIterator[Tron]:
    async with installation.tron() as started:
        yield started


@pytest_asyncio.fixture
async def client(installation: Installation, tron: Tron) -> AsyncIterator[httpx.AsyncClient]:
    async with installation.client(tron) as made:
        yield made


@pytest.fixture
def bundle() -> Callable[..., bytes]:
    return bundle_bytes


@pytest.fixture
def wait_until() -> Any:
    return until
