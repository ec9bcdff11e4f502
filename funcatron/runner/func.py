"""One deployed Func in this Runner: asleep until a message comes, then compiled and with hosts, in the end drained.

asleep → waking → awake → asleep …; draining → retired. Only a Func that is awake has its spec compiled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funcatron.brokers.base import Broker, Consumer, Delivery
from funcatron.errors import BadMessage, BrokerError, FuncatronError, UnknownDepth
from funcatron.message import ServiceMessage
from funcatron.runner.cache import Cache
from funcatron.runner.call import Call
from funcatron.runner.capacity import Capacity
from funcatron.runner.crashes import Crashes
from funcatron.runner.deadlines import Deadlines
from funcatron.runner.deployment import Deployment
from funcatron.runner.hostlog import LogPump
from funcatron.runner.loading import Loaded, load
from funcatron.runner.orphans import Orphans
from funcatron.runner.outbox import Outbox
from funcatron.runner.outcome import failure
from funcatron.runner.pool import Pool
from funcatron.runner.retry import attempt_of
from funcatron.runner.service import Service
from funcatron.runner.settle import Identity, Settler
from funcatron.runner.stats import Stats
from funcatron.settings import Settings

log = logging.getLogger("funcatron.runner.func")

MOST_HELD = 256  # early messages that don't count as slots
LOOK = 0.2  # between two looks at the queue while draining, s
CALM = 2  # so many empty looks in a row are the end of a queue
BLIND = 30.0  # a queue whose depth stays unknown for so long is given up, s


@dataclass(frozen=True)
class Tools:
    """What all Funcs of a Runner share."""

    runner: str
    settings: Settings
    broker: Broker
    outbox: Outbox
    cache: Cache
    capacity: Capacity
    deadlines: Deadlines
    orphans: Orphans
    pump: LogPump
    run: Path  # where hosts' private folders are made


class Func:
    """Takes the messages of one func queue."""

    def __init__(self, deployment: Deployment, tools: Tools) -> None:
        self.deployment, self.tools = deployment, tools
        self.stats = Stats()
        identity = Identity(deployment.sha, deployment.queue, tools.runner)
        self.settler = Settler(identity, tools.broker, tools.outbox, tools.orphans, self.stats)
        self.state = "asleep"
        self.loaded: Loaded | None = None
        self.pool: Pool | None = None
        self.service: Service | None = None
        self._consumer: Consumer | None = None
        self._backlog: deque[Delivery] = deque()  # came while it was asleep
        self._held: dict[int, tuple[Delivery, asyncio.TimerHandle]] = {}  # came too early
        self._waking: asyncio.Task[None] | None = None
        self._failures = Crashes()
        self._prefetch = 0
        self._leaving = False
        self._tuning = False
        self._last = (0, 0.0)  # calls and seconds at the last tick
        self._label = {"sha": deployment.sha, "queue": deployment.queue}

    # ------------------------------------------------------------------ life

    async def check(self) -> list[str]:
        """Load everything, and start one host, which resolves all callables; returns the operations.

        Raises what is wrong with the bundle (BadBundle, BadSpec, LoadError), or here (HostError, StoreError).
        """
        await self._wake()
        assert self.pool is not None
        assert self.loaded is not None
        await self.pool.check()
        return [operation.id for operation in self.loaded.api.operations]

    async def serve(self) -> None:
        """Take messages. Raises BrokerError if there is no such queue."""
        self._prefetch = self._wanted_prefetch()
        self._consumer = await self.tools.broker.consume(self.deployment.queue, self._receive, prefetch=self._prefetch)

    async def drain(self) -> None:
        """Go on until the queue is empty and nothing is in flight, then stop."""
        self.state = "draining"
        calm, blind_since = 0, time.monotonic()
        while calm < CALM:
            try:
                empty = (await self.tools.broker.depth(self.deployment.queue)).ready == 0
                blind_since = time.monotonic()
            except UnknownDepth as err:
                empty = self.tools.broker.connected and time.monotonic() - blind_since > BLIND
                if empty:
                    log.warning("giving up on a queue's depth: %s", err, extra=self._label)
            calm = calm + 1 if empty and self.in_flight() == 0 else 0
            await asyncio.sleep(LOOK)
        await self.stop_taking()
        await self.close(grace=0.0)
        self.state = "retired"

    async def stop_taking(self) -> None:
        """Take no more messages; `close` gives those back that still come, so that nobody takes them for tried ones.
        Idempotent."""
        self._leaving = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.cancel()

    async def close(self, grace: float) -> None:
        """End: what was not applied goes back to the queue, what is in flight may take `grace` seconds, then its caller
        is told; at last the hosts stop."""
        await self.stop_taking()
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.gather(self._waking, return_exceptions=True)
        for delivery in self._unapplied():
            self.settler.give_back(delivery)
        if self.pool is not None:
            for call in self.pool.take_waiting():
                self.tools.deadlines.discard(call)
                self.settler.give_back(call.delivery)
            until = time.monotonic() + grace
            while self.pool.live() and time.monotonic() < until:  # noqa: ASYNC110 rare; an event a call would cost
                await asyncio.sleep(0.02)
            for call in self.pool.live():
                self._abandon(call)
            await self.pool.close()
        self.tools.cache.release(self.deployment.sha)
        self.state = "retired"

    def tick(self, now: float) -> None:
        """Once a second: idle hosts, growth, and sleep once there is no host and nothing to do."""
        if self.pool is None:
            return
        calls, seconds = self._last
        self._last = (self.stats.calls, self.stats.seconds)
        done = self.stats.calls - calls
        self.pool.tick(now, (self.stats.seconds - seconds) / done if done else float("inf"))
        if self.state == "awake" and self.pool.state() == "idle" and self.in_flight() == 0:
            self._sleep()

    def connection_lost(self) -> None:
        """The broker has all unsettled messages back: what was not applied is known by name, when it comes again."""
        self.tools.orphans.disown((), self._unapplied())

    def in_flight(self) -> int:
        """Return how many messages it has taken and not settled."""
        live = len(self.pool.live()) + len(self.pool.waiting) if self.pool is not None else 0
        return live + len(self._backlog) + len(self._held)

    def report(self) -> dict[str, Any]:
        """Return what stands in a `heartbeat` of it."""
        state = "serving" if self.state in ("asleep", "waking", "awake") else self.state
        if self.pool is not None and self.pool.state() == "crashing":
            state = "crashing"
        facts: dict[str, Any] = {"sha": self.deployment.sha, "queue": self.deployment.queue, "state": state}
        if self.pool is not None:
            hosts = [seat.host for seat in self.pool.seats if seat.host is not None]
            facts["in-flight"] = self.in_flight()
            facts["slots"] = self._prefetch
            facts["deaths"] = self.pool.crashes.total
            facts["hosts"] = [{"pid": one.pid, "rss-bytes": one.rss(), "cpu-seconds": one.cpu()} for one in hosts]
        if self.stats.received:
            facts["stats"] = self.stats.report()
        return facts

    # ------------------------------------------------------------------ messages

    def _receive(self, delivery: Delivery) -> None:
        self.stats.received += 1
        if self._leaving:  # once nothing more comes
            self._backlog.append(delivery)
            return
        if self.service is not None:
            self.service.receive(delivery)
            return
        self._backlog.append(delivery)
        self._start_waking()

    def _hold(self, delivery: Delivery, seconds: float) -> None:
        """Keep a message that is to be tried again later; it takes no slot."""
        timer = asyncio.get_running_loop().call_later(seconds, self._due, id(delivery))
        self._held[id(delivery)] = (delivery, timer)
        self._tune()

    def _due(self, key: int) -> None:
        delivery, _ = self._held.pop(key)
        self._tune()
        self.stats.received -= 1  # it is not a new one
        self._receive(delivery)

    def _unapplied(self) -> list[Delivery]:
        """Return, and forget, the messages that were taken and not looked at."""
        for _, timer in self._held.values():
            timer.cancel()
        found = [*self._backlog, *(delivery for delivery, _ in self._held.values())]
        self._backlog.clear()
        self._held.clear()
        return found

    def _abandon(self, call: Call) -> None:
        """The Runner ends before the call does."""
        self.tools.deadlines.discard(call)
        if call.orphan:  # the broker has its message already
            call.settled = True
            return
        if call.may_repeat:
            self.settler.again(call)
            return
        detail = "The Runner ended before the Func had answered; whether it was applied is not known."
        self.settler.fail(call, failure(502, call.request_id, detail), "runner-ended")

    # ------------------------------------------------------------------ waking and sleeping

    def _start_waking(self) -> None:
        if self._waking is not None:
            return
        now = time.monotonic()
        if now < self._failures.retry_at:
            self._refuse_backlog()
            return
        self._waking = asyncio.get_running_loop().create_task(self._wake())
        self._waking.add_done_callback(self._woken)

    async def _wake(self) -> None:
        """Fetch and compile."""
        if self.service is not None:
            return
        self.state = "waking"
        try:
            loaded = await load(self.deployment, self.tools)
        except BaseException:
            self.state = "asleep"
            self.tools.cache.release(self.deployment.sha)
            raise
        self.loaded = loaded
        self.pool = Pool(
            loaded.launch,
            self.tools.capacity,
            slots=loaded.slots,
            smallest=loaded.smallest,
            largest=loaded.largest,
            idle=self.tools.settings.host_idle,
            label=self._label,
            on_slots=self._tune,
        )
        self.service = Service(
            loaded.api,
            self.pool,
            self.settler,
            self.tools.deadlines,
            timeout=loaded.timeout,
            validation=loaded.validation,
            hold=self._hold,
        )
        self.state = "awake"
        self._tune()

    def _woken(self, task: asyncio.Task[None]) -> None:
        self._waking = None
        if task.cancelled():
            return
        err = task.exception()
        if err is not None:
            self._failures.record(time.monotonic(), str(err))
            known = isinstance(err, FuncatronError)
            log.error("the Func cannot be loaded: %s", err, extra=self._label, exc_info=None if known else err)
            self._refuse_backlog()
            return
        self._failures.recovered()
        while self._backlog and self.service is not None:
            self.service.receive(self._backlog.popleft())

    def _refuse_backlog(self) -> None:
        """The Func cannot be loaded now: say so."""
        while self._backlog:
            delivery = self._backlog.popleft()
            try:
                headers = delivery.properties.headers
                call = Call(None, delivery, ServiceMessage.decode(delivery.body))
            except BadMessage as err:
                self.settler.undecodable(delivery, err)
                continue
            call.attempt = attempt_of(headers)
            detail = "The Func cannot be loaded here; the Runner's log says why."
            result = failure(503, call.request_id, detail, headers=(("Retry-After", "5"),))
            self.settler.fail(call, result, "not-loaded")

    def _sleep(self) -> None:
        self.service = self.pool = self.loaded = None
        self.state = "asleep"
        self.tools.cache.release(self.deployment.sha)

    # ------------------------------------------------------------------ prefetch

    def _wanted_prefetch(self) -> int:
        slots = self.pool.total_slots() if self.pool is not None else self.tools.settings.func_concurrency
        return slots + min(len(self._held), MOST_HELD)

    def _tune(self) -> None:
        """Bring the prefetch to what it should be, soon."""
        if self._consumer is not None and not self._tuning and self._wanted_prefetch() != self._prefetch:
            self._tuning = True
            self.tools.outbox.spawn(self._set_prefetch())

    async def _set_prefetch(self) -> None:
        try:
            while self._consumer is not None and (wanted := self._wanted_prefetch()) != self._prefetch:
                self._prefetch = wanted
                await self._consumer.set_prefetch(wanted)
        except BrokerError as err:
            log.warning("the prefetch cannot be changed: %s", err, extra=self._label)
        finally:
            self._tuning = False
