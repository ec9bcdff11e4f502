"""The Funcs that this Runner serves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from funcatron.errors import BrokerError
from funcatron.runner.allotment import Allocation, Allotment
from funcatron.runner.deployment import Deployment
from funcatron.runner.func import Func
from funcatron.runner.machine import short_of_memory, total_memory
from funcatron.runner.tools import Tools

log = logging.getLogger("funcatron.runner.fleet")

RETRY = 5.0  # a func queue that is not there yet is looked for again after that, s
TICK = 1.0


class Funcs:
    """One Func a queue. Changes of one queue come one after the other (see Control)."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.serving: dict[str, Func] = {}
        self.leaving: set[Func] = set()
        self.news: Callable[[], None] = lambda: None  # called when some Func has more or fewer hosts
        self._allocation = Allocation()
        self._reserve = tools.settings.reserve(total_memory())
        self._tasks: set[asyncio.Task[None]] = set()

    def report(self) -> list[dict[str, Any]]:
        """Return one entry a Func, those that drain included."""
        return [func.report() for func in (*self.serving.values(), *self.leaving)]

    def __len__(self) -> int:
        return len(self.serving)

    async def enable(self, deployment: Deployment) -> list[str]:
        """Check a Func with a host of its own, then serve it; what served its queue before goes on until then.

        Returns its operations. Raises whatever forbids to serve it.
        """
        before = self.serving.get(deployment.queue)
        if before is not None and before.deployment == deployment and before.loaded is not None:
            return [operation.id for operation in before.loaded.api.operations]
        func = self._made(deployment)
        try:
            operations = await func.check()
            func.allot(self._allocation.of_new(deployment.queue))
            await func.serve()
        except BaseException:
            await func.close(grace=0.0)
            raise
        before = self.serving.get(deployment.queue)  # it may have changed meanwhile
        self.serving[deployment.queue] = func
        if before is not None:
            await before.stop_taking()
            self._spawn(self._end(before))
        log.info("serving", extra={"sha": deployment.sha, "queue": deployment.queue, "operations": operations})
        return operations

    async def disable(self, sha: str, queue: str | None, *, drain: bool) -> bool:
        """Serve it no longer; returns once it is gone. False if there was none."""
        found = [func for func in self.serving.values() if func.deployment.sha == sha]
        if queue is not None:
            found = [func for func in found if func.deployment.queue == queue]
        await asyncio.gather(*(self._leave(func, drain=drain) for func in found))
        return bool(found)

    async def reconcile(self, wanted: list[Deployment]) -> None:
        """Serve what is wanted and nothing else. New Funcs stay asleep until their first message."""
        queues = {deployment.queue: deployment for deployment in wanted}
        for queue, func in list(self.serving.items()):
            if queue not in queues:
                self._spawn(self._leave(func, drain=True))
        for queue, deployment in queues.items():
            before = self.serving.get(queue)
            if before is not None and before.deployment == deployment:
                continue
            func = self._made(deployment)
            func.allot(self._allocation.of(queue))
            self.serving[queue] = func
            if before is not None:
                self._spawn(self._end(before))
            self._spawn(self._serve(func))
        await self.tools.cache.evict({deployment.sha for deployment in wanted})

    def allocate(self, wanted: dict[str, Allotment]) -> None:
        """Have so many hosts of each Func from now on, and none of what is not named; say so again now and then."""
        self._allocation.take(wanted, time.monotonic())
        for queue, func in self.serving.items():
            func.allot(self._allocation.of(queue))

    def tick(self) -> None:
        """Once a second: look at the memory, and let each Func look after its hosts."""
        now = time.monotonic()
        short = short_of_memory(self._reserve)
        if short != self.tools.capacity.short:
            log.log(logging.WARNING if short else logging.INFO, "memory is short" if short else "memory is there again")
        self.tools.capacity.note_memory(short=short)
        if self._allocation.expire(now):
            log.warning("no Tron leads any more: hosts are started and stopped by what is called here")
            for func in self.serving.values():
                func.allot(None)
        for func in (*self.serving.values(), *self.leaving):
            func.tick(now)

    def connection_lost(self) -> None:
        """The connection to the broker is gone."""
        for func in (*self.serving.values(), *self.leaving):
            func.connection_lost()

    async def close(self, grace: float) -> None:
        """Stop taking messages everywhere, then end every Func."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        funcs = [*self.serving.values(), *self.leaving]
        await asyncio.gather(*(func.stop_taking() for func in funcs))
        await asyncio.gather(*(func.close(grace) for func in funcs))
        self.serving.clear()
        self.leaving.clear()

    def _made(self, deployment: Deployment) -> Func:
        func = Func(deployment, self.tools)
        func.news = self._news
        return func

    def _news(self) -> None:
        self.news()

    async def _serve(self, func: Func) -> None:
        """Consume; a queue that is not there yet, or no broker, is waited for."""
        while self.serving.get(func.deployment.queue) is func:
            try:
                await func.serve()
                return
            except BrokerError as err:
                log.warning("cannot consume %s yet: %s", func.deployment.queue, err)
            await asyncio.sleep(RETRY)

    async def _leave(self, func: Func, *, drain: bool) -> None:
        queue = func.deployment.queue
        if self.serving.get(queue) is func:
            del self.serving[queue]
        self.leaving.add(func)
        try:
            if drain:
                await func.drain()
            else:
                await self._finish(func)
        finally:
            self.leaving.discard(func)
        log.info("retired", extra={"sha": func.deployment.sha, "queue": queue})

    async def _end(self, func: Func) -> None:
        """End a Func whose queue another one serves now."""
        self.leaving.add(func)
        try:
            await self._finish(func)
        finally:
            self.leaving.discard(func)

    async def _finish(self, func: Func) -> None:
        await func.close(grace=self.tools.settings.func_timeout)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a change of the Funcs failed", exc_info=task.exception())
