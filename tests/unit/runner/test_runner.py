"""A whole Runner with real Python hosts, on the memory broker: told by a played Tron, asked by a played front end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from funcatron.brokers.base import Delivery, Outgoing, Queue
from funcatron.brokers.hub import MemoryHub
from funcatron.brokers.memory import MemoryBroker
from funcatron.bundles import build
from funcatron.message import Answer, control, encode, validate
from funcatron.message.topology import DEAD_LETTER, FOR_TRON, runner_queue
from funcatron.runner import call as call_module
from funcatron.runner import server
from funcatron.runner.hostlog import LogPump
from funcatron.runner.server import Runner
from funcatron.settings import Settings

PATIENCE = 30.0
QUEUE = "func.trial.12345678"

SPEC = """
swagger: "2.0"
info: {title: Trial, version: "1"}
basePath: /trial
x-funcatron: {concurrency: 4}
securityDefinitions:
  basic: {type: basic, x-basicInfoFunc: app.login}
paths:
  /greet:
    get:
      operationId: app.greet
      parameters:
        - {name: name, in: query, type: string, required: true}
      responses: {200: {description: OK}}
  /fail:
    get: {operationId: app.fail, responses: {200: {description: OK}}}
  /die:
    get: {operationId: app.die, responses: {200: {description: OK}}}
    post: {operationId: app.die_once, responses: {200: {description: OK}}}
  /wait:
    get:
      operationId: app.wait
      parameters: [{name: seconds, in: query, type: number, required: true}]
      responses: {200: {description: OK}}
  /late:
    get:
      operationId: app.late
      x-funcatron: {timeout: 0.3}
      responses: {200: {description: OK}}
  /stuck:
    get:
      operationId: app.stuck
      x-funcatron: {timeout: 0.3}
      responses: {200: {description: OK}}
  /secret:
    get:
      operationId: app.secret
      security: [{basic: []}]
      parameters: [{name: n, in: query, type: integer, required: true}]
      responses: {200: {description: OK}}
  /echo:
    post:
      operationId: app.echo
      consumes: [application/octet-stream]
      parameters: [{name: body, in: body, schema: {type: string, format: binary}}]
      responses: {200: {description: OK}}
"""

CODE = """
import logging, os, time

def greet(name, context):
    print("greeting", name)
    return {"greeting": f"Hello, {name}!", "prop": context.properties.get("a"), "pid": os.getpid()}

def fail():
    raise RuntimeError("a secret of the Func")

def die():
    os._exit(3)

def die_once():
    os._exit(4)

def wait(seconds):
    time.sleep(seconds)
    return os.getpid()

async def late():
    import asyncio
    await asyncio.sleep(20)

def stuck():
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            pass

def login(username, password):
    return {"sub": username} if password == "right" else None

def secret(n, user):
    return {"n": n, "user": user}

def echo(body):
    return body
