"""The loop that scales, on the Tron that leads: look, decide, tell the Runners, ask the substrate, note what is new.

A round is made each second, and sooner where the Runners' figures show a sudden backlog. What it decides by is pure
(`scaling`, `snapshots`, `allocations`, `overload`); this module only brings it about. A message that waits for a Func
without instances needs none of it: the Runner that is the Func's waker starts the first one by itself.

A Tron that begins to lead knows nothing of what runs until the Runners have told it. Until then nobody is told anything
and everything stays as it is; and for the first window after that the policy takes nothing away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from funcatron.errors import NotLeader, StoreError
from funcatron.settings import Settings
from funcatron.stores.nearest import unknown
from funcatron.substrates.base import Substrate
from funcatron.tron import snapshots
from funcatron.tron.allocations import REPEAT, Allocations, Share, as_json, shares
from funcatron.tron.firehose import FirehoseGauge
from funcatron.tron.journal import Journal
from funcatron.tron.lifecycle import UNDER_WAY
from funcatron.tron.overload import limit_of, retry_after
from funcatron.tron.owners import Owners
from funcatron.tron.peers import Peer
from funcatron.tron.plane import ControlPlane
from funcatron.tron.retirements import Retirements
from funcatron.tron.scaling import Decision, Memory, Reason, Snapshot, Totals, decide
from funcatron.tron.snapshots import Sight
from funcatron.tron.staffing import Staffing
from funcatron.tron.statistics import Picture, RunnerFigures
from funcatron.tron.succession import Succession, stand_ins
from funcatron.tron.traits import Traits

log = logging.getLogger("funcatron.tron.scaler")

PERIOD = 1.0
"""Between two rounds, s."""

SOONER = 0.25
"""Between two rounds where there is a sudden backlog, s."""

RESTRAINT = 5.0
"""Rounds that are not regular take a fifth of the time at most."""

SETTLE = 2.5
"""So long after the beginning of a leadership every Runner that there is has told its figures, s."""

PATIENCE = 10.0
"""So long is waited for a Runner that is there and has not told them; it is left alone then, s."""

AWAKENED = 3.0
"""A waker that has started no host for a message that waits for so long is not relied upon any more, s."""

MANY = 2000
"""Funcs times Runners, from which a decision is made in a thread."""


class Scaler:
    """What one leadership does about scaling; begins anew with the next one."""

    def __init__(
        self,
        plane: ControlPlane,
        substrate: Substrate | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.plane = plane
        self.settings: Settings = plane.base.settings
        self.memory = Memory()
        self.decision: Decision | None = None  # the last one
        self.limited: dict[str, int] = {}  # queues that are too deep, and after how many seconds to come again
        self.allocations = Allocations()
        self.retirements = Retirements(plane.registry)
        self.staffing = Staffing(substrate, plane, self.retirements, clock)
        self._clock, self._wall = clock, wall
        self._owners = Owners(plane.registry, self.settings)
        self._journal = Journal()
        self._firehose = FirehoseGauge()
        self._turn = asyncio.Lock()
        self._began = clock()
        self._last = float("-inf")  # when the last round began
        self._cost = 0.0  # time that it took, s
        self._counted: frozenset[str] = frozenset()  # the Runners that took part in it
        self._said = float("-inf")  # when it was told which queues are limited
        self._settled = False
        self._loaded = False
        self._hurrying = False
        self._processes: dict[str, Any] = {}  # of each Runner, by which a restart is noticed
        self._waking: dict[str, float] = {}  # since when messages wait for Funcs without instances
        self._succession = Succession()

    def listen(self) -> None:
        """Hear what comes by the control queue as it comes."""
        self.plane.control.on_brief = self.met
        self.plane.control.on_stats = self.heard

    # what happens

    async def round(self) -> None:
        """Look, decide, and bring about what was decided. Raises NotLeader."""
        async with self._turn:
            self._last = self._clock()
            await self._round()
            self._cost = self._clock() - self._last

    async def drain_runner(self, runner: str) -> None:
        """Take a Runner out of service: others take over, then it ends. Returns once that is begun. Raises NotFound,
        StoreError, NotLeader."""
        peers = self.plane.peers
        peer = peers.get(runner)
        if peer is None or peer.kind != "runner":
            raise unknown("runner", runner, [one.id for one in peers.of("runner")])
        await self._load()
        await self.retirements.ask(runner, peer.info.get("pid"))
        self._hurry()

    def met(self, runner: Peer) -> None:
        """A Runner has come, or has come back: tell it its share before it is told what there is to serve."""
        process = runner.info.get("pid")
        if self._processes.get(runner.id) != process:
            self._processes[runner.id] = process
            self.allocations.forget(runner.id)
        if not self._settled:
            return
        told = self.allocations.told(runner.id)
        if told is None:
            self.allocations.note(runner.id, {}, self._clock())
        self.plane.outbox.allocate(as_json(told or {}), runner.queue)

    def heard(self, message: Mapping[str, Any]) -> None:
        """Look at a Runner's figures: where there is more to do than it can, the next round is not to be waited for."""
        if self._hurrying or not self._settled:
            return
        new = message["instance-id"] not in self._counted
        if new or any(_pressed(entry) and self._may_grow(entry["queue"]) for entry in message["funcs"]):
            self._hurry()

    def _may_grow(self, queue: str) -> bool:
        func = self.decision.funcs.get(queue) if self.decision is not None else None
        if func is None:
            return True
        return func.need.reason not in (Reason.MAX, Reason.CORES) and func.instances >= func.need.wanted

    def _hurry(self) -> None:
        if not self._hurrying:
            self._hurrying = True
            self.plane.tasks.start(self._soon(), "scaling")

    async def _soon(self) -> None:
        try:
            pause = max(SOONER, RESTRAINT * self._cost)
            await asyncio.sleep(max(0.0, self._last + pause - self._clock()))
            depths = self.plane.control.depths
            if depths is not None:
                await depths.collect(self.plane.statistics.queues)
        finally:
            self._hurrying = False
        try:
            await self.round()
        except NotLeader as err:
            log.info("scaling: %s", err)

    # a round

    async def _round(self) -> None:
        plane = self.plane
        depths = plane.control.depths
        if depths is not None:
            await depths.settled()
        picture = plane.statistics.picture(exact=False)
        runners = self._runners(picture)
        if not self._ready(picture, runners):
            return
        await self._load()
        await self.staffing.look()
        bundles = plane.deployments.bundles()
        await self._owners.refresh(bundles, self._clock())
        sight = self._sight(picture, runners, self._owners.traits(bundles))
        totals = self.staffing.totals(Totals(cores=snapshots.cores(sight)))
        snapshot = snapshots.snapshot(sight, totals, self.settings, PERIOD)
        before = self.memory
        decision, self.memory = await self._decide(snapshot)
        self.decision, self._counted = decision, frozenset(runners)
        self._tell(decision, picture, runners)
        self._limit(decision, sight.traits)
        await self.staffing.bring_about(decision, picture, self.allocations)
        await self._note(snapshot, before, decision, sight.traits)

    def _runners(self, picture: Picture) -> dict[str, RunnerFigures]:
        """Return the Runners that take part: those that have told all that they have, and are not known to be down."""
        return {
            name: figures
            for name, figures in picture.runners.items()
            if figures.complete and self.plane.peers.get(name) is not None and not self.staffing.is_down(name, figures)
        }

    def _ready(self, picture: Picture, runners: Mapping[str, RunnerFigures]) -> bool:
        """Say whether enough is known to decide anything."""
        if not self._settled:
            age = self._clock() - self._began
            missing = {one.id for one in self.plane.peers.of("runner")} - runners.keys()
            self._settled = age >= PATIENCE or (age >= SETTLE and bool(runners) and not missing)
        return self._settled

    async def _load(self) -> None:
        if not self._loaded:
            await self.retirements.load()
            self._loaded = True

    def _sight(self, picture: Picture, runners: Mapping[str, RunnerFigures], traits: dict[str, Traits]) -> Sight:
        now, plane = self._clock(), self.plane
        expected = {name: self.allocations.expected(name, figures.hosts, now) for name, figures in runners.items()}
        counters = plane.base.counters
        others = plane.peers.of("tron")
        machines = {}
        for name in runners:
            peer = plane.peers.get(name)
            machines[name] = str(peer.info.get("hostname") or name) if peer is not None else name
        return Sight(
            picture=picture,
            traits=self._succession.prepare(traits, self.decision, self._under_way(), now),
            expected=snapshots.wake(expected, self.memory.wakers, picture, self._late(picture, expected)),
            machines=machines,
            stand_ins=stand_ins(picture, traits),
            sharing=self.staffing.sharing,
            draining=self.retirements.ids,
            firehose=self._firehose.look(
                now,
                mine=counters.dispatched,
                all_=counters.dispatched + sum(peer.dispatched for peer in others),
                cpu=time.process_time(),
                trons=1 + len(others),
                ready=picture.firehose_ready,
            ),
        )

    def _under_way(self) -> set[str]:
        """Return the queues of versions on their way into service."""
        found = self.plane.deployments.all.items()
        return {one.wanted.queue(name) for name, one in found if one.enabled and one.stage in UNDER_WAY}

    def _late(self, picture: Picture, expected: Mapping[str, Mapping[str, int]]) -> set[str]:
        """Return the queues whose messages have waited for too long for their waker to start a host."""
        now = self._clock()
        there = {queue for hosts in expected.values() for queue in hosts}
        figures = picture.funcs
        waiting = {queue for queue in self.memory.wakers if queue not in there and queue in figures}
        waiting = {queue for queue in waiting if figures[queue].ready or figures[queue].in_flight}
        self._waking = {queue: self._waking.get(queue, now) for queue in waiting}
        return {queue for queue, since in self._waking.items() if now - since > AWAKENED}

    async def _decide(self, snapshot: Snapshot) -> tuple[Decision, Memory]:
        if len(snapshot.funcs) * max(1, len(snapshot.runners)) < MANY:
            return decide(snapshot, self.memory)
        return await asyncio.to_thread(decide, snapshot, self.memory)

    # what follows

    def _tell(self, decision: Decision, picture: Picture, runners: Mapping[str, RunnerFigures]) -> None:
        """Tell each Runner its share, if that is due. One that is not heard keeps what it has."""
        now = self._clock()
        running = {queue: figures.running or 0 for queue, figures in picture.funcs.items()}
        wanted = shares(decision.placement, running)
        for name, figures in runners.items():
            peer = self.plane.peers.get(name)
            mine = {**wanted.get(name, {}), **self._frozen(name)}
            if peer is None or figures.silent or not self.allocations.due(name, mine, figures.hosts, now):
                continue
            self.plane.outbox.allocate(as_json(mine), peer.queue)
            self.allocations.note(name, mine, now)

    def _frozen(self, runner: str) -> dict[str, Share]:
        """Return what a Runner was told of queues on their way out: it works them off as it is."""
        if runner in self.retirements:
            return {}
        draining = self.plane.deployments.draining
        return {queue: share for queue, share in (self.allocations.told(runner) or {}).items() if queue in draining}

    def _limit(self, decision: Decision, traits: Mapping[str, Traits]) -> None:
        """Have callers of queues that are too deep come again later."""
        found = {}
        for queue, func in decision.funcs.items():
            limit = limit_of(traits[queue], func, self.settings.request_timeout)
            before = self.limited.get(queue)
            seconds = retry_after(limit, func.inputs.waiting, before) if limit is not None else None
            if seconds is not None and limit is not None:
                found[queue] = seconds
                if before is None:
                    log.warning(
                        "%s is full: %s messages wait, at most %d may; further callers get a 503",
                        queue,
                        func.inputs.waiting,
                        limit.messages,
                    )
        now = self._clock()
        if found != self.limited or (found and now - self._said >= REPEAT):
            self.limited, self._said = found, now
            self.plane.deployments.estate.limit(found)

    async def _note(self, snapshot: Snapshot, before: Memory, decision: Decision, traits: Mapping[str, Traits]) -> None:
        """Keep what is new of the decision, in one transaction."""
        entries = self._journal.news(snapshot, before, decision, traits.values(), self._wall())
        for one in entries:
            log.info("%s: %s", one.name, one.sentence)
        if not entries:
            return
        try:
            await self.plane.registry.add_decisions(entries)
        except StoreError as err:
            log.warning("%d scaling decisions could not be kept: %s", len(entries), err)


def _pressed(entry: Mapping[str, Any]) -> bool:
    """Say whether a Runner has all slots of a Func busy, and no host of it on its way."""
    hosts, slots = entry["hosts"], entry.get("slots")
    if hosts.get("starting") or slots is None:
        return False
    return bool(hosts.get("running")) and entry.get("at-hosts", 0) >= slots * hosts["running"]
