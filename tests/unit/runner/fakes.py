"""A Func in a Runner whose hosts are played, on the memory broker, with a client that waits for answers."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from funcatron import spec
from funcatron.brokers.base import Delivery, Outgoing, Queue
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.errors import HostError
from funcatron.hosts import Answer
from funcatron.message import Answer as Reply
from funcatron.message import control, encode, message_id, validate
from funcatron.message.topology import DEAD_LETTER
from funcatron.runner import func as func_module
from funcatron.runner.bodies import Bodies
from funcatron.runner.cache import Cache
from funcatron.runner.capacity import Capacity
from funcatron.runner.deadlines import Deadlines
from funcatron.runner.deployment import Deployment
from funcatron.runner.func import Func, Tools
from funcatron.runner.loading import Loaded
from funcatron.runner.orphans import Orphans
from funcatron.runner.outbox import Outbox
from funcatron.settings import Settings

PATIENCE = 5.0
SHA = "ab" * 32
QUEUE = "func.pets.abababab"
REPLIES = "replies"

SPEC = """
swagger: "2.0"
info: {title: Pets, version: "1"}
basePath: /pets
securityDefinitions:
  key: {type: apiKey, in: header, name: X-Key, x-apikeyInfoFunc: auth.check}
paths:
  /greet:
    get:
      operationId: app.greet
      parameters:
        - {name: name, in: query, type: string, required: true}
        - {name: times, in: query, type: integer, default: 1}
      responses: {200: {description: OK, schema: {type: string}}}
  /pets:
    post:
      operationId: app.add
      parameters: [{name: body, in: body, required: true, schema: {type: object}}]
      responses: {201: {description: made}}
    put:
      operationId: app.put
      responses: {200: {description: OK}}
  /pets/{pet}:
    get:
      operationId: app.pet
      parameters: [{name: pet, in: path, type: integer, required: true}]
      responses: {200: {description: OK}}
    delete:
      operationId: app.drop
      x-funcatron: {retry: never}
      parameters: [{name: pet, in: path, type: integer, required: true}]
      responses: {204: {description: OK}}
  /secret:
    get:
      operationId: app.secret
      security: [{key: []}]
      parameters: [{name: n, in: query, type: integer, required: true}]
      responses: {200: {description: OK}}
  /always:
    post:
      operationId: app.always
      x-funcatron: {retry: always}
      responses: {200: {description: OK}}
  /slow:
    get:
      operationId: app.slow
      x-funcatron: {timeout: 0.1}
      responses: {200: {description: OK}}
  /strict:
    get:
      operationId: app.strict
      produces: [application/json]
      x-funcatron: {validate-responses: strict}
      responses: {200: {description: OK, schema: {type: integer}}}
  /checked:
    get:
      operationId: app.checked
      produces: [application/json]
      x-funcatron: {validate-responses: true}
      responses: {200: {description: OK, schema: {type: integer}}}