"""


def runs(pid: int) -> bool:
    """Say whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def bundle_of(folder: Path, spec: str, code: str) -> bytes:
    folder.mkdir()
    (folder / "funcatron.yaml").write_text(spec)
    (folder / "app.py").write_text(code)
    build(folder, folder.with_suffix(".pex"))
    return folder.with_suffix(".pex").read_bytes()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The Tron's bundles by name, and where they are served."""
    root = tmp_path_factory.mktemp("bundles")
    good = bundle_of(root / "good", SPEC, CODE)
    bad = bundle_of(root / "bad", SPEC, CODE.replace("def fail()", "def fails()").replace("def echo(", "def echos("))
    found = {hashlib.sha256(data).hexdigest(): data for data in (good, bad)}
    names = dict(zip(("good", "bad"), found, strict=True))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = found.get(self.path.rpartition("/")[2])
            self.send_response(404 if data is None else 200)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", names
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """One data folder for all: bundles are unpacked once. The users that hosts run as can get there."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


class Stage:
    """A Runner and everybody who talks with it."""

    def __init__(self, store: tuple[str, dict[str, str]], data: Path) -> None:
        self.hub = MemoryHub()
        self.client = MemoryBroker(self.hub)
        self.url, self.shas = store
        self.log = io.StringIO()
        self.pump = LogPump("runner", self.log)
        self.data = data
        settings = Settings(data=data, broker="memory", tron_url=self.url, cache=data / "cache")
        self.runner = Runner(settings, "r1", MemoryBroker(self.hub), self.pump, data)
        self.heard: list[dict[str, Any]] = []
        self.answers: dict[str, list[Answer]] = {}
        self.dead: list[Delivery] = []
        self.count = 0

    async def start(self) -> None:
        logging.getLogger().addHandler(self.pump)
        logging.getLogger().setLevel(logging.INFO)
        self.pump.start()
        await self.client.connect()
        for name in (FOR_TRON, DEAD_LETTER, QUEUE, "replies"):
            await self.client.declare(Queue(name))
        await self.client.consume(FOR_TRON, self._hear, prefetch=100)
        await self.client.consume("replies", self._answered, prefetch=1000)
        await self.client.consume(DEAD_LETTER, self.dead.append, prefetch=100)
        await self.runner.startup()
        self.life = asyncio.create_task(self.runner.run())

    async def end(self) -> None:
        self.runner.stop()
        await self.life
        await self.runner.shutdown(grace=2.0)
        await self.until(lambda: self.heard[-1]["action"] == "died")
        await self.client.close()
        self.close_log()

    def close_log(self) -> None:
        logging.getLogger().removeHandler(self.pump)
        self.pump.close()

    def _hear(self, delivery: Delivery) -> None:
        message = json.loads(delivery.body)
        validate(message["action"], message)
        self.heard.append(message)
        delivery.ack()

    def _answered(self, delivery: Delivery) -> None:
        validate("answer", json.loads(delivery.body))
        answer = Answer.decode(delivery.body)
        self.answers.setdefault(answer.request_id, []).append(answer)
        delivery.ack()

    async def until(self, holds: Callable[[], Any]) -> Any:
        async with asyncio.timeout(PATIENCE):
            while not (value := holds()):  # noqa: ASYNC110 - the state of any part, which has no events for tests
                await asyncio.sleep(0.005)
            return value

    async def enable(self, name: str = "good", **more: Any) -> dict[str, Any]:
        """Have it enabled; returns the final ack."""
        bundle = {"sha": self.shas[name], "queue": QUEUE, "name": "trial", "props": {"a": 1}, **more}
        message = control.enable("tron", bundle, ("127.0.0.1", 1))
        self.client.publish(Outgoing(encode(message), runner_queue("r1")))
        acks = await self.until(
            lambda: [m for m in self.heard if m.get("ack-id") == message["msg-id"] and m.get("final")]
        )
        return dict(acks[0])

    def send(self, target: str, method: str = "GET", body: bytes = b"", waits: bool = True, **headers: str) -> str:
        self.count += 1
        request_id = f"q{self.count}"
        deadline = int((time.time() + 20) * 1000)
        message = control.service(
            "fe", request_id, method, target, headers, body=base64.b64encode(body).decode(), base64=True,
            deadline=deadline if waits else None,
        )  # fmt: skip
        reply_to = "replies" if waits else None
        self.client.publish(Outgoing(encode(message), QUEUE, reply_to=reply_to, correlation_id=request_id))
        return request_id

    async def ask(self, *args: Any, **more: Any) -> Answer:
        request_id = self.send(*args, **more)
        found: list[Answer] = await self.until(lambda: self.answers.get(request_id))
        return found[0]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def pids(self) -> list[int]:
        return [host["pid"] for func in self.runner.funcs.report() for host in func.get("hosts", ())]


@pytest_asyncio.fixture
async def stage(store: tuple[str, dict[str, str]], data: Path) -> AsyncIterator[Stage]:
    """A Runner that serves nothing yet."""
    made = Stage(store, data)
    await made.start()
    yield made
    await made.end()


async def test_a_deployed_func_serves_with_its_properties_and_logs_with_its_request(stage: Stage) -> None:
    ack = await stage.enable()
    assert ack["stage"] == "serving", ack
    assert "app.greet" in ack["operations"]
    answer = await stage.ask("/trial/greet?name=Ada")
    assert answer.status == 200
    assert json.loads(answer.body) | {"pid": 0} == {"greeting": "Hello, Ada!", "prop": 1, "pid": 0}
    line = await stage.until(lambda: [one for one in stage.lines() if one["message"] == "greeting Ada"])
    assert line[0]["request-id"] == answer.request_id
    assert line[0]["sha"] == stage.shas["good"]
    assert line[0]["component"] == "host"


async def test_missing_functions_are_all_named_in_the_ack_and_nothing_is_served(stage: Stage) -> None:
    ack = await stage.enable("bad")
    assert ack["stage"] == "failed"
    text = " ".join(ack["errors"])
    assert "app.fail" in text
    assert "app.echo" in text
    assert len(stage.runner.funcs) == 0
    assert not stage.hub.queues[QUEUE].takers


async def test_a_trace_goes_to_the_log_and_not_to_the_caller(stage: Stage) -> None:
    assert (await stage.enable())["ok"]
    answer = await stage.ask("/trial/fail")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert json.loads(answer.body)["request-id"] == answer.request_id
    found = await stage.until(lambda: [one for one in stage.lines() if "a secret of the Func" in json.dumps(one)])
    assert found[0]["request-id"] == answer.request_id


async def test_a_binary_body_of_some_size_comes_back(stage: Stage) -> None:
    assert (await stage.enable())["ok"]
    body = os.urandom(3_000_000)
    answer = await stage.ask("/trial/echo", "POST", body, **{"content-type": "application/octet-stream"})
    assert (answer.status, answer.body) == (200, body)


async def test_security_comes_before_the_arguments(stage: Stage) -> None:
    assert (await stage.enable())["ok"]
    wrong = {"authorization": "Basic " + "YTpi"}
    right = {"authorization": "Basic " + "YTpyaWdodA=="}
    assert (await stage.ask("/trial/secret?n=x")).status == 401
    refused = await stage.ask("/trial/secret?n=x", **wrong)
    assert refused.status == 401
    assert json.loads(refused.body)["request-id"] == refused.request_id
    assert (await stage.ask("/trial/secret?n=x", **right)).status == 400
    answer = await stage.ask("/trial/secret?n=4", **right)
    assert json.loads(answer.body) == {"n": 4, "user": "a"}


async def test_a_call_over_its_time_is_cancelled_in_its_host(stage: Stage) -> None:
    assert (await stage.enable())["ok"]
    pids = stage.pids()
    began = time.monotonic()
    assert (await stage.ask("/trial/late")).status == 504
    assert time.monotonic() - began < 2.0
    assert (await stage.ask("/trial/greet?name=x")).status == 200
    assert stage.pids() == pids


async def test_a_host_that_does_not_yield_is_replaced(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "GRACE", 0.2)
    assert (await stage.enable())["ok"]
    pids = stage.pids()
    assert (await stage.ask("/trial/stuck")).status == 504
    await stage.until(lambda: not set(pids) & set(stage.pids()))
    await stage.until(lambda: not runs(pids[0]))
    assert (await stage.ask("/trial/greet?name=x")).status == 200


async def test_killed_hosts_lose_no_idempotent_call(stage: Stage) -> None:
    assert (await stage.enable())["ok"]
    requests = [stage.send("/trial/wait?seconds=0.3") for _ in range(12)]
    await stage.until(lambda: stage.hub.queues[QUEUE].unacked)
    await asyncio.sleep(0.1)
    os.kill(stage.pids()[0], signal.SIGKILL)
    for request in requests:
        assert (await stage.until(lambda r=request: stage.answers.get(r)))[0].status == 200  # type: ignore[misc]
    assert all(len(answers) == 1 for answers in stage.answers.values())
    found = await stage.until(lambda: [one for one in stage.lines() if "SIGKILL" in one["message"]])
    assert found[0]["sha"] == stage.shas["good"]


async def test_a_func_that_ends_its_host_is_a_502(stage: Stage) -> None:
    assert (await stage.enable())["ok"]
    assert (await stage.ask("/trial/die", "POST")).status == 502
    assert (await stage.ask("/trial/die")).status == 502
    assert (await stage.ask("/trial/greet?name=x")).status == 200


async def test_a_runner_that_ends_says_so_and_leaves_no_process(store: Any, data: Path) -> None:
    stage = Stage(store, data)
    await stage.start()
    assert (await stage.enable())["ok"]
    request = stage.send("/trial/wait?seconds=0.5")
    await stage.until(lambda: stage.hub.queues[QUEUE].unacked)
    pids = stage.pids()
    await stage.end()
    assert stage.answers[request][0].status == 200
    assert not any(map(runs, pids))


def test_a_runner_s_folder_is_its_own_and_what_a_killed_one_left_goes(tmp_path: Path, monkeypatch: Any) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(server, "passable", lambda folder: True)
    monkeypatch.setattr(server, "RUN", (str(tmp_path),))
    with server.run_folder("data runner-1") as folder:
        (folder / "left").touch()
        assert folder.stat().st_mode & 0o777 == 0o711
        with server.run_folder("data runner-2") as other:
            assert other != folder
        with server.run_folder("data runner-1") as again:
            assert again == folder
            assert list(again.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(server, "RUN", (str(tmp_path),))
    with server.run_folder("x") as folder:
        name = folder
    name.symlink_to(tmp_path)
    with server.run_folder("x") as folder:
        assert folder != name
        assert not folder.is_symlink()
