"""The deployments of an installation: what people ask of them, and what Runners say.

The life of each is the table in `lifecycle`. Each step is written to the Registry before it takes effect, so another
Tron goes on where one was killed or leads no more.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from funcatron.brokers.base import Broker
from funcatron.errors import Conflict
from funcatron.stores.change import TRON, Change
from funcatron.stores.nearest import unknown
from funcatron.stores.records import Deployment, Draining, Split, Version
from funcatron.stores.registry import Registry
from funcatron.tron import changes, queues, splits, versions
from funcatron.tron.draining import Drainer
from funcatron.tron.estate import Estate
from funcatron.tron.guards import Guards, Totalled
from funcatron.tron.leaving import Leaving
from funcatron.tron.lifecycle import UNDER_WAY, check_free
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Loaded, Peer, Peers
from funcatron.tron.rollouts import Limits, Rollouts
from funcatron.tron.routes import RouteTable
from funcatron.tron.splits import Wish, fits
from funcatron.tron.tasks import Tasks
from funcatron.tron.ways import Asked, Way, Ways

log = logging.getLogger("funcatron.tron.deployments")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names of deployments: they are part of queue names and URLs."""

ANYBODY = Asked()


class Deployments:
    """All deployments. Methods are called on the event loop; changes of one deployment come one after another.

    What changes something raises Conflict while another version of the deployment is on its way (naming its stage),
    Stale if it was asked for another revision, NotLeader if another Tron leads, StoreError if the Registry fails.
    """

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
        totals: Totalled | None = None,
    ) -> None:
        """`totals` tells the counters of func queues, by which guarded splits are judged."""
        limits = limits or Limits()
        self.broker = broker
        self.outbox = outbox
        self.peers = peers
        self.tasks = tasks
        self.clock = clock
        self.estate = Estate(registry, outbox, tasks, on_routes)
        self.estate.on_reread = self._resume
        self.ways = Ways(lambda: self.registry)
        self.leaving = Leaving(self.estate, drainer, tasks, clock)
        self.guards = Guards(self.estate, tasks, self._fault, tick=limits.tick)
        self.guards.totals = totals
        self.rollouts = Rollouts(
            broker, outbox, peers, tasks, on_served=self._served, on_failed=self._failed, limits=limits, clock=clock
        )

    @property
    def registry(self) -> Registry:
        """The Registry under the epoch of this Tron's leadership."""
        return self.estate.registry

    @property
    def all(self) -> dict[str, Deployment]:
        """All deployments by name."""
        return self.estate.all

    @property
    def draining(self) -> dict[str, Draining]:
        """The func queues on their way out, by name."""
        return self.estate.draining

    @property
    def table(self) -> RouteTable:
        """The route table that follows from all deployments."""
        return self.estate.table

    # life

    async def restore(self) -> None:
        """Take everything from the Registry, and route at once what was routed: messages wait in the durable queues
        until a Runner comes. What was under way goes on. Raises StoreError, BrokerError."""
        await self.estate.load()
        await self.ways.load(self.all)
        for name, deployment in list(self.all.items()):
            for version in deployment.versions():
                await queues.ensure_func_queue(self.broker, version.queue(name))
        for name in list(self.all):
            self._resume(name)
        self.leaving.begin()
        for name in list(self.all):
            await self.leaving.finish(name)

    def announce(self) -> None:
        """Tell Frontends the routes, and let everybody say that they are there, upon which they are told the rest: at
        the start, and when the broker is back."""
        self.outbox.routes(self.table)
        self.outbox.resend_awake()

    def pause(self) -> None:
        """Stop loading, draining and watching; the next `restore`, here or in another process, goes on with it."""
        self.rollouts.pause()
        self.leaving.pause()
        self.guards.pause()

    # changes

    async def deploy(
        self,
        name: str,
        sha: str,
        props: Mapping[str, Any],
        settings: Mapping[str, Any],
        asked: Asked = ANYBODY,
        limit: float | None = None,
    ) -> Deployment:
        """Bring a stored bundle into service under `name`; returns once that is begun. The same once more changes
        nothing. limit: how long it may take until a Runner serves it, s.

        Raises NotFound for an unknown SHA, Conflict also when its host + base path belongs to another deployment.
        """
        if not NAME.fullmatch(name):
            raise Conflict(f"{name!r} is no name of a deployment: letters, digits, '.', '_' and '-', at most 63")
        bundle = await versions.bundle(self.registry, sha)
        async with self.estate.turn(name) as current:
            asked.check(name, current)
            wanted = versions.version_of(bundle, props, settings)
            return await self._bring(name, current, wanted, Way("deploy", asked.who, sha, limit=limit), bundle.created)

    async def rollback(
        self, name: str, sha: str | None = None, asked: Asked = ANYBODY, limit: float | None = None
    ) -> Deployment:
        """Go back to what served before, or to the last version whose SHA begins so, with its properties and settings.

        Without a SHA, what is under way is given up, a split ends, a failure is forgotten: what serves stays then.
        Raises NotFound that names the versions there are.
        """
        async with self.estate.turn(name) as current:
            asked.check(name, current)
            current = self.get(name)
            way = Way("rollback", asked.who, limit=limit)
            if sha is None and current.serving is not None and (current.stage != "routed" or current.split):
                return await self._settle(current, current.serving, way)
            check_free(current)
            version = await versions.earlier(self.registry, current, sha)
            bundle = await versions.bundle(self.registry, version.sha)
            return await self._bring(name, current, version, way, bundle.created)

    async def split(self, name: str, wish: Wish, asked: Asked = ANYBODY, limit: float | None = None) -> Deployment:
        """Let two versions serve side by side, one of which is what serves now; returns once that is begun. The other
        one has the same properties and settings. The same once more changes nothing.

        Raises NotFound for an unknown SHA, BadSettings that names every fault.
        """
        async with self.estate.turn(name) as current:
            asked.check(name, current)
            current = self.get(name)
            versions.serving(current)
            found = [await versions.shared(self.registry, current, sha) for sha, _ in wish.shares]
            wanted = splits.compose(current, wish, found)
            new = splits.newcomer(current, wanted)
            if self._comes_to(current, new, wanted):
                return current
            check_free(current)
            way = Way("split", asked.who, new.sha, wanted, limit)
            if new in current.versions():
                return await self._settle(current, wanted, way)
            bundle = await versions.bundle(self.registry, new.sha)
            return await self._begin(name, current, new, way, bundle.created)

    async def promote(self, name: str, sha: str, asked: Asked = ANYBODY) -> Deployment:
        """Give all requests to one version of a split. The same once more changes nothing.

        Raises NotFound for an unknown SHA, Conflict if there is no split.
        """
        async with self.estate.turn(name) as current:
            asked.check(name, current)
            current = self.get(name)
            serving = versions.serving(current)
            if current.split is None and current.stage == "routed" and fits(serving.sha, sha):
                return current
            check_free(current)
            if current.split is None:
                raise Conflict(
                    f"{name} is not split: {serving.sha[:8]} gets all requests; another version comes by "
                    "`funcatron split`, `deploy` or `rollback`"
                )
            version = splits.pick(name, current.versions(), sha)
            return await self._settle(current, version, Way("promote", asked.who))

    async def undeploy(self, name: str, *, keep: bool = False, asked: Asked = ANYBODY) -> Deployment:
        """Take a deployment out of service: its routes first, then its queues are drained. It is forgotten afterwards,
        but for its history, unless `keep`: then it stays as disabled. Raises NotFound."""
        async with self.estate.turn(name) as current:
            asked.check(name, current)
            current = self.get(name)
            if not current.enabled and current.serving is None and (keep or current.stage == "draining"):
                return current
            await self.rollouts.stop(name)
            new = await self._apply(changes.left(current, asked.who, self.clock(), keep=keep))
            self.leaving.begin(name)
        await self.leaving.finish(name)
        return new

    # what there is

    def get(self, name: str) -> Deployment:
        """Return a deployment. Raises NotFound that offers the nearest names."""
        found = self.all.get(name)
        if found is None:
            raise unknown("deployment", name, self.all)
        return found

    def find(self, name_or_sha: str) -> Deployment:
        """Return a deployment by its name, or by the beginning of its SHA (4 digits or more). Raises NotFound that
        offers the nearest names, Conflict when several deployments fit."""
        found = self.all.get(name_or_sha)
        if found is not None:
            return found
        fit = [one for one in self.all.values() if any(fits(sha, name_or_sha) for sha in _shas(one))]
        if len(fit) > 1:
            raise Conflict(f"{name_or_sha!r} fits several: {', '.join(sorted(one.name for one in fit))}")
        return fit[0] if fit else self.get(name_or_sha)

    def of_sha(self, sha: str) -> Deployment | None:
        """Return the deployment that has this SHA, an enabled one first."""
        fit = [one for one in self.all.values() if sha in _shas(one)]
        return max(fit, key=lambda one: one.enabled, default=None)

    async def settled(self, name: str, sha: str, limit: float) -> Deployment:
        """Wait until a deployment has ended its way to this SHA, or for `limit` seconds; returns it as it is then."""
        until = asyncio.get_running_loop().time() + limit
        while True:
            current = self.get(name)
            left = until - asyncio.get_running_loop().time()
            if current.wanted.sha != sha or current.stage not in UNDER_WAY or left <= 0:
                return current
            await self.estate.news(name, left)

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
            queues_.update({version.queue(name): version for version in deployment.versions()})
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

    async def _bring(
        self, name: str, current: Deployment | None, wanted: Version, way: Way, stored: float
    ) -> Deployment:
        """Let one version get all requests, at once if it serves already."""
        if current is not None and current.enabled:
            if self._comes_to(current, wanted, None):
                return current
            if current.stage not in UNDER_WAY and wanted in current.versions():
                return await self._settle(current, wanted, way)
        return await self._begin(name, current, wanted, way, stored)

    def _comes_to(self, current: Deployment, wanted: Version, split: Split | None) -> bool:
        """Tell whether nothing is to do: this is how it is, or is on its way."""
        if not current.enabled:
            return False
        if current.stage in UNDER_WAY:
            return current.wanted == wanted and self.ways.of(current).split == split
        return current.stage == "routed" and current.split == split and (split is not None or current.serving == wanted)

    async def _begin(
        self, name: str, current: Deployment | None, wanted: Version, way: Way, stored: float
    ) -> Deployment:
        way = Way(way.what, way.who, wanted.sha, way.split, way.limit)
        change = changes.begun(name, current, wanted, way, stored, self.clock())
        await self.ways.keep(name, way)
        new = await self._apply(change)
        await self.leaving.stop(wanted.queue(name))
        self._roll_out(new)
        return new

    async def _settle(self, current: Deployment, to: Version | Split, way: Way, why: str = "") -> Deployment:
        ended = self.ways.of(current).what
        again = current.stage in UNDER_WAY and versions.again(current, current.wanted)
        change = changes.settled(current, to, way, self.clock(), why=why, ended=ended)
        await self.rollouts.stop(current.name)
        new = await self._apply(change)
        if again:
            self.outbox.all_bundles(self.bundles())  # Runners may have taken the settings that are not wanted any more
        self.leaving.begin(new.name)
        return new

    def _roll_out(self, deployment: Deployment) -> None:
        again, limit = versions.again(deployment, deployment.wanted), self.ways.of(deployment).limit
        self.rollouts.start(deployment.name, deployment.wanted, again=again, limit=limit)

    def _resume(self, name: str) -> None:
        """Go on with what the Registry says of a deployment."""
        current = self.all.get(name)
        under_way = current is not None and current.enabled and current.stage in UNDER_WAY
        if current is not None and under_way and not self.rollouts.running(name, current.wanted):
            self._roll_out(current)
        self.leaving.begin(name)
        self.guards.see(name)

    async def _served(self, name: str, version: Version, detail: str) -> None:
        """The new version serves: route to it, then let the old one go."""
        async with self.estate.turn(name) as current:
            if current is None or current.stage not in UNDER_WAY or current.wanted != version:
                return  # it was given up meanwhile
            await self._apply(changes.served(current, self.ways.of(current), self.clock(), detail))
            log.info("%s serves", name, extra={"sha": version.sha})
            if versions.again(current, version):  # a Runner may have been told the old settings meanwhile
                self.outbox.all_bundles(self.bundles())
            self.leaving.begin(name)

    async def _failed(self, name: str, version: Version, error: str) -> None:
        """The new version does not serve: what served before goes on."""
        async with self.estate.turn(name) as current:
            if current is None or current.stage not in UNDER_WAY or current.wanted != version:
                return
            await self._apply(changes.failed(current, self.ways.of(current), self.clock(), error))
            log.error("%s cannot be deployed: %s", name, error, extra={"sha": version.sha})
            if versions.again(current, version):
                self.outbox.all_bundles(self.bundles())
            self.leaving.begin(name)

    async def _fault(self, name: str, split: Split, why: str) -> None:
        """A guarded split is to end in favour of what served before."""
        async with self.estate.turn(name) as current:
            if current is None or current.split != split or current.serving is None:
                return
            if current.stage in UNDER_WAY:
                raise Conflict(f"{name} is being deployed")  # it ends then, or is tried again
            log.error("the split of %s ends: %s", name, why, extra={"sha": splits.newcomer(current, split).sha})
            await self._settle(current, current.serving, Way("rollback", TRON), f"the split ended by itself: {why}")

    async def _apply(self, change: Change) -> Deployment:
        new = await self.estate.apply(change)
        assert new is not None
        if new.stage not in UNDER_WAY:
            self.ways.drop(new.name)
        self.guards.see(new.name)
        return new


def _shas(deployment: Deployment) -> set[str]:
    return {version.sha for version in (deployment.wanted, *deployment.versions())}