"""


async def until(holds: Callable[[], Any]) -> Any:
    """Wait until something holds, at most for a few seconds; returns it."""
    async with asyncio.timeout(PATIENCE):
        while not (value := holds()):  # noqa: ASYNC110 - the state of any part, which has no events for tests
            await asyncio.sleep(0.002)
        return value


@dataclass
class FakeHost:
    """A host whose answers the test gives, or that answers by `reply` at once."""

    on_exit: Callable[[Any, int | None], None]
    reply: Callable[[dict[str, Any], bytes], Answer | None] | None = None
    yields: bool = True  # answers a cancelled call
    pings: bool = True
    pid: int = 1
    calls: dict[int, tuple[dict[str, Any], bytes, Callable[[Answer | None], None]]] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    ended: str | None = None
    busy: float = 0.0

    def call(self, header: dict[str, Any], body: bytes, done: Callable[[Answer | None], None]) -> int:
        return self._take("call", header, body, done)

    def authorize(self, header: dict[str, Any], done: Callable[[Answer | None], None]) -> int:
        return self._take("authorize", header, b"", done)

    def _take(self, kind: str, header: dict[str, Any], body: bytes, done: Callable[[Answer | None], None]) -> int:
        header["type"] = kind
        number = header["id"] = len(self.seen) + 1
        frame = {**header, "context": header.pop("context")}
        self.seen.append(frame)
        self.calls[number] = (frame, body, done)
        answer = self.reply(frame, body) if self.reply is not None else None
        if answer is not None:
            self.answer(number, answer)
        return number

    def answer(self, number: int, answer: Answer) -> None:
        """Answer a call, in a later turn of the loop."""
        if number in self.calls:
            asyncio.get_running_loop().call_soon(self.calls.pop(number)[2], answer)

    def ok(self, value: Any = "ok", status: int = 200, **more: Any) -> None:
        """Answer the oldest call."""
        self.answer(next(iter(self.calls)), json_answer(value, status, **more))

    def cancel(self, number: int) -> None:
        self.cancelled.append(number)
        if self.yields:
            self.answer(number, Answer(504))

    def ping(self, done: Callable[[Answer | None], None]) -> int:
        if self.pings:
            asyncio.get_running_loop().call_soon(done, Answer(0))
        return 0

    def kill(self, code: int = -9) -> None:
        """Die, as by kill -9."""
        if self.ended is None:
            self.ended = "killed"
            asyncio.get_running_loop().call_soon(self._exit, code)

    async def stop(self, grace: float) -> None:
        if self.ended is None:
            self.ended = "stopped"
            self._exit(0)

    def _exit(self, code: int) -> None:
        calls, self.calls = self.calls, {}
        for _, _, done in calls.values():
            done(None)
        self.on_exit(self, code)

    def rss(self) -> int:
        return 1000

    def cpu(self) -> float:
        return self.busy


def json_answer(value: Any = "ok", status: int = 200, **more: Any) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, [["Content-Type", "application/json"]], orjson.dumps(value), **more)


class Lines:
    """A log pump that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def host_line(self, sha: str, frame: dict[str, Any]) -> None:
        self.lines.append(frame)


