"""The databases that the Registry's suite runs on, with ways to make trouble for them, and processes that use them."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import uvloop
from sqlalchemy import create_engine

from funcatron.stores.engine import parse
from funcatron.stores.records import BundleRecord, Deployment, Version
from funcatron.stores.registry import Change, Registry
from tests.postgres import PostgresNode, programs

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PATIENCE = 30.0  # s that anything awaited may take, on a loaded machine
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.hookimpl(tryfirst=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The Registry is tested on uvloop, as the Tron runs it."""
    return {"uvloop": uvloop.new_event_loop}


class Store(ABC):
    """A database of a test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._made: list[Registry] = []
        self._actors: list[Actor] = []

    async def registry(self, **options: Any) -> Registry:
        """Return one more open Registry on it, with connections of its own."""
        made = Registry(self.url, **options)
        await made.open()
        self._made.append(made)
        return made

    async def actor(self) -> Actor:
        """Return one more process that uses it."""
        made = Actor(self.url)
        self._actors.append(made)
        await made.start()
        return made

    def script(self, path: Path) -> None:
        """Run an SQL script, as somebody else does."""
        engine = create_engine(parse(self.url))
        with engine.begin() as db:
            for statement in path.read_text().split(";\n"):
                db.exec_driver_sql(statement)
        engine.dispose()

    @property
    @abstractmethod
    def kind(self) -> str:
        """Which database it is."""

    @abstractmethod
    def held(self) -> Any:
        """Return a context in which somebody else is in the middle of a change, and does not end it."""

    async def close(self) -> None:
        """Close everything that was made."""
        for actor in self._actors:
            await actor.end()
        for registry in self._made:
            await registry.close()


class SqliteStore(Store):
    """A file."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "deep" / "registry.db"
        self.file.parent.mkdir()
        super().__init__(f"sqlite:///{self.file}")

    @contextmanager
    def held(self) -> Iterator[None]:
        other = sqlite3.connect(self.file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.close()


class PostgresStore(Store):
    """A database on a server."""

    kind = "postgresql"

    def __init__(self, node: PostgresNode) -> None:
        self.node = node
        super().__init__(node.database())

    @contextmanager
    def held(self) -> Iterator[None]:
        with psycopg.connect(self.url) as other:
            other.execute("SELECT * FROM lease FOR UPDATE")
            yield


class Actor:
    """A process that does what it is told with a Registry of its own (`actor.py`)."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until its Registry is open."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "actor.py"),
            self._url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert await self.reply() == {"ready": True}

    def tell(self, do: str, **how: Any) -> None:
        """Tell it to do something."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **how}).encode() + b"\n")

    async def reply(self) -> dict[str, Any]:
        """Wait for what came of it."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        assert line, "the process has ended"
        value: dict[str, Any] = json.loads(line)
        return value

    async def ask(self, do: str, **how: Any) -> dict[str, Any]:
        """Tell it to do something, and return what came of it."""
        self.tell(do, **how)
        return await self.reply()

    def signal(self, how: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(how)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def gone(self) -> int:
        """Wait until it has ended; returns its exit code."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def end(self) -> None:
        """Kill it. Idempotent."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresNode]:
    """A PostgreSQL server that all tests of the suite share."""
    if programs() is None:
        pytest.skip("machine: no PostgreSQL server is installed")
    with PostgresNode() as made:
        yield made


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Every database, empty."""
    made: Store
    made = SqliteStore(tmp_path) if request.param == "sqlite" else PostgresStore(request.getfixturevalue("postgres"))
    yield made
    await made.close()


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A SQLite database, for what only a file can meet."""
    made = SqliteStore(tmp_path)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def server(postgres: PostgresNode) -> AsyncIterator[PostgresStore]:
    """A PostgreSQL database, for what only a server can meet."""
    made = PostgresStore(postgres)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def registry(store: Store) -> Registry:
    """An open Registry on every database, that knows three bundles."""
    made = await store.registry()
    for sha in (A, B, C):
        await made.add_bundle(record(sha))
    return made


def record(sha: str = A, **more: Any) -> BundleRecord:
    """Return a bundle."""
    return BundleRecord(sha, "python", "hello", None, "/hello", 12, operations=({"id": "f"},), created=1.0, **more)


def version(sha: str = A, path: str = "/hello", host: str | None = None, **props: Any) -> Version:
    """Return a version."""
    return Version(sha, host, path, props or {"p": 1}, {"timeout": 3}, "test")


async def saved(registry: Registry, deployment: Deployment, **more: Any) -> Deployment:
    """Write a deployment, and return it with its new revision."""
    made = (await registry.apply(Change(save=deployment, **more))).deployment
    assert made is not None
    return made


async def until(holds: Callable[[], Any]) -> Any:
    """Wait until something of another process is so, which gives no event."""
    async with asyncio.timeout(PATIENCE):
        while not (value := holds()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return value
