"""One deployed Func in this Runner: asleep until a message comes, then compiled and with hosts, in the end drained.

asleep → waking → awake → asleep …; draining → retired. Only a Func that is awake has its spec compiled.

It takes messages, and has hosts, as the Tron that leads allots them (`allot`); until one has done so, as it needs them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from funcatron.brokers.base import Consumer, Delivery
from funcatron.errors import BrokerError, FuncatronError
from funcatron.hosts import Host
from funcatron.runner import condition
from funcatron.runner.allotment import Allotment
from funcatron.runner.call import Call
from funcatron.runner.crashes import Crashes
from funcatron.runner.deployment import Deployment
from funcatron.runner.draining import worked_off
from funcatron.runner.loading import Loaded, load
from funcatron.runner.outcome import failure
from funcatron.runner.pool import Pool
from funcatron.runner.service import Service
from funcatron.runner.settle import Identity, Settler
from funcatron.runner.starts import Starts
from funcatron.runner.stats import Stats
from funcatron.runner.tools import Tools
from funcatron.runner.unloadable import refuse

log = logging.getLogger("funcatron.runner.func")

MOST_HELD = 256  # early messages that don't count as slots
AHEAD = 4  # messages that a waker takes before it has a host: others may have hosts sooner

__all__ = ["Func", "Tools"]


class Func:
    """Takes the messages of one func queue."""

    def __init__(self, deployment: Deployment, tools: Tools) -> None:
        self.deployment, self.tools = deployment, tools
        self.stats, self.starts = Stats(), Starts()
        identity = Identity(deployment.sha, deployment.queue, tools.runner)
        self.settler = Settler(identity, tools.broker, tools.outbox, tools.orphans, self.stats, tools.bodies)
        self.state = "asleep"
        self.loaded: Loaded | None = None
        self.pool: Pool | None = None
        self.service: Service | None = None
        self._consumer: Consumer | None = None
        self._backlog: deque[Delivery] = deque()  # came while it was asleep
        self._held: dict[int, tuple[Delivery, asyncio.TimerHandle]] = {}  # came too early
        self._waking: asyncio.Task[None] | None = None
        self.failures = Crashes()  # to load it
        self.allotment: Allotment | None = None
        self.news: Callable[[], None] = lambda: None  # called when there are more or fewer hosts
        self._prefetch = 0  # 0: it takes nothing
        self._serving = False
        self._leaving = False  # for good
        self._shut = False  # what still comes is given back
        self._had_host = False  # since it was told what it is to have
        self._taking = asyncio.Lock()  # held while the subscription changes
        self._tuning = False
        self._last = (0, 0.0)  # calls and their seconds at the last tick
        self.label = {"sha": deployment.sha, "queue": deployment.queue}

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
        """Take messages, as far as that is allotted to it. Raises BrokerError if there is no such queue."""
        self._serving = True
        await self._align()

    def allot(self, allotment: Allotment | None) -> None:
        """Have so many hosts, and take messages if there are any (or it is to wake); None: by its own judgement.

        Where it is to have none, what was not begun goes back to the queue, and what was is finished.
        """
        if self._leaving or self.state == "draining":
            return
        self.allotment = allotment
        self._had_host = self.pool is not None and self.pool.size() > 0
        self._shut = allotment is not None and not allotment.instances and not allotment.waker
        if self._shut:
            self._give_back()
        self._fit()
        self._wake_if_wanted()
        self._resume()
        self._tune()

    async def drain(self) -> None:
        """Go on until the queue is empty and nothing is in flight, then stop."""
        self.state = "draining"
        await worked_off(self)
        await self.stop_taking()
        await self.close(grace=0.0)
        self.state = "retired"

    async def stop_taking(self) -> None:
        """Take no more messages; `close` gives those back that still come, so that nobody takes them for tried ones.
        Idempotent."""
        self._leaving = self._shut = True
        async with self._taking:
            consumer, self._consumer, self._prefetch = self._consumer, None, 0
            if consumer is not None:
                await consumer.cancel()

    async def close(self, grace: float) -> None:
        """End: what was not applied goes back to the queue, what is in flight may take `grace` seconds, then its caller
        is told; at last the hosts stop."""
        await self.stop_taking()
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.gather(self._waking, return_exceptions=True)
        self._give_back()
        if self.pool is not None:
            until = time.monotonic() + grace
            while self.pool.live() and time.monotonic() < until:  # noqa: ASYNC110 rare; an event a call would cost
                await asyncio.sleep(0.02)
            for call in self.pool.live():
                self._abandon(call)
            await self.pool.close()
        self.tools.cache.release(self.deployment.sha)
        self.state = "retired"

    def tick(self, now: float) -> None:
        """Once a second: try again what failed, look after hosts, and sleep once there is none and nothing to do."""
        self._tune()
        self._wake_if_wanted()
        if self.pool is None:
            return
        calls, seconds = self._last
        service = self.stats.service
        self._last = (service.count, service.seconds)
        done = service.count - calls
        self.pool.tick(now, (service.seconds - seconds) / done if done else float("inf"))
        idle = self.pool.state() == "idle" and not self.pool.target and self.in_flight() == 0
        if self.state == "awake" and idle:
            self._sleep()

    def connection_lost(self) -> None:
        """The broker has all unsettled messages back: what was not applied is known by name, when it comes again."""
        self.stats.returned += self.in_flight()
        self.tools.orphans.disown((), self._unapplied())

    def in_flight(self) -> int:
        """Return how many messages it has taken and not settled."""
        live = len(self.pool.live()) + len(self.pool.waiting) if self.pool is not None else 0
        return live + len(self._backlog) + len(self._held)

    def waiting(self) -> int:
        """Return how many of these have no host yet, but for those that are held until it is time to try them again."""
        return len(self._backlog) + (len(self.pool.waiting) if self.pool is not None else 0)

    def oldest_call(self) -> float | None:
        """Return how long the call is at its host that is there for longest, s; None: there is none."""
        started = [call.started for call in self.pool.live()] if self.pool is not None else []
        return time.monotonic() - min(started) if started else None

    def hosts(self) -> list[Host]:
        """Return the hosts that take calls."""
        return [seat.host for seat in self.pool.seats if seat.host is not None] if self.pool is not None else []

    @property
    def prefetch(self) -> int:
        """How many messages it may hold; 0: it takes none."""
        return self._prefetch

    def report(self) -> dict[str, Any]:
        """Return what stands in a `heartbeat` of it."""
        return condition.report(self)

    # ------------------------------------------------------------------ messages

    def _receive(self, delivery: Delivery) -> None:
        self.stats.received += 1
        if self._shut:  # once nothing more comes
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

    def _give_back(self) -> None:
        """Put what was taken and not begun back into the queue."""
        for delivery in self._unapplied():
            self.settler.give_back(delivery)
        for call in self.pool.take_waiting() if self.pool is not None else ():
            self.tools.deadlines.discard(call)
            call.settled = True
            if call.orphan:  # the broker has its message already
                self.tools.orphans.release(call)
            else:
                self.settler.give_back(call.delivery)

    def _resume(self) -> None:
        """Look at what came while it was shut, if it is so no more."""
        if self._shut or not self._backlog:
            return
        if self.service is None:
            self._start_waking()
            return
        while self._backlog and self.service is not None:
            self.service.receive(self._backlog.popleft())

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

    def _wake_if_wanted(self) -> None:
        """Wake up for the hosts that it is to have; again and again where it cannot be loaded."""
        wanted = self.allotment is not None and self.allotment.instances > 0
        if wanted and self.service is None and not self._leaving and time.monotonic() >= self.failures.retry_at:
            self._start_waking()

    def _start_waking(self) -> None:
        if self._waking is not None:
            return
        now = time.monotonic()
        if now < self.failures.retry_at:
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
            self.starts.watch(loaded.launch),
            self.tools.capacity,
            slots=loaded.slots,
            smallest=loaded.smallest,
            largest=loaded.largest,
            idle=self.tools.settings.host_idle,
            label=self.label,
            on_slots=self._slots_changed,
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
        self._fit()
        self._tune()

    def _woken(self, task: asyncio.Task[None]) -> None:
        self._waking = None
        if task.cancelled():
            return
        err = task.exception()
        if err is not None:
            self.failures.record(time.monotonic(), str(err))
            known = isinstance(err, FuncatronError)
            log.error("the Func cannot be loaded: %s", err, extra=self.label, exc_info=None if known else err)
            self._refuse_backlog()
            return
        self.failures.recovered()
        self._resume()

    def _refuse_backlog(self) -> None:
        """The Func cannot be loaded now: say so."""
        while self._backlog:
            refuse(self._backlog.popleft(), self.settler)

    def _sleep(self) -> None:
        self.service = self.pool = self.loaded = None
        self.state = "asleep"
        self.tools.cache.release(self.deployment.sha)

    # ------------------------------------------------------------------ hosts and prefetch

    def _fit(self) -> None:
        """Tell the pool how many hosts are wanted."""
        own, pool = self.allotment, self.pool
        if pool is not None and own is not None:
            pool.want(own.instances, waker=own.waker)
        elif pool is not None and pool.target is not None:
            pool.want(None)

    def _slots_changed(self) -> None:
        self._had_host = self._had_host or (self.pool is not None and self.pool.size() > 0)
        self._tune()
        self.news()

    def _wanted_prefetch(self) -> int:
        own, pool = self.allotment, self.pool
        slots = pool.total_slots() if pool is not None else self.tools.settings.func_concurrency
        if own is not None and not own.waker and not own.instances:
            return 0
        if own is not None and (pool is None or not pool.size()):
            if not own.waker:
                # messages wait in the queue for whoever has a host first; one that has died a moment ago is replaced
                return self._prefetch if self._had_host and pool is not None and not pool.parked() else 0
            slots = min(AHEAD, slots)
        elif self.tools.capacity.short:
            slots = max(1, slots // 2)
        return slots + min(len(self._held), MOST_HELD)

    def _tune(self) -> None:
        """Bring the subscription to what it should be, soon."""
        if self._serving and not self._leaving and not self._tuning and self._wanted_prefetch() != self._prefetch:
            self._tuning = True
            self.tools.outbox.spawn(self._tuned())

    async def _tuned(self) -> None:
        try:
            await self._align()
        except BrokerError as err:
            log.warning("what is taken from the queue cannot be changed yet: %s", err, extra=self.label)
        finally:
            self._tuning = False

    async def _align(self) -> None:
        async with self._taking:
            while not self._leaving and (wanted := self._wanted_prefetch()) != self._prefetch:
                await self._take(wanted)

    async def _take(self, prefetch: int) -> None:
        """Hold so many messages at most from now on; 0: take none, and give back what is not begun."""
        consumer = self._consumer
        if consumer is None:
            self._shut = False
            self._consumer = await self.tools.broker.consume(self.deployment.queue, self._receive, prefetch=prefetch)
        elif prefetch:
            await consumer.set_prefetch(prefetch)
        else:
            self._consumer, self._shut = None, True
            await consumer.cancel()
            if self._shut:
                self._give_back()
        self._prefetch = prefetch