class World:
    """One Func, its Runner's parts, and everybody around them."""

    def __init__(self, tmp_path: Path, document: str = SPEC) -> None:
        self.hub = MemoryHub()
        self.broker = MemoryBroker(self.hub, "runner")
        self.client = MemoryBroker(self.hub, "client")
        self.settings = Settings(data=tmp_path, broker="memory", func_concurrency=4, host_idle=60)
        self.api = spec.load({"funcatron.yaml": document.encode()})
        self.hosts: list[FakeHost] = []
        self.reply: Callable[[dict[str, Any], bytes], Answer | None] | None = lambda frame, body: json_answer()
        self.start_errors: list[Exception] = []
        self.load_error: Exception | None = None
        self.loads = 0
        self.validation: str | float | None = None
        self.slots, self.smallest, self.largest = 4, 0, 1
        self.replies: dict[str, list[Reply]] = {}
        self.dead: list[Delivery] = []
        self.lines = Lines()
        self._ids = itertools.count()
        self.tmp_path = tmp_path

    async def setup(self) -> None:
        await self.broker.connect()
        await self.client.connect()
        for name in (QUEUE, REPLIES, DEAD_LETTER):
            await self.client.declare(Queue(name))
        await self.client.consume(REPLIES, self._replied, prefetch=1000)
        await self.client.consume(DEAD_LETTER, self._died, prefetch=1000)
        self.tools = self.make_tools("runner-1", self.broker)
        self.func = Func(Deployment(SHA, QUEUE), self.tools)

    def make_tools(self, name: str, broker: MemoryBroker) -> Tools:
        """The parts of one Runner."""
        loop = asyncio.get_running_loop()
        cache = Cache(self.tmp_path / "cache", "http://127.0.0.1:1")
        cache.prepare()
        tools = Tools(
            runner=name,
            settings=self.settings,
            broker=broker,
            outbox=Outbox(broker, name),
            cache=cache,
            capacity=Capacity(8),
            deadlines=Deadlines(loop),
            orphans=Orphans(loop),
            pump=self.lines,  # type: ignore[arg-type]
            run=self.tmp_path,
            bodies=Bodies(self.settings.bodies, self.settings.inline_body),
        )
        return tools

    def watch(self, func: Func) -> None:
        """Do on a lost connection what the Runner does."""

        def changed(connected: bool) -> None:
            if not connected:
                func.tools.orphans.disown(func.tools.deadlines.items(), ())
                func.connection_lost()

        func.tools.broker.on_change(changed)

    async def load(self, deployment: Deployment, tools: Tools) -> Loaded:
        """Stands for `loading.load`."""
        self.loads += 1
        if self.load_error is not None:
            raise self.load_error

        async def launch(on_exit: Callable[[Any, int | None], None]) -> Any:
            await asyncio.sleep(0)
            if self.start_errors:
                raise self.start_errors.pop(0)
            host = FakeHost(on_exit, self.reply, pid=len(self.hosts) + 1)
            self.hosts.append(host)
            return host

        return Loaded(self.api, launch, self.slots, self.smallest, self.largest, 30.0, self.validation)

    def _replied(self, delivery: Delivery) -> None:
        validate("answer", json.loads(delivery.body))
        answer = Reply.decode(delivery.body)
        assert delivery.properties.correlation_id == answer.request_id
        assert not delivery.properties.headers  # each would cost the broker time
        self.replies.setdefault(answer.request_id, []).append(answer)
        delivery.ack()

    def _died(self, delivery: Delivery) -> None:
        self.dead.append(delivery)
        delivery.ack()

    def send(
        self,
        target: str = "/pets/greet?name=Ada",
        method: str = "GET",
        *,
        body: Any = None,
        headers: dict[str, Any] | None = None,
        waits: bool = True,
        left: float = 30.0,
        more: dict[str, Any] | None = None,
        **message_headers: str,
    ) -> str:
        """Enqueue a request, with `more` members of its message; returns its id."""
        request_id = f"r{next(self._ids)}"
        deadline = int((time.time() + left) * 1000)
        fields = dict(headers or {})
        text = ""
        if body is not None:
            text = json.dumps(body)
            fields.setdefault("content-type", "application/json")
        message = control.service(
            "frontend", request_id, method, target, fields, body=text, deadline=deadline if waits else None, host="a.b"
        )
        message |= more or {}
        about = {"host": "a.b", "path": target.partition("?")[0], **message_headers}
        if waits:
            about["deadline"] = str(deadline)
        self.client.publish(
            Outgoing(
                encode(message),
                QUEUE,
                headers=about,
                reply_to=REPLIES if waits else None,
                correlation_id=request_id,
                persistent=not waits,
            )
        )
        return request_id

    def raw(self, body: bytes, **more: Any) -> None:
        """Enqueue any bytes."""
        self.client.publish(Outgoing(body, QUEUE, **more))

    async def reply_to(self, request_id: str) -> Reply:
        """Wait for the answer."""
        answers: list[Reply] = await until(lambda: self.replies.get(request_id))
        return answers[0]

    async def ask(self, *args: Any, **more: Any) -> Reply:
        """Enqueue a request and wait for its answer."""
        return await self.reply_to(self.send(*args, **more))

    async def quiet(self) -> None:
        """Wait until the queue is empty and all is settled."""
        queue = self.hub.queues[QUEUE]
        await until(lambda: not queue.ready and not queue.unacked)

    async def host(self, number: int = 0) -> FakeHost:
        """Wait for the host of that number."""
        await until(lambda: len(self.hosts) > number)
        return self.hosts[number]

    async def call_at(self, number: int = 0, count: int = 1) -> FakeHost:
        """Wait until so many calls are at the host of that number."""
        host = await self.host(number)
        await until(lambda: len(host.calls) >= count)
        return host


@asynccontextmanager
async def world(tmp_path: Path, monkeypatch: Any, document: str = SPEC) -> AsyncIterator[World]:
    """A Func that is not serving yet."""
    made = World(tmp_path, document)
    monkeypatch.setattr(func_module, "load", made.load)
    await made.setup()
    try:
        yield made
    finally:
        await made.func.close(grace=0.0)
        await made.tools.outbox.settle()
        made.tools.deadlines.close()
        await made.broker.close()
        await made.client.close()


def problem_of(answer: Reply) -> dict[str, Any]:
    """The problem in an answer."""
    assert ("Content-Type", "application/problem+json") in answer.headers
    found: dict[str, Any] = json.loads(answer.body)
    assert found["request-id"] == answer.request_id
    assert found["status"] == answer.status
    return found


__all__ = ["HostError", "World", "json_answer", "message_id", "problem_of", "until", "world"]
