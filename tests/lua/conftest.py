"""Fixtures of the Frontend's tests: a private RabbitMQ for the session, nginx and a consumer for a module or a test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lua_support.consumer import Consumer
from lua_support.nginx import Nginx
from lua_support.rabbit import Rabbit
from lua_support.stomp_server import StompServer
from lua_support.waiting import free_port

RUNNER = """
server {
    listen 127.0.0.1:%d;
    location / {
        content_by_lua_block {
            ngx.req.read_body()
            local run = assert(loadstring(ngx.req.get_body_data()))
            local function pack(...)
                local results = { ... }
                for i = 1, select("#", ...) do
                    if results[i] == nil then results[i] = require("cjson").null end
                end
                return results
            end
            ngx.print(require("cjson").encode(pack(run())))
        }
    }
}
"""


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """A RabbitMQ of the session's own, with the topology that the Tron declares."""
    broker = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        broker.prepare()
        broker.start()
        connection = broker.connect()
        broker.declare(connection.channel())
        connection.close()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    """Start an nginx with an environment and template variables of the test's own; stopped at its end."""
    started: list[Nginx] = []

    def start(env: dict[str, str] | None = None, *, ready: bool = True, **variables: str) -> Nginx:
        nginx = Nginx(tmp_path / f"nginx{len(started)}", env, **variables)
        started.append(nginx)
        return nginx.start(ready)

    yield start
    for nginx in started:
        nginx.stop()


@pytest.fixture(scope="module")
def consumer(rabbit: Rabbit) -> Iterator[Consumer]:
    """A consumer of the firehose."""
    taker = Consumer(rabbit).start()
    yield taker
    taker.stop()


@pytest.fixture(scope="module")
def frontend(rabbit: Rabbit, consumer: Consumer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An nginx whose requests the consumer answers."""
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), rabbit.frontend(INSTANCEID="fe", FUNCATRON_REQUEST_TIMEOUT="5"))
    nginx.start()
    yield nginx
    nginx.stop()


@pytest.fixture
def stomp_server() -> Iterator[StompServer]:
    """A STOMP server that a test scripts."""
    server = StompServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def run_lua(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Run a piece of Lua in a request of a real nginx and return what it returns, by way of JSON."""
    port = free_port()
    nginx = Nginx(tmp_path_factory.mktemp("lua"), {"RABBIT_PORT": str(free_port())}, EXTRA=RUNNER % port)
    nginx.start(ready=False)

    def run(code: str, **values: str | int) -> Any:
        assignments = "".join(f"local {name} = {json.dumps(value)}\n" for name, value in values.items())
        answer = httpx.post(f"http://127.0.0.1:{port}/", content=assignments + code, timeout=30)
        assert answer.status_code == 200, nginx.errors()
        return answer.json()

    yield run
    nginx.stop()
