"""One Tron: its parts, and their life from start to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from funcatron.brokers.base import Broker, Consumer
from funcatron.errors import BrokerError, FuncatronError
from funcatron.settings import Settings
from funcatron.stores.blobs import Blobs
from funcatron.stores.registry import Registry
from funcatron.tron import queues
from funcatron.tron.control import Control
from funcatron.tron.counters import Counters
from funcatron.tron.deadletters import DeadLetters
from funcatron.tron.deployments import Deployments
from funcatron.tron.dispatch import Dispatcher
from funcatron.tron.draining import Drainer, Patience
from funcatron.tron.inspection import Inspector, inspect
from funcatron.tron.intake import Intake
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Peers
from funcatron.tron.rollouts import Limits
from funcatron.tron.statsd import Statsd
from funcatron.tron.tasks import Tasks

log = logging.getLogger("funcatron.tron")

TICK = 1.0
"""Between looks at silent peers, and statistics, s."""

AGAIN = 2.0
"""Pause before a start that failed is tried again, s."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tests make shorter, or replace."""

    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    inspector: Inspector = inspect
    clock: Callable[[], float] = time.time


class Tron:
    """Dispatcher and control plane. `startup`, then it runs by itself, then `shutdown`."""

    def __init__(self, settings: Settings, broker: Broker, tuning: Tuning | None = None) -> None:
        tuning = tuning or Tuning()
        self.settings = settings
        self.broker = broker
        self.id = str(uuid.uuid4())
        self.started = time.time()
        self.tasks = Tasks()
        self.counters = Counters()
        self.statsd = Statsd()
        self.peers = Peers()
        self.registry = Registry(settings.registry_url)
        self.blobs = Blobs(settings.blobs_url)
        self.intake = Intake(self.blobs, self.registry, tuning.inspector, settings.max_bundle)
        self.outbox = Outbox(broker, self.id, tron_host(settings))
        self.dead_letters = DeadLetters(broker, self.id, self.counters)
        self.dispatcher = Dispatcher(broker, self.outbox, self.dead_letters, self.counters, self.tasks)
        drainer = Drainer(broker, self.outbox, self.peers, self.tasks, tuning.patience)
        self.deployments = Deployments(
            self.registry,
            broker,
            self.outbox,
            self.peers,
            drainer,
            self.tasks,
            on_routes=self.dispatcher.use,
            limits=tuning.limits,
            clock=tuning.clock,
        )
        self.control = Control(
            self.outbox, self.peers, self.deployments, self.dead_letters, self.counters, self.tasks, tuning.clock
        )
        self._consumers: dict[str, Consumer] = {}
        self._work: asyncio.Task[None] | None = None
        self._knows = False
        self._dispatching = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether it dispatches now."""
        return self._dispatching.is_set() and self.broker.connected

    async def open(self) -> None:
        """Open the stores. Raises StoreError or SettingsError: without them a Tron does not start."""
        await self.registry.open()
        await self.blobs.open()
        switch = await self.registry.fact("statsd")
        if switch:
            try:
                await self.statsd.switch_on(switch["host"], switch["port"])
            except FuncatronError as err:
                log.warning("%s", err)

    def start(self) -> None:
        """Begin to work, which goes on in the background: the broker may be away for long."""
        self._work = self.tasks.start(self._run(), "the Tron's work")

    async def wait_ready(self) -> None:
        """Return once it dispatches: for who starts it in process."""
        await self._dispatching.wait()

    async def shutdown(self, grace: float = 5.0) -> None:
        """Stop in order: take nothing new, finish what is in hand, say nothing half, close. Idempotent."""
        # 1. no new requests and control messages; what is not acked goes back to its queue
        self._dispatching.clear()
        for consumer in self._consumers.values():
            try:
                await consumer.cancel()
            except BrokerError as err:
                log.info("a consumer could not be cancelled: %s", err)
        self._consumers.clear()
        # 2. loading and draining stop where they are: the Registry knows how far they came
        if self._work is not None:
            self._work.cancel()
        self.deployments.pause()
        # 3. messages that are being moved get their confirmation
        await self.tasks.stop(grace)
        # 4. what was published and acked goes out
        self.statsd.switch_off()
        await self.broker.close()
        await self.registry.close()

    async def _run(self) -> None:
        await self.broker.connect()
        self.broker.on_change(self._connection)
        while not self._dispatching.is_set():
            try:
                await self._take_up()
            except FuncatronError as err:
                log.warning("the Tron cannot begin yet: %s", err)
                await asyncio.sleep(AGAIN)
        log.info("dispatching %d routes", len(self.deployments.table))
        while True:
            await asyncio.sleep(TICK)
            self.control.tick()
            self.statsd.send(self.counters.as_json(), self._gauges())

    async def _take_up(self) -> None:
        """Know everything first, tell it, then dispatch: a request that waited in the firehose finds its route."""
        await queues.declare(self.broker, self.settings.control_queue)
        if not self._knows:
            await self.deployments.restore()
            self._knows = True
        if "control" not in self._consumers:
            self._consumers["control"] = await self.control.start(self.broker, self.settings.control_queue)
        self.deployments.announce()
        self._consumers["firehose"] = await self.dispatcher.start()
        self._dispatching.set()

    def _connection(self, connected: bool) -> None:
        if (
            connected and self._dispatching.is_set()
        ):  # the driver has declared and consumes again; messages may have been missed
            log.info("the broker is back")
            self.deployments.announce()
        elif not connected and self._dispatching.is_set():
            log.warning("the broker is away")

    def _gauges(self) -> dict[str, int]:
        return {
            "routes": len(self.deployments.table),
            "frontends": len(self.peers.of("frontend")),
            "runners": len(self.peers.of("runner")),
        }


def tron_host(settings: Settings) -> tuple[str, int]:
    """Return host and port where Runners reach the admin API."""
    host = settings.admin_host
    if host in {"0.0.0.0", "::", ""}:
        host = socket.gethostname()
    return host, settings.admin_port
