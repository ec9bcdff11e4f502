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
from dataclasses import dataclass, replace
from typing import Any

from funcatron.brokers.base import Broker
from funcatron.errors import BrokerError, Conflict, NotFound, StoreError
from funcatron.stores.records import Deployment, Draining, Event, Stage, Version
from funcatron.stores.registry import Change, Registry
from funcatron.tron import queues
from funcatron.tron.draining import Drainer
from funcatron.tron.loading import Loading
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Loaded, Peer, Peers
from funcatron.tron.routes import Route, RouteTable, plain_host, plain_path
from funcatron.tron.tasks import Tasks

log = logging.getLogger("funcatron.tron.deployments")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names of deployments: they are part of queue names and URLs."""

UNDER_WAY = frozenset({"stored", "validated", "loading", "serving"})
AGAIN = 1.0
"""Pause before a step that the Registry or the broker refused is tried again, s; it doubles up to a minute."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`load`: how long Runners may take until one serves a version, s. `tick`: between looks at the time, s."""

    load: float = 120.0
    tick: float = 1.0


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
        self.limits = limits or Limits()
        self.clock = clock
        self.table = RouteTable()
        self.all: dict[str, Deployment] = {}
        self.draining: dict[str, Draining] = {}
        self.loading: dict[str, Loading] = {}
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._rollouts: dict[str, asyncio.Task[Any]] = {}
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
                self._roll_out(deployment.name)
        for draining in list(self.draining.values()):
            self._drain(draining)
        for deployment in list(self.all.values()):
            await self._finish_removal(deployment.name)

    def announce(self) -> None:
        """Tell all Frontends and Runners everything: at the start, and when the broker is back."""
        self.outbox.routes(self.table)
        self.outbox.resend_awake()
        self.outbox.tron_info()
        msg_id = self.outbox.all_bundles(self.bundles())
        for loading in self.loading.values():
            loading.asked.add(msg_id)

    def pause(self) -> None:
        """Stop loading and draining; the next `restore`, here or in another process, goes on with it."""
        for task in [*self._rollouts.values(), *self._drains.values()]:
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
            await self._stop_rollout(name)
            now = self.clock()
            gone = [version for version in (current.serving, current.wanted if current.enabled else None) if version]
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
            rollout = self._rollouts.get(name)
            if rollout is not None:
                await asyncio.wait({rollout}, timeout=left)
            else:  # between two steps
                await asyncio.sleep(min(left, 0.05))

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
        for name, loading in self.loading.items():
            loading.asked |= {msg_id, self.outbox.enable(name, self.all[name].wanted, runner.queue)}
            self._changed[name].set()

    def runner_spoke(self, runner: Peer, queue: str, loaded: Loaded, ack_id: str) -> None:
        """Take what a Runner said into the attempt that it is about."""
        for name, loading in self.loading.items():
            serving = self.all[name].serving
            again = serving is not None and serving.queue(name) == loading.queue
            # when the same SHA is loaded with new settings, only an answer to that counts
            if loading.queue == queue and (ack_id in loading.asked or not again):
                loading.said[runner.id] = loaded
                self._changed[name].set()

    def runner_gone(self, runner: Peer) -> None:
        """What a Runner said counts no more once it is gone."""
        for name, loading in self.loading.items():
            loading.said.pop(runner.id, None)
            self._changed[name].set()

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
        self._roll_out(name)
        return new

    def _roll_out(self, name: str) -> None:
        task = self.tasks.start(self._rollout(name), f"deploying {name}")
        if task is not None:
            self._rollouts[name] = task
            task.add_done_callback(lambda ended: _forget(self._rollouts, name, ended))

    async def _rollout(self, name: str) -> None:
        wanted = self.all[name].wanted
        loading = self.loading[name] = Loading(wanted.queue(name), self.clock(), self.limits.load)
        try:
            await _persist(lambda: queues.ensure_func_queue(self.broker, loading.queue), f"declaring {loading.queue}")
            loading.asked.add(self.outbox.enable(name, wanted))
            verdict = loading.verdict(self._runner_ids(), self.clock())
            while verdict.what == "wait":
                await self._wait_change(name)
                verdict = loading.verdict(self._runner_ids(), self.clock())
        finally:
            del self.loading[name]
            self._changed.pop(name, None)
        if verdict.what == "serve":
            await _persist(lambda: self._switch(name, verdict.detail), f"routing {name}")
        else:
            await _persist(lambda: self._fail(name, verdict.detail), f"ending the deployment of {name}")

    async def _switch(self, name: str, detail: str) -> None:
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

    async def _fail(self, name: str, error: str) -> None:
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

    async def _stop_rollout(self, name: str) -> None:
        rollout = self._rollouts.pop(name, None)
        if rollout is not None and rollout is not asyncio.current_task():
            rollout.cancel()
            await asyncio.wait({rollout})

    async def _wait_change(self, name: str) -> None:
        changed = self._changed[name]
        try:
            await asyncio.wait_for(changed.wait(), self.limits.tick)
        except TimeoutError:
            return  # time to look at the clock
        changed.clear()

    def _runner_ids(self) -> list[str]:
        return [peer.id for peer in self.peers.of("runner")]

    # the way out

    def _drain(self, draining: Draining) -> None:
        self.draining[draining.queue] = draining
        task = self.tasks.start(self._drain_one(draining), f"draining {draining.queue}")
        if task is not None:
            self._drains[draining.queue] = task
            task.add_done_callback(lambda ended: _forget(self._drains, draining.queue, ended))

    async def _drain_one(self, draining: Draining) -> None:
        await self.drainer.drain(draining)
        await _persist(lambda: self._drained(draining), f"noting that {draining.queue} is gone")
        await _persist(lambda: self._finish_removal(draining.name), f"forgetting {draining.name}")

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


async def _persist(step: Callable[[], Any], what: str) -> None:
    """Make a step, for as long as the Registry or the broker refuses it."""
    pause = AGAIN
    while True:
        try:
            await step()
            return
        except (StoreError, BrokerError, Conflict) as err:
            log.warning("%s did not work yet: %s", what, err)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 60.0)


def _same(current: Deployment, wanted: Version) -> bool:
    """Whether nothing is to do: this very version serves, or is on its way."""
    return current.enabled and current.wanted == wanted and (current.stage in UNDER_WAY or current.stage == "routed")


def _forget(running: dict[str, asyncio.Task[Any]], name: str, ended: asyncio.Task[Any]) -> None:
    if running.get(name) is ended:
        del running[name]
