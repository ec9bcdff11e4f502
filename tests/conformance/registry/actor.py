"""A process that uses a Registry as it is told on stdin, and says on stdout what came of it: a JSON value a line."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from sqlalchemy import event

from funcatron.errors import FuncatronError
from funcatron.stores.lease import Lease
from funcatron.stores.records import BundleRecord, Deployment, Event, Version
from funcatron.stores.registry import Change, Registry


class Actor:
    """What it can be told."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.lease = Lease()

    async def acquire(self, holder: str, ttl: float = 3.0) -> Any:
        """Try to lead; what follows is done under the lease's epoch."""
        lease = await self.registry.acquire(holder, f"http://{holder}", ttl)
        if lease is None:
            return None
        self.lease, self.registry = lease, self.registry.under(lease.epoch)
        return asdict(lease)

    async def renew(self) -> Any:
        """Give a sign of life."""
        self.lease = await self.registry.renew(self.lease)
        return asdict(self.lease)

    async def deploy(self, name: str, path: str, sha: str = "a" * 64) -> Any:
        """Write a new deployment."""
        bundle = Version(sha, None, path)
        await self.registry.add_bundle(BundleRecord(sha, "python", name, None, path, 1))
        event = Event(1.0, name, sha, "deploy", "begun")
        applied = await self.registry.apply(Change(save=Deployment(name, bundle), events=(event,), routes=True))
        return applied.routes_version

    async def die_at_commit(self) -> None:
        """From now on: be killed in the moment before a commit."""
        event.listen(self.engine, "commit", lambda _db: me(signal.SIGKILL))

    async def stop_at_commit(self) -> None:
        """From now on: be paused in the moment before a commit, with all locks."""
        event.listen(self.engine, "commit", lambda _db: me(signal.SIGSTOP))

    async def limit_files(self, more: int) -> None:
        """From now on: write files that are no larger than the database is now, and `more` bytes; -1: without limit."""
        size = os.stat(str(self.registry.url.database)).st_size + more
        soft = resource.RLIM_INFINITY if more < 0 else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    async def write(self, size: int) -> None:
        """Write a fact of so many bytes."""
        await self.registry.remember("large", "x" * size)

    async def count(self) -> Any:
        """Read something."""
        return len(await self.registry.deployments())

    @property
    def engine(self) -> Any:
        """The Registry's engine."""
        return self.registry._database._engine


async def main(url: str) -> None:
    """Do one thing after the other, until stdin ends."""
    registry = Registry(url)
    await registry.open()
    actor = Actor(registry)
    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        told = json.loads(line)
        try:
            say({"done": await getattr(actor, told.pop("do"))(**told)})
        except FuncatronError as err:
            say({"error": type(err).__name__, "text": str(err)})
    await registry.close()


def me(how: signal.Signals) -> None:
    """Send this very thread a signal: one that is sent to the process may reach it a moment later."""
    signal.pthread_kill(threading.get_ident(), how)


def say(value: Any) -> None:
    """Say what came of it."""
    print(json.dumps(value), flush=True)


asyncio.run(main(sys.argv[1]))
