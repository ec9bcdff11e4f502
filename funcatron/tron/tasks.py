"""Background work of the event loop: kept track of, logged when it fails, ended in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from funcatron.errors import BrokerError, Conflict, NotLeader, StoreError

log = logging.getLogger("funcatron.tron")

T = TypeVar("T")

AGAIN = 1.0
"""Pause before a step that the Registry or the broker refused is tried again, s; it doubles up to a minute."""


class Tasks:
    """A set of running tasks. Nothing is started once it was stopped."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T] | None:
        """Run `work` in the background; returns None when it is too late for that."""
        if self._stopped:
            work.close()
            return None
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def stop(self, grace: float = 0.0) -> None:
        """Let what runs end by itself for `grace` seconds, then cancel it, and wait until all is over."""
        self._stopped = True
        if self._running and grace:
            await asyncio.wait(self._running, timeout=grace)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        if isinstance(task.exception(), NotLeader):  # the leader goes on with it: the Registry knows how far it came
            log.warning("%s was given up: %s", task.get_name(), task.exception())
        else:
            log.error("%s failed", task.get_name(), exc_info=task.exception())


async def persist(step: Callable[[], Awaitable[Any]], what: str) -> None:
    """Make a step, again and again for as long as the Registry or the broker refuses it. Raises NotLeader."""
    pause = AGAIN
    while True:
        try:
            await step()
            return
        except (StoreError, BrokerError, Conflict) as err:
            log.warning("%s did not work yet: %s", what, err)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 60.0)


def forget(running: dict[str, asyncio.Task[Any]], name: str, ended: asyncio.Task[Any]) -> None:
    """Take a task that has ended out of a table, unless another took its place."""
    if running.get(name) is ended:
        del running[name]
