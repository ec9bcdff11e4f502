"""The way out: drains func queues that no route leads to any more, and forgets deployments of which none is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from funcatron.stores.records import Draining
from funcatron.tron import changes
from funcatron.tron.draining import Drainer
from funcatron.tron.estate import Estate
from funcatron.tron.tasks import Tasks, forget, persist


class Leaving:
    """The queues of an estate that are being drained, a task each."""

    def __init__(self, estate: Estate, drainer: Drainer, tasks: Tasks, clock: Callable[[], float]) -> None:
        self.estate = estate
        self.drainer = drainer
        self.tasks = tasks
        self.clock = clock
        self._drains: dict[str, asyncio.Task[Any]] = {}

    def begin(self, name: str | None = None) -> None:
        """Drain every queue that is on its way out, of one deployment or of all, unless that is being done."""
        for draining in list(self.estate.draining.values()):
            if name in (None, draining.name) and draining.queue not in self._drains:
                self._begin(draining)

    def pause(self) -> None:
        """Stop draining: the Registry knows of it."""
        for task in self._drains.values():
            task.cancel()
        self._drains.clear()

    async def stop(self, queue: str) -> None:
        """The queue is wanted again; returns once nobody drains it."""
        task = self._drains.pop(queue, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def finish(self, name: str) -> None:
        """Forget an undeployed deployment once nothing of it drains any more. Raises StoreError, NotLeader."""
        async with self.estate.turn(name) as current:
            drains = any(one.name == name for one in self.estate.draining.values())
            if current is not None and current.stage == "draining" and not drains:
                await self.estate.apply(changes.retired(current, self.clock()))

    def _begin(self, draining: Draining) -> None:
        task = self.tasks.start(self._drain(draining), f"draining {draining.queue}")
        if task is not None:
            self._drains[draining.queue] = task
            task.add_done_callback(lambda ended: forget(self._drains, draining.queue, ended))

    async def _drain(self, draining: Draining) -> None:
        await self.drainer.drain(draining)
        await persist(lambda: self._drained(draining), f"noting that {draining.queue} is gone")
        await persist(lambda: self.finish(draining.name), f"forgetting {draining.name}")

    async def _drained(self, draining: Draining) -> None:
        async with self.estate.turn(draining.name) as current:
            if draining.queue in self.estate.draining:
                await self.estate.apply(changes.drained(current, draining, self.clock()))
