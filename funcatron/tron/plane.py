"""The control plane of an installation under one epoch of its leadership: all that only the Tron uses that leads.

It is made anew for each leadership, so that nothing is left in it of another one. What was begun under an epoch that is
over does nothing any more: the Registry refuses it, no queue is made or deleted, the outbox sends nothing, and Runners
pass its messages over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from funcatron.brokers.base import Broker, Consumer
from funcatron.brokers.gauge import open_gauge
from funcatron.errors import BrokerError, FuncatronError, NotLeader
from funcatron.settings import Settings
from funcatron.stores.blobs import Blobs
from funcatron.stores.registry import Registry
from funcatron.tron import queues
from funcatron.tron.control import Control
from funcatron.tron.counters import Counters
from funcatron.tron.deadletters import DeadLetters
from funcatron.tron.deployments import Deployments
from funcatron.tron.depths import Depths
from funcatron.tron.draining import Drainer, Patience
from funcatron.tron.fenced import FencedBroker
from funcatron.tron.inspection import Inspector, inspect
from funcatron.tron.intake import Intake
from funcatron.tron.leadership import Pace
from funcatron.tron.outbox import Address, Outbox, never
from funcatron.tron.peers import Peers
from funcatron.tron.rollouts import Limits
from funcatron.tron.routes import RouteTable
from funcatron.tron.statistics import Statistics
from funcatron.tron.tasks import Tasks

log = logging.getLogger("funcatron.tron.plane")

AGAIN = 1.0
"""Pause before a beginning that failed is tried again, s."""

GRACE = 2.0
"""How long messages that are being moved may take when a leadership is over, s."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tests make shorter, or replace."""

    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    inspector: Inspector = inspect
    clock: Callable[[], float] = time.time
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class Base:
    """What all leaderships of a Tron have in common. on_routes: takes each new route table."""

    id: str
    settings: Settings
    broker: Broker
    address: Address
    registry: Registry
    blobs: Blobs
    counters: Counters
    dead_letters: DeadLetters
    on_routes: Callable[[RouteTable], None]
    tuning: Tuning


class ControlPlane:
    """The parts under one epoch. `begin` when the Tron has been made the leader, `end` when it is that no more.

    holds: whether it leads, by its own clock. A plane of epoch 0 never begins: its Registry refuses changes.
    """

    def __init__(self, base: Base, epoch: int = 0, holds: Callable[[], bool] = never) -> None:
        tuning = base.tuning
        self.base = base
        self.epoch = epoch
        self.holds = holds
        self.begun = False  # whether it knows everything
        self.broker = FencedBroker(base.broker, holds)
        self.tasks = Tasks()
        self.peers = Peers()
        self.registry = base.registry.under(epoch)
        self.intake = Intake(base.blobs, self.registry, tuning.inspector, base.settings.max_bundle)
        self.outbox = Outbox(base.broker, base.id, base.address, epoch=epoch, holds=holds)
        drainer = Drainer(
            self.broker,
            self.outbox,
            self.peers,
            self.tasks,
            tuning.patience,
            routes=lambda: self.deployments.table.version,
        )
        self.deployments = Deployments(
            self.registry,
            self.broker,
            self.outbox,
            self.peers,
            drainer,
            self.tasks,
            on_routes=base.on_routes,
            limits=tuning.limits,
            clock=tuning.clock,
            totals=lambda: self.statistics.totals(),
        )
        self.control = Control(
            self.outbox,
            self.peers,
            self.deployments,
            base.dead_letters,
            base.counters,
            self.tasks,
            tuning.clock,
            holds=holds,
        )
        self._consumer: Consumer | None = None

    @property
    def statistics(self) -> Statistics:
        """The figures of Runners and queues since this leadership began."""
        return self.control.statistics

    async def begin(self, *, anew: bool) -> None:
        """Know everything, take from the control queue, and tell everybody: again and again until it is done.

        anew: a former leader that was silent may still hold control messages, as long as it has its connection: the
        queue is made anew, and everybody asked to say again what was in it. Raises NotLeader when it is too late.
        """
        while True:
            try:
                await self._begin(anew=anew)
                return
            except NotLeader:
                raise
            except FuncatronError as err:
                log.warning("cannot begin to lead yet: %s", err)
            await self._close_depths()
            await asyncio.sleep(AGAIN)

    async def _begin(self, *, anew: bool) -> None:
        queue = self.base.settings.control_queue
        if anew:
            await self.broker.delete(queue)
        await queues.declare(self.broker, queue)
        self.outbox.registry, _ = await self.registry.routes_state()
        try:
            await self.deployments.restore()
        except FuncatronError:
            self.deployments.pause()  # what was begun of it begins again
            raise
        self.begun = True
        self.control.depths = Depths(open_gauge(self.base.settings, self.broker), self.statistics.measured)
        self._consumer = await self.control.start(self.broker, queue)
        self.announce()

    def announce(self) -> None:
        """Tell the routes and where the admin API is, and ask everybody to say that they are there."""
        self.outbox.tron_info()
        self.deployments.announce()

    async def end(self, grace: float = GRACE) -> None:
        """Take nothing more from the control queue, stop loading and draining where they are, forget who is there.

        What is known of the deployments stays, for who asks while the Registry is away. Messages that are being moved
        get their confirmation, for which they have `grace` seconds. Idempotent.
        """
        self.deployments.pause()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                await consumer.cancel()
            except BrokerError as err:
                log.info("the control queue's consumer could not be cancelled: %s", err)
        await self.tasks.stop(grace)
        await self._close_depths()
        self.peers.forget_all()
        self.control.statistics = Statistics()

    async def _close_depths(self) -> None:
        depths, self.control.depths = self.control.depths, None
        if depths is not None:
            await depths.close()
