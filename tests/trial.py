"""The trial bundle (tests/bundles/trial) on a private stack, and a client that counts every answer."""

from __future__ import annotations

import asyncio
import hashlib
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


Ask = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]


class Load:
    """Keeps `width` requests in flight until told to stop; counts each answer and checks whose it is."""

    def __init__(self, url: str, ask: Ask, width: int, limit: int = 100_000) -> None:
        self.url = url
        self.ask = ask
        self.width = width
        self.tally = Tally()
        self.sent = 0
        self._numbers = iter(range(limit))
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> Tally:
        """Run until `stop`, then return what came back."""
        limits = httpx.Limits(max_connections=self.width, max_keepalive_connections=self.width)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=90, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self.width):
                group.create_task(self._one_by_one(client))
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

    async def _one_by_one(self, client: httpx.AsyncClient) -> None:
        for number in self._numbers:
            if self._stop.is_set():
                return
            self.sent += 1
            try:
                answer = await self.ask(client, number)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.ConnectError):
                self.tally.broken += 1
                self._ended.set()
                continue
            self._ended.set()
            self.tally.statuses[answer.status_code] += 1
            if answer.headers.get("x-request-id") != f"load-{number}":
                self.tally.wrong.append(f"{number}: {answer.headers.get('x-request-id')}")


def marked(number: int) -> dict[str, str]:
    """Headers that give a request its own id."""
    return {"X-Request-Id": f"load-{number}"}


async def echo(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """A short idempotent call whose answer is checked."""
    answer = await client.get("/trial/echo", params={"value": str(number)}, headers=marked(number))
    if answer.status_code == 200:
        assert answer.json() == {"value": str(number)}
    return answer


async def wait_get(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """An idempotent call that takes a while."""
    return await client.get("/trial/wait", params={"seconds": "0.2"}, headers=marked(number))


async def wait_post(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """A call that must not be made twice, and takes a while."""
    return await client.post("/trial/wait", params={"seconds": "0.2"}, headers=marked(number))


async def mixed(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """Every third is short, every third idempotent, every third not."""
    return await (echo, wait_get, wait_post)[number % 3](client, number)
