"""One Tron: its parts, and their life from start to stop.

Every Tron dispatches. It begins as a follower, by the route table of the Registry or, while that is away, of the one
that leads. Then it campaigns, and while it leads itself it has a control plane.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from funcatron.brokers.base import Broker, Consumer
from funcatron.errors import BrokerError, Conflict, FuncatronError, NotLeader, SettingsError, StoreError, WrongTables
from funcatron.settings import Settings
from funcatron.stores.blobs import Blobs
from funcatron.stores.lease import Tenure
from funcatron.stores.registry import Registry
from funcatron.tron import queues
from funcatron.tron.control import Control
from funcatron.tron.counters import Counters
from funcatron.tron.deadletters import DeadLetters
from funcatron.tron.deployments import Deployments
from funcatron.tron.dispatch import Dispatcher
from funcatron.tron.fellows import Fellow, host_info, known
from funcatron.tron.follower import Follower
from funcatron.tron.intake import Intake
from funcatron.tron.leadership import Leadership
from funcatron.tron.outbox import Address, Outbox
from funcatron.tron.peers import Peers
from funcatron.tron.plane import Base, ControlPlane, Tuning
from funcatron.tron.routes import RouteTable
from funcatron.tron.statsd import Statsd
from funcatron.tron.tasks import Tasks

__all__ = ["Tick", "Tron", "Tuning"]

log = logging.getLogger("funcatron.tron")

TICK = 1.0
"""Between looks at silent peers, and statistics, s."""

LOOK = 5.0
"""Between looks of a follower into the Registry: for the route table, and the StatsD switch, s."""

AGAIN, AGAIN_MOST = 1.0, 10.0
"""Pauses before what failed at the start is tried again, s; where others wait for the Registry, they double up."""

Tick = Callable[[ControlPlane], Awaitable[None]]
"""What is to be done each second by the Tron that leads, with the parts of its leadership."""


class Tron:
    """A dispatcher that may lead. `open` and `start`, then it runs by itself, then `shutdown`.

    `plane` is the control plane of the present leadership, or of the last one: then it only remembers.
    """

    def __init__(self, settings: Settings, broker: Broker, tuning: Tuning | None = None) -> None:
        self.settings = settings
        self.broker = broker
        self.id = str(uuid.uuid4())
        self.started = time.time()
        self.address = address_of(settings)
        self.tasks = Tasks()
        self.counters = Counters()
        self.statsd = Statsd()
        self.blobs = Blobs(settings.blobs_url)
        self.dead_letters = DeadLetters(broker, self.id, self.counters)
        self.dispatcher = Dispatcher(
            broker, Outbox(broker, self.id, self.address), self.dead_letters, self.counters, self.tasks
        )
        self.base = Base(
            id=self.id,
            settings=settings,
            broker=broker,
            address=self.address,
            registry=Registry(settings.registry_url),
            blobs=self.blobs,
            counters=self.counters,
            dead_letters=self.dead_letters,
            on_routes=self._led,
            tuning=tuning or Tuning(),
        )
        self.leadership = Leadership(
            self.base.registry,
            self.id,
            self.address.url,
            take_up=self._take_up,
            step_down=self._step_down,
            fit=lambda: self.broker.connected,
            pace=self.base.tuning.pace,
        )
        self.follower = Follower(
            broker,
            self.id,
            settings.control_queue,
            self.base.registry,
            self.counters,
            use=self.dispatcher.use,
            leads=self._sure,
            facts={"url": self.address.url, "since": int(self.started * 1000), "host_info": host_info()},
        )
        self.dispatcher.doubt(self._sure, self.follower.renew)
        self.plane = ControlPlane(self.base)
        self.runner_drain: Callable[[ControlPlane, str], Awaitable[None]] | None = None
        self._ticks: dict[str, Tick] = {}
        self._firehose: Consumer | None = None
        self._work: asyncio.Task[None] | None = None
        self._campaign: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._registry_open = False
        self._opened = False
        self._dispatching = asyncio.Event()

    # what it is

    @property
    def ready(self) -> bool:
        """Whether it dispatches now."""
        return self._dispatching.is_set() and self.broker.connected

    @property
    def leading(self) -> Tenure | None:
        """The present leadership; None unless this Tron leads at this moment, and knows all that it needs for that."""
        return self.leadership.tenure if self.plane.begun and self.plane.holds() else None

    @property
    def table(self) -> RouteTable:
        """The route table by which this Tron dispatches, whether it leads or not."""
        return self.dispatcher.table

    def trons(self) -> list[Fellow]:
        """Return all Trons, this one first. Only the one that leads knows the others."""
        tenure = self.leading
        info, dispatched = host_info(), self.counters.dispatched
        epoch = tenure.epoch if tenure is not None else None
        me = Fellow(self.id, self.address.url, epoch, dispatched, self.started, time.time(), info.pop("version"), info)
        return [me, *known(self.peers)]

    def on_tick(self, what: str, call: Tick) -> None:
        """Have `call` awaited each second while this Tron leads; one call after another, and none twice at a time. What
        it raises is logged, and it is called again a second later. `what` names it in the log."""
        self._ticks[what] = call

    async def drain_runner(self, runner: str) -> None:
        """Begin to take a Runner out of service, by `runner_drain`, which whoever places Funcs on Runners sets. Raises
        Conflict where nobody does."""
        if self.runner_drain is None:
            raise Conflict(f"{runner} cannot be drained: nothing here decides which Runner runs what")
        await self.runner_drain(self.plane, runner)

    # the parts of the present leadership

    @property
    def registry(self) -> Registry:
        """The Registry; what is changed by it is changed under the present leadership, or refused."""
        return self.plane.registry

    @property
    def intake(self) -> Intake:
        """Where bundles come in."""
        return self.plane.intake

    @property
    def outbox(self) -> Outbox:
        """What others are told."""
        return self.plane.outbox

    @property
    def peers(self) -> Peers:
        """Who is there."""
        return self.plane.peers

    @property
    def deployments(self) -> Deployments:
        """What is deployed."""
        return self.plane.deployments

    @property
    def control(self) -> Control:
        """The control queue, and the figures that come by it."""
        return self.plane.control

    # life

    async def open(self) -> None:
        """Open the stores; if they are away, that is tried again later. Raises SettingsError, or WrongTables: these are
        for a person to put right."""
        try:
            await self._open()
        except WrongTables:
            raise
        except StoreError as err:
            self.leadership.away(str(err))

    def start(self) -> asyncio.Task[None]:
        """Begin to work, which goes on in the background: the broker may be away for long. The task that is returned
        ends by itself only with an error that is for a person to put right."""
        self._work = asyncio.get_running_loop().create_task(self._run(), name="the Tron's work")
        return self._work

    async def wait_ready(self) -> None:
        """Return once it dispatches, and has tried to lead: for who starts it in process."""
        await self._dispatching.wait()

    async def shutdown(self, grace: float = 5.0) -> None:
        """Stop in order: take nothing new, finish what is in hand, say nothing half, close. Idempotent."""
        # 1. no new requests; what is not acked goes back to its queue
        self._dispatching.clear()
        await _ended(self._work)
        firehose, self._firehose = self._firehose, None
        if firehose is not None:
            try:
                await firehose.cancel()
            except BrokerError as err:
                log.info("a consumer could not be cancelled: %s", err)
        # 2. loading and draining stop where they are, as the Registry knows; then another Tron may lead
        await _ended(self._campaign)
        await self.follower.stop()
        # 3. messages that are being moved get their confirmation
        await self.tasks.stop(grace)
        # 4. what was published and acked goes out
        self.statsd.switch_off()
        await self.broker.close()
        await self.base.registry.close()

    async def _run(self) -> None:
        await self.broker.connect()
        self.broker.on_change(self._connection)
        jobs = [asyncio.ensure_future(job) for job in (self._dispatch(), self._watch())]
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    def _connection(self, connected: bool) -> None:
        if not self._dispatching.is_set():
            return
        if not connected:
            log.warning("the broker is away")
            return
        log.info("the broker is back")  # the driver has declared and consumes again; messages may have been missed
        if self.leading is not None:
            self.plane.announce()
        else:
            self.follower.awake()
            self.tasks.start(self.follower.renew(), "looking up the routes")

    # dispatching

    async def _dispatch(self) -> None:
        """Know the routes first, then dispatch: a request that waited in the firehose finds its own."""
        while self._firehose is None:
            try:
                await self._begin()
            except FuncatronError as err:
                log.warning("the Tron cannot dispatch yet: %s", err)
                await asyncio.sleep(AGAIN)
        log.info("dispatching %d routes", len(self.table))
        if self._campaign is not None:
            await self.leadership.looked.wait()
        self._dispatching.set()
        while True:
            await asyncio.sleep(TICK)
            self._count()

    async def _begin(self) -> None:
        await queues.declare(self.broker, self.settings.control_queue)
        await self.follower.start()
        try:
            await self.follower.look()
        except StoreError:
            if self.follower.table is None:  # nor has a leader told it
                raise
        self._firehose = await self.dispatcher.start()

    def _count(self) -> None:
        """Tell what was counted, to the leader and to StatsD."""
        if self.counters.many:
            self.counters.forget({queue for route in self.table.ordered for queue in route.queues})
        self.follower.tell()
        self.statsd.send(self.counters.as_json(), self._gauges() if self.leading is not None else {})

    def _gauges(self) -> dict[str, int]:
        return {
            "routes": len(self.deployments.table),
            "frontends": len(self.peers.of("frontend")),
            "runners": len(self.peers.of("runner")),
        }

    # the Registry

    async def _open(self) -> None:
        if not self._registry_open:
            await self.base.registry.open()
            self._registry_open = True
        await self.blobs.open()
        self._opened = True

    async def _watch(self) -> None:
        """Open the stores as soon as that can be done, campaign, and see what others have changed."""
        pause = AGAIN
        while not self._opened:
            await asyncio.sleep(pause)
            await self.open()
            pause = min(pause * 2, AGAIN_MOST)
        self._campaign = asyncio.get_running_loop().create_task(self.leadership.run(), name="campaigning")
        while True:
            if self.leading is None:
                await self._follow()
            await asyncio.sleep(LOOK)

    async def _follow(self) -> None:
        """Take the routes and the StatsD switch from the Registry: it may have been missed that they were changed."""
        try:
            await self.follower.look()
            await self.statsd.follow(await self.registry.fact("statsd"))
        except StoreError as err:
            log.debug("the Registry cannot be read: %s", err)  # the campaign says so once

    # leading

    def _sure(self) -> bool:
        return self.leading is not None

    def _led(self, table: RouteTable) -> None:
        """Dispatch by a table that was made here."""
        self.dispatcher.use(table)
        self.follower.led(table)

    async def _take_up(self, tenure: Tenure, silent: bool) -> None:
        plane = ControlPlane(
            self.base, tenure.epoch, lambda: self.leadership.tenure is tenure and self.leadership.holds()
        )
        try:
            await plane.begin(anew=silent)
        except BaseException:
            await plane.end()
            raise
        self.plane = plane
        log.info("this Tron leads, epoch %d", plane.epoch)
        await self._follow()
        self._ticking = asyncio.get_running_loop().create_task(self._tick(plane), name="leading")

    async def _step_down(self) -> None:
        await _ended(self._ticking)
        await self.plane.end()
        if self._dispatching.is_set():
            self.follower.awake()

    async def _tick(self, plane: ControlPlane) -> None:
        """Do each second what the Tron does that leads."""
        while plane.holds():
            began = time.monotonic()
            plane.control.tick()
            for what, call in list(self._ticks.items()):
                try:
                    await call(plane)
                except NotLeader as err:
                    log.info("%s: %s", what, err)
                except Exception:  # the next second is another try, and others have their turn
                    log.exception("%s failed", what)
            await asyncio.sleep(max(0.0, began + TICK - time.monotonic()))


async def _ended(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def address_of(settings: Settings) -> Address:
    """Return where Runners and other Trons reach the admin API: by `tron_url`, if that is set."""
    if settings.tron_url is not None:
        parts = urlsplit(settings.tron_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(f"FUNCATRON_TRON_URL is no URL of HTTP: {settings.tron_url}")
        return Address(parts.hostname, port, settings.tron_url.rstrip("/"))
    host = settings.admin_host
    if host in {"0.0.0.0", "::", ""}:
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return Address(host, settings.admin_port, f"http://{shown}:{settings.admin_port}")
