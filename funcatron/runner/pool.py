"""The hosts of one Func in this Runner: started when there is call, replaced when they die, stopped when idle."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from funcatron.errors import FuncatronError
from funcatron.hosts import Host
from funcatron.hosts.process import describe_exit
from funcatron.runner.capacity import Capacity
from funcatron.runner.crashes import WINDOW, Crashes

if TYPE_CHECKING:
    from funcatron.runner.call import Call

log = logging.getLogger("funcatron.runner.pool")

STOP_GRACE = 5.0  # a host that was told to stop is killed after that, s
PONG = 1.0  # a host answers a ping in that time, s
SATURATED = 3.0  # full for so long: one host more, s
BUSY = 0.7  # share of a core from which a host counts as busy
SLOW = 0.1  # calls that take longer than that wait for something; more of them can wait at once, s

OnExit = Callable[[Host, int | None], None]
Launch = Callable[[OnExit], Awaitable[Host]]


class Seat:
    """One host and what runs in it."""

    __slots__ = ("calls", "cpu", "gone", "host", "idle_since", "lanes", "leaving", "served", "since", "stopping")

    def __init__(self, now: float) -> None:
        self.host: Host | None = None
        self.calls: set[Call] = set()
        self.lanes: Counter[str] = Counter()  # calls of Operations that have a limit of their own
        self.since = self.idle_since = now
        self.served = False  # has answered
        self.leaving = False  # takes no new calls
        self.stopping = False  # was told to end: its exit is no crash
        self.gone = False
        self.cpu = 0.0


class Pool:
    """Gives calls to hosts. All from the event loop's thread; `submit` and `release` are on the hot path."""

    def __init__(
        self,
        launch: Launch,
        capacity: Capacity,
        *,
        slots: int,
        smallest: int = 0,
        largest: int = 1,
        idle: float = 600.0,
        label: dict[str, str] | None = None,
        on_slots: Callable[[], None] = lambda: None,
    ) -> None:
        self.slots = slots  # calls at once in one host
        self.smallest, self.largest, self.idle = smallest, max(1, largest, smallest), idle
        self.seats: list[Seat] = []
        self.waiting: deque[Call] = deque()
        self.crashes = Crashes()
        self._launch, self._capacity = launch, capacity
        self._label = label or {}
        self._on_slots = on_slots
        self._alive: set[Seat] = set()  # those that left the rotation as well
        self._start: asyncio.Task[None] | None = None
        self._stops: set[asyncio.Task[None]] = set()
        self._full_since: float | None = None
        self.closed = False

    # ------------------------------------------------------------------ the hot path

    def submit(self, call: Call) -> None:
        """Run the call on the least busy host, or as soon as one is there."""
        best, least = None, self.slots
        for seat in self.seats:
            if len(seat.calls) < least and (not call.lane or seat.lanes[call.operation_id] < call.lane):
                best, least = seat, len(seat.calls)
        if best is None:
            self._wait(call)
        else:
            self._give(best, call)

    def release(self, call: Call) -> None:
        """The call's host has yielded: its slot is free."""
        seat = call.seat
        if seat is None:
            return
        call.seat = None
        seat.served = True
        seat.calls.discard(call)
        if call.lane:
            seat.lanes[call.operation_id] -= 1
        if seat.leaving:
            self._end_if_done(seat)
        elif self.waiting:
            self._next(seat)
        elif not seat.calls:
            seat.idle_since = time.monotonic()
            if self._capacity.wanted:
                self._capacity.make_room()

    # ------------------------------------------------------------------ what else happens to calls

    def withdraw(self, call: Call) -> None:
        """Forget call that still waits for a host."""
        if call.seat is None and call in self.waiting:
            self.waiting.remove(call)

    def take_waiting(self) -> list[Call]:
        """Return, and forget, the calls that wait for a host."""
        found = [call for call in self.waiting if not call.settled]
        self.waiting.clear()
        return found

    def live(self) -> list[Call]:
        """Return the calls at hosts that are not answered yet."""
        return [call for seat in self._alive for call in seat.calls if not call.settled]

    def lost(self, seat: Seat, why: str) -> None:
        """The seat's host is dead. Idempotent: several signs tell of one death."""
        if seat.gone:
            return
        seat.gone = seat.leaving = True
        self._alive.discard(seat)
        if seat in self.seats:
            self.seats.remove(seat)
        self._left()
        if not seat.stopping:
            self._crashed(why, fruitful=seat.served)
        self._on_slots()
        if self.waiting or len(self.seats) < self.smallest:
            self.ensure()

    def stuck(self, call: Call) -> None:
        """The call was cancelled and its host did not yield: no new calls go there, and it ends with the last live one.

        The others in that host may finish: an innocent call should not pay for its neighbour. A host that is blocked as
        a whole is killed.
        """
        seat = call.seat
        if seat is None or seat.gone:
            return
        if not seat.leaving:
            log.warning("replacing a host that does not yield", extra={**self._label, "pid": _pid(seat)})
            self._retire(seat)
            self._probe(seat)
        self._end_if_done(seat)

    # ------------------------------------------------------------------ hosts

    def ensure(self) -> None:
        """See to it that a host is being started."""
        if not self.closed and self._start is None:
            # one at a time: whoever still waits when it is there has another started, if that pays (see `tick`)
            self._start = asyncio.get_running_loop().create_task(self._start_one(extra=False))
            self._start.add_done_callback(self._started)

    async def check(self) -> None:
        """Start one host and keep it. Raises what the start raises (LoadError, HostError …)."""
        await self._capacity.take()
        self._seat_of(await self._launched())

    def tick(self, now: float, seconds_per_call: float) -> None:
        """Once a second or so: stop idle hosts, forgive old deaths, grow where calls have filled all slots for long.

        `now` is of the monotonic clock; `seconds_per_call` is what calls take on average lately.
        """
        for seat in list(self.seats):
            if len(self.seats) > self.smallest and not seat.calls and now - seat.idle_since > self.idle:
                log.info("stopping an idle host", extra={**self._label, "pid": _pid(seat)})
                self._retire(seat)
                self._end_if_done(seat)
        if len(self.seats) < self.smallest:
            self.ensure()
        if self.crashes.total and self.seats and all(now - seat.since > WINDOW for seat in self.seats):
            self.crashes.recovered()
        full = bool(self.seats) and all(len(seat.calls) >= self.slots for seat in self.seats)
        shares = [self._cpu_share(seat, now) for seat in self.seats]
        if not full:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= SATURATED and self._start is None and len(self.seats) < self.largest:
            pays = seconds_per_call > SLOW or min(shares, default=0.0) > BUSY
            if pays and self._capacity.take_extra():
                self._full_since = None
                self._start = asyncio.get_running_loop().create_task(self._start_one(extra=True))
                self._start.add_done_callback(self._started)

    def total_slots(self) -> int:
        """Return how many calls may be in flight: what the Func should take from its queue."""
        return self.slots * max(1, self.size())

    def state(self) -> str:
        """Return `idle`, `starting`, `serving` or `crashing`."""
        if self.crashes.looping(time.monotonic()):
            return "crashing"
        if self.seats:
            return "serving"
        return "starting" if self._start is not None else "idle"

    async def close(self, grace: float = STOP_GRACE) -> None:
        """Stop all hosts, and whatever is being started."""
        self.closed = True
        if self._start is not None:
            self._start.cancel()
            await asyncio.gather(self._start, return_exceptions=True)
        for seat in list(self.seats):
            self._retire(seat)
            self._stop(seat, grace)
        if self._stops:
            await asyncio.gather(*self._stops)
        self._capacity.holders.discard(self)

    # ------------------------------------------------------------------ as Capacity sees it

    def size(self) -> int:
        """Return how many hosts take calls."""
        return sum(not seat.leaving for seat in self.seats)

    def oldest(self, *, idle: bool) -> float | None:
        """Return since when the seat to give up first is idle (or serves)."""
        times = [s.idle_since if idle else s.since for s in self.seats if not s.leaving and not (idle and s.calls)]
        return min(times, default=None)

    def give_up(self, *, idle: bool) -> None:
        """Let the seat that is idle (or serves) for longest finish, and stop it."""
        seats = [s for s in self.seats if not s.leaving and not (idle and s.calls)]
        seat = min(seats, key=lambda s: s.idle_since if idle else s.since)
        self._retire(seat)
        self._end_if_done(seat)

    # ------------------------------------------------------------------ inside

    def _wait(self, call: Call) -> None:
        now = time.monotonic()
        if not self.seats and self.crashes.hopeless(now):
            call.refuse(self.crashes.last)
            return
        self.waiting.append(call)
        if not self.seats:
            self.ensure()

    def _give(self, seat: Seat, call: Call) -> None:
        call.seat = seat
        seat.calls.add(call)
        if call.lane:
            seat.lanes[call.operation_id] += 1
        call.run(seat)

    def _next(self, seat: Seat) -> None:
        """Give the seat what waits, in its order; a call whose Operation has all that it may have is passed over."""
        passed: list[Call] = []
        while self.waiting and len(seat.calls) < self.slots and not seat.leaving:
            call = self.waiting.popleft()
            if call.lane and seat.lanes[call.operation_id] >= call.lane:
                passed.append(call)
            elif not call.settled:
                self._give(seat, call)
        self.waiting.extendleft(reversed(passed))

    async def _start_one(self, *, extra: bool) -> None:
        pause = self.crashes.retry_at - time.monotonic()
        try:
            if pause > 0:
                await asyncio.sleep(pause)
        except asyncio.CancelledError:
            if extra:
                self._capacity.give()
            raise
        if not extra:
            await self._capacity.take()
        try:
            self._seat_of(await self._launched())
        except FuncatronError as err:
            self._crashed(f"it does not start: {err}")

    async def _launched(self) -> Seat:
        """Start a host in a place that was taken; the place is given back if that fails."""
        seat = Seat(time.monotonic())

        def on_exit(host: Host, code: int | None) -> None:
            self.lost(seat, "it died" if code is None else f"it {describe_exit(code)}")

        try:
            async with self._capacity.starts:
                seat.host = await self._launch(on_exit)
        except BaseException:
            if not seat.gone:
                seat.gone = True
                self._left()
            raise
        return seat

    def _seat_of(self, seat: Seat) -> None:
        """Let a started host take calls."""
        if seat.gone:
            return
        seat.since = seat.idle_since = time.monotonic()
        self._capacity.holders.add(self)
        self.seats.append(seat)
        self._alive.add(seat)
        self._on_slots()
        self._next(seat)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._start = None
        if not task.cancelled() and task.exception() is not None:
            log.error("starting a host failed", exc_info=task.exception(), extra=self._label)
            self._refuse_waiting("it does not start")
        elif not self.closed and (len(self.seats) < self.smallest or (self.waiting and not self.seats)):
            self.ensure()

    def _crashed(self, why: str, *, fruitful: bool = False) -> None:
        now = time.monotonic()
        pause = self.crashes.record(now, why, fruitful=fruitful)
        if self.crashes.looping(now):
            extra = {**self._label, "deaths": self.crashes.total, "next-start": round(pause, 1)}
            log.error("crashing: the hosts of this Func die again and again: %s", why, extra=extra)
            if not self.seats and self.crashes.hopeless(now):
                self._refuse_waiting(why)
        else:
            log.warning("a host is gone: %s", why, extra=self._label)

    def _refuse_waiting(self, why: str) -> None:
        while self.waiting:
            call = self.waiting.popleft()
            if not call.settled:
                call.refuse(why)

    def _retire(self, seat: Seat) -> None:
        """Take the seat out of the rotation; whoever waits gets another."""
        seat.leaving = seat.stopping = True
        if seat in self.seats:
            self.seats.remove(seat)
        self._on_slots()
        if not self.closed and (self.waiting or len(self.seats) < self.smallest):
            self.ensure()

    def _end_if_done(self, seat: Seat) -> None:
        if seat.gone:
            return
        if not seat.calls:
            self._stop(seat, STOP_GRACE)
        elif all(call.settled for call in seat.calls) and seat.host is not None:
            seat.host.kill()

    def _probe(self, seat: Seat) -> None:
        """Kill a host that does not even read its socket: its other calls have no hope, and can be tried elsewhere."""
        host = seat.host
        if host is None:
            return
        kill = asyncio.get_running_loop().call_later(PONG, host.kill)
        host.ping(lambda _: kill.cancel())

    def _stop(self, seat: Seat, grace: float) -> None:
        host = seat.host
        if host is None or seat.gone:
            return
        task = asyncio.get_running_loop().create_task(host.stop(grace))
        self._stops.add(task)
        task.add_done_callback(lambda done: self._stopped(seat, done))

    def _stopped(self, seat: Seat, task: asyncio.Task[None]) -> None:
        self._stops.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("stopping a host failed", exc_info=task.exception(), extra=self._label)
        self.lost(seat, "it was stopped")

    def _left(self) -> None:
        self._capacity.give()

    def _cpu_share(self, seat: Seat, now: float) -> float:
        """Return the share of a core that the seat's host used since the last tick (of about a second)."""
        used = seat.host.cpu() if seat.host is not None else 0.0
        share, seat.cpu = used - seat.cpu, used
        return share


def _pid(seat: Seat) -> int | None:
    return seat.host.pid if seat.host is not None else None
