"""What is deployed, as this Tron knows it. Each change is written to the Registry first, and then takes effect.

Where the Registry fails in the middle of a change, what became of it is not known: the deployment is read again before
anything else is done to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from funcatron.errors import Conflict, StoreError
from funcatron.stores.change import Change
from funcatron.stores.records import Deployment, Draining
from funcatron.stores.registry import Registry
from funcatron.tron.outbox import Outbox
from funcatron.tron.routes import Portion, Route, RouteTable, limit
from funcatron.tron.tasks import Tasks, persist

log = logging.getLogger("funcatron.tron.deployments")


class Estate:
    """All deployments, the queues on their way out, and the route table that follows from them."""

    def __init__(
        self, registry: Registry, outbox: Outbox, tasks: Tasks, on_routes: Callable[[RouteTable], None]
    ) -> None:
        self.registry = registry
        self.outbox = outbox
        self.tasks = tasks
        self.on_routes = on_routes
        self.on_reread: Callable[[str], None] = lambda _: None
        self.table = RouteTable()
        self.limits: Mapping[str, int] = {}
        self.all: dict[str, Deployment] = {}
        self.draining: dict[str, Draining] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._doubts: set[str] = set()
        self._waiters: dict[str, asyncio.Event] = {}

    async def load(self) -> None:
        """Take everything from the Registry, and route by it. Raises StoreError."""
        all_ = {deployment.name: deployment for deployment in await self.registry.deployments()}
        draining = {one.queue: one for one in await self.registry.draining()}
        epoch, version = await self.registry.routes_state()
        self.all, self.draining = all_, draining
        self._doubts.clear()
        self._route(version, epoch)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Deployment | None]:
        """Give the deployment as it is, and let nobody else change it meanwhile. Raises StoreError where that cannot be
        known."""
        async with self._locks[name]:
            if name in self._doubts:
                await self._read_again(name)
            yield self.all.get(name)

    async def apply(self, change: Change) -> Deployment | None:
        """Write a change of one deployment, in its turn, and let it take effect; returns the deployment.

        Raises Conflict, NotLeader or StoreError; nothing has taken effect then.
        """
        name = change.save.name if change.save is not None else change.remove
        try:
            applied = await self.registry.apply(change)
        except (StoreError, Conflict, asyncio.CancelledError):
            if name is not None:
                self._doubts.add(name)
                self.tasks.start(persist(lambda: self._clear_up(name), f"reading {name} again"), f"reading {name}")
            raise
        if change.remove is not None:
            self.all.pop(change.remove, None)
        if applied.deployment is not None:
            self.all[applied.deployment.name] = applied.deployment
        for queue in change.drained:
            self.draining.pop(queue, None)
        self.draining.update({one.queue: one for one in change.drain})
        if change.routes:
            self._route(applied.routes_version, self.table.epoch)
            self.outbox.routes(self.table)
        self._changed(name)
        return applied.deployment

    async def news(self, name: str, limit: float) -> None:
        """Wait until something of a deployment changes, or for `limit` seconds."""
        waiter = self._waiters.setdefault(name, asyncio.Event())
        with suppress(TimeoutError):
            await asyncio.wait_for(waiter.wait(), limit)

    def _changed(self, name: str | None) -> None:
        waiter = self._waiters.pop(name, None) if name is not None else None
        if waiter is not None:
            waiter.set()

    async def _clear_up(self, name: str) -> None:
        async with self.turn(name):
            pass

    async def _read_again(self, name: str) -> None:
        """Take a deployment as the Registry has it: a change of it may have been made of which nobody was told."""
        found = {deployment.name: deployment for deployment in await self.registry.deployments()}.get(name)
        draining = {one.queue: one for one in await self.registry.draining() if one.name == name}
        epoch, version = await self.registry.routes_state()
        self._doubts.discard(name)
        if found != self.all.get(name):
            log.info("%s was changed, as is known now", name)
            self.all.pop(name, None)
            if found is not None:
                self.all[name] = found
            self.draining = {queue: one for queue, one in self.draining.items() if one.name != name} | draining
            self._route(version, epoch)
            self.outbox.routes(self.table)
        self.on_reread(name)
        self._changed(name)

    def limit(self, limits: Mapping[str, int]) -> None:
        """Tell everybody which func queues are too deep, and after how many seconds their callers may come again. It is
        no change of the routes, and is forgotten where it is not said again."""
        self.limits = limits
        self._route(self.table.version, self.table.epoch)
        self.outbox.routes(self.table)

    def _route(self, version: int, epoch: str) -> None:
        routes = [limit(route, self.limits) for route in routes_of(self.all.values())]
        self.table = RouteTable(routes, version, epoch)
        self.on_routes(self.table)


def routes_of(deployments: Iterable[Deployment]) -> list[Route]:
    """Return the routes to what serves."""
    return [route for route in map(_route, deployments) if route is not None]


def _route(one: Deployment) -> Route | None:
    serving, split = one.serving, one.split
    if serving is None:
        return None
    queue = serving.queue(one.name)
    if split is None:
        return Route(serving.host, serving.base_path, queue, one.name, serving.sha)
    portions = [Portion(share.version.queue(one.name), share.version.sha, share.percent) for share in split.shares]
    return Route(serving.host, serving.base_path, queue, one.name, serving.sha, tuple(portions), split.sticky)
