"""Fixtures of the Frontend's tests: a private RabbitMQ for the session, nginx and a consumer for a module or a test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lua_support.consumer import Consumer
from lua_support.nginx import Nginx
from lua_support.rabbit import Rabbit


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
