"""The deployments of an installation: the state machine of each, and what follows from all of them together.

stored → validated → loading → serving → routed, and the old version's queue is drained; undeploying takes the routes
away first. Each step is written to the Registry before it takes effect, so a Tron that was killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from funcatron.brokers.base import Broker
from funcatron.errors import Conflict, NotFound
from funcatron.stores.records import Deployment, Draining, Event, Stage, Version
from funcatron.stores.registry import Change, Registry
from funcatron.tron import queues
from funcatron.tron.draining import Drainer
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Loaded, Peer, Peers
from funcatron.tron.rollouts import Limits, Rollouts
from funcatron.tron.routes import Route, RouteTable, plain_host, plain_path
from funcatron.tron.tasks import Tasks, forget, persist

log = logging.getLogger("funcatron.tron.deployments")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names of deployments: they are part of queue names and URLs."""

UNDER_WAY = frozenset({"stored", "validated", "loading", "serving"})


class Deployments:
    """All deployments. Methods are called on the event loop; changes of one deployment come one after another."""

    def __init__(
        self,
        registry: Registry,
        broker: Broker,
        outbox: Outbox,
        peers: Peers,
        drainer: Drainer,
        tasks: Tasks,
        on_routes: Callable[[RouteTable], None],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.registry = registry
        self.broker = broker
        self.outbox = outbox
        self.peers = peers
        self.drainer = drainer
        self.tasks = tasks
        self.on_routes = on_routes
        self.clock = clock
        self.rollouts = Rollouts(
            broker,
            outbox,
            peers,
            tasks,
            on_served=self._served,
            on_failed=self._failed,
            limits=limits or Limits(),
            clock=clock,
        )
        self.table = RouteTable()
        self.all: dict[str, Deployment] = {}
        self.draining: dict[str, Draining] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._drains: dict[str, asyncio.Task[Any]] = {}

    # life

    async def restore(self) -> None:
        """Take everything from the Registry, and route at once what was routed: messages wait in the durable queues
        until a Runner comes. What was under way goes on. Raises StoreError, BrokerError."""
        self.all = {deployment.name: deployment for deployment in await self.registry.deployments()}
        self.draining = {one.queue: one for one in await self.registry.draining()}
        epoch, version = await self.registry.routes_state()
        self._route(version, epoch)
        for deployment in self.all.values():
            if deployment.serving is not None:
                await queues.ensure_func_queue(self.broker, deployment.serving.queue(deployment.name))
        for deployment in list(self.all.values()):
            if deployment.enabled and deployment.stage in UNDER_WAY:
                self._roll_out(deployment)
        for draining in list(self.draining.values()):
            self._drain(draining)
        for deployment in list(self.all.values()):
            await self._finish_removal(deployment.name)

    def announce(self) -> None:
        """Tell Frontends the routes, and let everybody say that they are there, upon which they are told the rest: at
        the start, and when the broker is back."""
        self.outbox.routes(self.table)
        self.outbox.resend_awake()

    def pause(self) -> None:
        """Stop loading and draining; the next `restore`, here or in another process, goes on with it."""
        self.rollouts.pause()
        for task in self._drains.values():
            task.cancel()

    # changes

    async def deploy(self, name: str, sha: str, props: Mapping[str, Any], settings: Mapping[str, Any]) -> Deployment:
        """Bring a stored bundle into service under `name`; returns once that is begun.

        The same once more changes nothing. Raises NotFound for an unknown SHA, Conflict when the name is being
        deployed, or its host + base path belongs to another deployment; StoreError.
        """
        if not NAME.fullmatch(name):
            raise Conflict(f"{name!r} is no name of a deployment: letters, digits, '.', '_' and '-', at most 63")
        bundle = await self.registry.bundle(sha)
        if bundle is None:
            raise NotFound(f"there is no bundle with the SHA {sha}")
        wanted = Version(sha, plain_host(bundle.host) or None, plain_path(bundle.base_path) or "/", props, settings)
        async with self._locks[name]:
            current = self.all.get(name)
            if current is not None and _same(current, wanted):
                return current
            self._free_to_deploy(current)
            return await self._begin(name, current, wanted, bundle.created)

    async def undeploy(self, name: str, *, keep: bool = False) -> Deployment:
        """Take a deployment out of service: its routes first, then its queue is drained. It is forgotten afterwards,
        but for its history, unless `keep`: then it stays as disabled. Raises NotFound, StoreError."""
        async with self._locks[name]:
            current = self.get(name)
            if not current.enabled and current.serving is None and (keep or current.stage == "draining"):
                return current
            await self.rollouts.stop(name)
            now = self.clock()
            loading = current.wanted if current.enabled and current.stage in UNDER_WAY else None
            gone = [version for version in (current.serving, loading) if version]
            drains = tuple({v.queue(name): Draining(v.queue(name), name, v.sha, now) for v in gone}.values())
            stage = "disabled" if keep else "draining"
            new = replace(current, enabled=False, serving=None).at(stage, now)
            event = Event(now, name, current.wanted.sha, "undeploy", "begun")
            new = await self._apply(Change(save=new, drain=drains, events=(event,), routes=True))
            for draining in drains:
                self._drain(draining)
        await self._finish_removal(name)
        return new

    def get(self, name: str) -> Deployment:
        """Return a deployment. Raises NotFound."""
        found = self.all.get(name)
        if found is None:
            raise NotFound(f"there is no deployment {name!r}")
        return found

    def find(self, name_or_sha: str) -> Deployment:
        """Return a deployment by its name, or by the beginning of its SHA (4 digits or more). Raises NotFound,
        Conflict when several deployments fit."""
        found = self.all.get(name_or_sha)
        if found is not None:
            return found
        if len(name_or_sha) >= 4:
            fit = [one for one in self.all.values() if one.wanted.sha.startswith(name_or_sha.lower())]
            if len(fit) > 1:
                raise Conflict(f"{name_or_sha!r} fits several: {', '.join(sorted(one.name for one in fit))}")
            if fit:
                return fit[0]
        raise NotFound(f"there is no deployment {name_or_sha!r}")

    def of_sha(self, sha: str) -> Deployment | None:
        """Return the deployment that has this SHA, an enabled one first."""
        fit = [one for one in self.all.values() if one.wanted.sha == sha or (one.serving and one.serving.sha == sha)]
        return max(fit, key=lambda one: one.enabled, default=None)

    async def settled(self, name: str, sha: str, limit: float) -> Deployment:
        """Wait until a deployment has ended its way to this SHA, or for `limit` seconds; returns it as it is then."""
        until = asyncio.get_running_loop().time() + limit
        while True:
            current = self.get(name)
            left = until - asyncio.get_running_loop().time()
            if current.wanted.sha != sha or current.stage not in UNDER_WAY or left <= 0:
                return current
            await self.rollouts.ended(name, left)

    # what Runners say (control.Wanted)

    def bundles(self) -> list[tuple[str, Version]]:
        """Return every version that Runners shall serve, with the name of its deployment.

        What is being loaded is among them, so that no Runner drops it, but not in place of what serves by the same
        queue: that is replaced by `enable` alone, after the new one was found to be good.
        """
        wanted = []
        for name, deployment in self.all.items():
            queues_ = {}
            if deployment.enabled and deployment.stage in UNDER_WAY:
                queues_[deployment.wanted.queue(name)] = deployment.wanted
            if deployment.serving:
                queues_[deployment.serving.queue(name)] = deployment.serving
            wanted += [(name, version) for version in queues_.values()]
        return wanted

    def queue_of(self, sha: str) -> str | None:
        """Return the func queue of a SHA that is served, loaded or drained."""
        queues_ = [version.queue(name) for name, version in self.bundles() if version.sha == sha]
        queues_ += [one.queue for one in self.draining.values() if one.sha == sha]
        return queues_[0] if queues_ else None

    def runner_awake(self, runner: Peer, msg_id: str) -> None:
        """A Runner that has come is asked to load what is being loaded."""
        self.rollouts.runner_awake(runner, msg_id)

    def runner_spoke(self, runner: Peer, queue: str, loaded: Loaded, ack_id: str) -> None:
        """Take what a Runner said into the attempt that it is about."""
        self.rollouts.runner_spoke(runner, queue, loaded, ack_id)

    def runner_gone(self, runner: Peer) -> None:
        """What a Runner said counts no more once it is gone."""
        self.rollouts.runner_gone(runner)

    # the way of a version into service

    def _free_to_deploy(self, current: Deployment | None) -> None:
        if current is not None and current.enabled and current.stage in UNDER_WAY:
            raise Conflict(
                f"{current.name} is being deployed with {current.wanted.sha[:8]} (stage {current.stage}); "
                "wait for it, or undeploy it"
            )

    async def _begin(self, name: str, current: Deployment | None, wanted: Version, stored: float) -> Deployment:
        now = self.clock()
        base = replace(current, wanted=wanted, enabled=True) if current else Deployment(name, wanted, created=now)
        new = replace(base, stages=(*base.stages, Stage("stored", stored, wanted.sha)))
        new = new.at("validated", now).at("loading", now)
        event = Event(now, name, wanted.sha, "deploy", "begun")
        queue = wanted.queue(name)
        new = await self._apply(Change(save=new, drained=(queue,), events=(event,)))
        await self._stop_drain(queue)
        self._roll_out(new)
        return new

    def _roll_out(self, deployment: Deployment) -> None:
        name, wanted, serving = deployment.name, deployment.wanted, deployment.serving
        again = serving is not None and serving.queue(name) == wanted.queue(name)
        self.rollouts.start(name, wanted, again=again)

    async def _served(self, name: str, detail: str) -> None:
        """The new version serves: route to it, then let the old one go."""
        async with self._locks[name]:
            current, now = self.all[name], self.clock()
            old, queue = current.serving, current.wanted.queue(name)
            new = replace(current, serving=current.wanted).at("serving", now, detail).at("routed", now)
            drains: tuple[Draining, ...] = ()
            if old is not None and old.queue(name) != queue:
                drains = (Draining(old.queue(name), name, old.sha, now),)
            event = Event(now, name, current.wanted.sha, "deploy", "routed", detail)
            await self._apply(Change(save=new, drain=drains, events=(event,), routes=True))
            log.info("%s serves", name, extra={"sha": current.wanted.sha})
            if old is not None and old.queue(name) == queue:  # a Runner may have been told the old settings meanwhile
                self.outbox.all_bundles(self.bundles())
            for draining in drains:
                self._drain(draining)

    async def _failed(self, name: str, error: str) -> None:
        """The new version does not serve: what served before goes on."""
        async with self._locks[name]:
            current, now = self.all[name], self.clock()
            queue = current.wanted.queue(name)
            drains: tuple[Draining, ...] = ()
            if current.serving is None or current.serving.queue(name) != queue:
                drains = (Draining(queue, name, current.wanted.sha, now),)
            event = Event(now, name, current.wanted.sha, "deploy", "failed", error)
            await self._apply(Change(save=current.at("failed", now, error=error), drain=drains, events=(event,)))
            log.error("%s cannot be deployed: %s", name, error, extra={"sha": current.wanted.sha})
            for draining in drains:
                self._drain(draining)

    # the way out

    def _drain(self, draining: Draining) -> None:
        self.draining[draining.queue] = draining
        task = self.tasks.start(self._drain_one(draining), f"draining {draining.queue}")
        if task is not None:
            self._drains[draining.queue] = task
            task.add_done_callback(lambda ended: forget(self._drains, draining.queue, ended))

    async def _drain_one(self, draining: Draining) -> None:
        await self.drainer.drain(draining)
        await persist(lambda: self._drained(draining), f"noting that {draining.queue} is gone")
        await persist(lambda: self._finish_removal(draining.name), f"forgetting {draining.name}")

    async def _drained(self, draining: Draining) -> None:
        async with self._locks[draining.name]:
            now = self.clock()
            event = Event(now, draining.name, draining.sha, "drain", "retired")
            change = Change(drained=(draining.queue,), events=(event,))
            current = self.all.get(draining.name)
            if current is not None:
                stages = (*current.stages, Stage("drained", now, draining.sha))
                await self._apply(replace(change, save=replace(current, stages=stages, updated=now)))
            else:
                await self.registry.apply(change)
            self.draining.pop(draining.queue, None)

    async def _stop_drain(self, queue: str) -> None:
        """The queue is wanted again."""
        drain = self._drains.pop(queue, None)
        if drain is not None:
            drain.cancel()
            await asyncio.wait({drain})
        self.draining.pop(queue, None)

    async def _finish_removal(self, name: str) -> None:
        """Forget an undeployed deployment once nothing of it drains any more."""
        async with self._locks[name]:
            current = self.all.get(name)
            if current is None or current.stage != "draining":
                return
            if any(one.name == name for one in self.draining.values()):
                return
            event = Event(self.clock(), name, current.wanted.sha, "undeploy", "retired")
            await self.registry.apply(Change(remove=name, events=(event,)))
            del self.all[name]

    # effects

    async def _apply(self, change: Change) -> Deployment:
        """Write a change of a deployment, and let it take effect."""
        assert change.save is not None
        applied = await self.registry.apply(change)
        assert applied.deployment is not None
        self.all[change.save.name] = applied.deployment
        if change.routes:
            self._route(applied.routes_version, self.table.epoch)
            self.outbox.routes(self.table)
        return applied.deployment

    def _route(self, version: int, epoch: str) -> None:
        routes = [
            Route(one.serving.host, one.serving.base_path, one.serving.queue(name), name, one.serving.sha)
            for name, one in self.all.items()
            if one.serving is not None
        ]
        self.table = RouteTable(routes, version, epoch)
        self.on_routes(self.table)


def _same(current: Deployment, wanted: Version) -> bool:
    """Whether nothing is to do: this very version serves, or is on its way."""
    return current.enabled and current.wanted == wanted and (current.stage in UNDER_WAY or current.stage == "routed")
