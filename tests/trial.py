"""The trial bundle (tests/bundles/trial) on a private stack, and a client that counts every answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from funcatron.bundles import build
from tests.stack import PrivateStack

FOLDER = Path(__file__).parent / "bundles"


def deploy(stack: PrivateStack, bundle: Path, name: str, timeout: float = 60.0, **wanted: Any) -> dict[str, Any]:
    """Store and deploy a bundle by the admin API; return the deployment once it serves, fail if it does not."""
    data = bundle.read_bytes()
    sha = hashlib.sha256(data).hexdigest()
    with httpx.Client(base_url=stack.admin, timeout=60) as admin:
        stored = admin.post("/api/v2/bundles", content=data)
        assert stored.status_code in {200, 201}, stored.text
        asked = admin.put(f"/api/v2/deployments/{name}", json={"sha": sha, **wanted})
        assert asked.status_code == 202, asked.text
        seen: dict[str, Any] = {}

        def serves() -> bool:
            seen.update(admin.get(f"/api/v2/deployments/{name}").json())
            assert not seen.get("error"), seen
            return bool(seen["sha"] == sha and seen["enabled"] and seen["stage"] == "routed")

        stack.wait_for(serves, f"{name} serves: {seen}", timeout)
    return seen


def build_trial(output: Path) -> Path:
    """Build the trial bundle as a PEX."""
    build(FOLDER / "trial", output)
    return output


@dataclass
class Tally:
    """What came back: each request's fate once."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0  # connections that ended without an answer
    wrong: list[str] = field(default_factory=list)  # answers that belong to another request

    @property
    def answers(self) -> int:
        """Requests that ended, one way or the other."""
        return sum(self.statuses.values()) + self.broken


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One keep-alive connection. Cheap, so that 200 of them in one process measure the server and not the client."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str, request_id: str) -> Answer:
        """Send a request and read its answer. Raises OSError or EOFError when the connection ends before it."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        head = f"{method} {target} HTTP/1.1\r\nHost: trial\r\nX-Request-Id: {request_id}\r\nContent-Length: 0\r\n\r\n"
        try:
            writer.write(head.encode())
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(lines[0].split(" ")[1]), headers, body)

    def close(self) -> None:
        """End it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


Ask = Callable[[Connection, int], Awaitable[Answer]]


class Load:
    """Keeps `width` requests in flight until told to stop; counts each answer and checks whose it is."""

    def __init__(self, stack: PrivateStack, ask: Ask, width: int, limit: int = 100_000) -> None:
        self.address = ("127.0.0.1", stack.settings.http_port)
        self.ask = ask
        self.width = width
        self.tally = Tally()
        self.sent = 0
        self._numbers = iter(range(limit))
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> Tally:
        """Run until `stop`, then return what came back."""
        await asyncio.gather(*(self._one_by_one(Connection(*self.address)) for _ in range(self.width)))
        return self.tally

    def stop(self) -> None:
        """Send no more; what is in flight ends."""
        self._stop.set()

    async def answered(self, count: int) -> None:
        """Wait until so many requests have ended since now."""
        goal = self.tally.answers + count
        await self.until(lambda: self.tally.answers >= goal)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that an answer brings about."""
        async with asyncio.timeout(60):
            while not condition():
                self._ended.clear()
                await self._ended.wait()

    async def _one_by_one(self, connection: Connection) -> None:
        for number in self._numbers:
            if self._stop.is_set():
                break
            self.sent += 1
            try:
                async with asyncio.timeout(90):
                    answer = await self.ask(connection, number)
            except (OSError, EOFError):
                self.tally.broken += 1
                self._ended.set()
                continue
            self.tally.statuses[answer.status] += 1
            if answer.headers.get("x-request-id") != f"load-{number}":
                self.tally.wrong.append(f"{number}: {answer.headers.get('x-request-id')}")
            self._ended.set()
        connection.close()


async def echo(connection: Connection, number: int) -> Answer:
    """A short idempotent call whose answer is checked."""
    answer = await connection.ask("GET", f"/trial/echo?value={number}", f"load-{number}")
    if answer.status == 200:
        assert json.loads(answer.body) == {"value": str(number)}
    return answer


async def wait_get(connection: Connection, number: int) -> Answer:
    """An idempotent call that takes a while."""
    return await connection.ask("GET", "/trial/wait?seconds=0.2", f"load-{number}")


async def wait_post(connection: Connection, number: int) -> Answer:
    """A call that must not be made twice, and takes a while."""
    return await connection.ask("POST", "/trial/wait?seconds=0.2", f"load-{number}")


async def mixed(connection: Connection, number: int) -> Answer:
    """Every third is short, every third idempotent, every third not."""
    return await (echo, wait_get, wait_post)[number % 3](connection, number)
