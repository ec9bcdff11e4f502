"""The hosts of one Func in this Runner: started, replaced when they die, stopped.

How many there are is what the Tron that leads wants (`want`). While nobody says so, it is as many as calls need: the
first when there is a call, more where calls fill all slots for long, none after a long idle time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from funcatron.hosts import Host
from funcatron.runner.capacity import Capacity
from funcatron.runner.crashes import WINDOW, Crashes
from funcatron.runner.growth import Growth
from funcatron.runner.launching import Launch, Launching, OnExit
from funcatron.runner.seat import Seat

if TYPE_CHECKING:
    from funcatron.runner.call import Call

__all__ = ["Launch", "OnExit", "Pool", "Seat"]

log = logging.getLogger("funcatron.runner.pool")

STOP_GRACE = 5.0  # a host that was told to stop is killed after that, s
PONG = 1.0  # a host answers a ping in that time, s
FRESH = 3.0  # who wants no host may not know yet of one that a call has started, s


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
        self.target: int | None = None  # hosts that are wanted; None: as many as calls need
        self.seats: list[Seat] = []
        self.waiting: deque[Call] = deque()
        self.crashes = Crashes()
        self._capacity = capacity
        self._launching = Launching(
            launch,
            capacity,
            self.crashes,
            on_seat=self._seat_of,
            on_failed=self._crashed,
            on_lost=self.lost,
            on_end=self._launched,
        )
        self._label = label or {}
        self._on_slots = on_slots
        self._alive: set[Seat] = set()  # those that left the rotation as well
        self._stops: set[asyncio.Task[None]] = set()
        self._growth = Growth()
        self._raised = float("-inf")  # when a call has started a host that nobody had wanted
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
        self._refill(replace=True)

    def stuck(self, call: Call) -> None:
        """The call was cancelled and its host did not yield: no new calls go there, and it ends with the last live one.

        The others in that host may finish: an innocent call should not pay for its neighbour. A host that is blocked as
        a whole is killed.
        """
        seat = call.seat
        if seat is None or seat.gone:
            return
        if not seat.leaving:
            log.warning("replacing a host that does not yield", extra={**self._label, "pid": seat.pid})
            self._retire(seat)
            self._probe(seat)
        self._end_if_done(seat)

    # ------------------------------------------------------------------ hosts

    def want(self, count: int | None, *, waker: bool = False) -> None:
        """Keep `count` hosts from now on, no fewer and no more; None: as many as calls need.

        Those that are too many finish their calls first. With 0, the first host is started by a call that waits, and
        kept. `waker`: whoever wants 0 may not have heard yet of such a host, or of calls that wait: then it stays.
        """
        if count == 0 and waker and (self.waiting or time.monotonic() - self._raised < FRESH):
            count = 1
        self.target = count
        self._growth.restart()
        self._trim()
        self._refill()

    def ensure(self) -> None:
        """See to it that a host is being started."""
        if not self.closed and not len(self._launching):
            # one at a time: whoever still waits when it is there has another started, if that pays (see `tick`)
            self._launching.begin(placed=False)

    async def check(self) -> None:
        """Start one host and keep it. Raises what the start raises (LoadError, HostError …)."""
        await self._capacity.take()
        self._seat_of(await self._launching.seat())

    def tick(self, now: float, seconds_per_call: float) -> None:
        """Once a second or so: forgive old deaths, start what is missing. While nobody says how many are wanted: stop
        idle hosts, grow where calls fill all slots for long.

        `now` is of the monotonic clock; `seconds_per_call` is what calls take on average lately.
        """
        if self.crashes.total and self.seats and all(now - seat.since > WINDOW for seat in self.seats):
            self.crashes.recovered()
        if self.target is None:
            self._stop_idle(now)
            self._grow(now, seconds_per_call)
        else:
            self._trim()
        self._refill()

    def total_slots(self) -> int:
        """Return how many calls may be in flight: what the Func should take from its queue."""
        return self.slots * max(1, self.size())

    def parked(self) -> bool:
        """Whether hosts died so often without an answer that calls do not wait for the next one."""
        return not self.seats and self.crashes.hopeless(time.monotonic())

    def leaving(self) -> list[Host]:
        """Return the hosts that finish what they have begun, and then end."""
        return [seat.host for seat in self._alive if seat.leaving and seat.host is not None]

    def state(self) -> str:
        """Return `idle`, `starting`, `serving` or `crashing`."""
        if self.crashes.looping(time.monotonic()):
            return "crashing"
        if self.seats:
            return "serving"
        return "starting" if len(self._launching) else "idle"

    async def close(self, grace: float = STOP_GRACE) -> None:
        """Stop all hosts, and whatever is being started."""
        self.closed = True
        await self._launching.close()
        for seat in [seat for seat in self._alive if seat.calls or not seat.leaving]:
            self._retire(seat)
            self._stop(seat, grace)
        if self._stops:
            await asyncio.gather(*self._stops)
        self._capacity.holders.discard(self)

    # ------------------------------------------------------------------ as Capacity sees it

    def size(self) -> int:
        """Return how many hosts take calls."""
        return sum(not seat.leaving for seat in self.seats)

    def starting(self) -> int:
        """Return how many hosts are on their way, those included that wait for a place or for the end of a pause."""
        return len(self._launching)

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

    def _refill(self, *, replace: bool = False) -> None:
        """Start what is missing: all that is wanted at once, but one after another while they die without an answer.

        replace: a host has gone, and who waits for it should not wait for the others.
        """
        if self.closed:
            return
        waits = bool(self.waiting) and (replace or not self.seats)
        if self.target is None:
            if waits or len(self.seats) < self.smallest:
                self.ensure()
            return
        if self.target == 0 and waits:
            self.ensure()
        there = len(self.seats) + len(self._launching)
        at_once = self.target if self.crashes.fruitless < 2 else len(self.seats) + 1
        for number in range(there, min(self.target, at_once)):
            extra = number > 0 or not self.waiting  # no call waits for it: it takes no other Func's place
            if extra and not self._capacity.take_extra(allotted=True):
                return
            self._launching.begin(placed=extra)

    def _trim(self) -> None:
        """Let go of what is more than wanted: first what is only being started, then who has the fewest calls."""
        if self.target is None or (self.waiting and self.target == 0):
            return
        surplus = max(0, len(self.seats) + len(self._launching) - self.target)
        surplus -= self._launching.cancel(surplus)
        for seat in sorted(self.seats, key=lambda s: (len(s.calls), -s.since))[:surplus]:
            self._retire(seat)
            self._end_if_done(seat)

    def _stop_idle(self, now: float) -> None:
        for seat in list(self.seats):
            if len(self.seats) > self.smallest and not seat.calls and now - seat.idle_since > self.idle:
                log.info("stopping an idle host", extra={**self._label, "pid": seat.pid})
                self._retire(seat)
                self._end_if_done(seat)

    def _grow(self, now: float, seconds_per_call: float) -> None:
        """Start one more where calls have filled all slots for long, if that pays."""
        full = bool(self.seats) and all(len(seat.calls) >= self.slots for seat in self.seats)
        shares = [seat.cpu_share() for seat in self.seats]
        due = self._growth.due(now, full=full, shares=shares, seconds_per_call=seconds_per_call)
        if due and not len(self._launching) and len(self.seats) < self.largest and self._capacity.take_extra():
            self._growth.restart()
            self._launching.begin(placed=True)

    def _seat_of(self, seat: Seat) -> None:
        """Let a started host take calls."""
        if seat.gone:
            return
        seat.begin()
        self._capacity.holders.add(self)
        self.seats.append(seat)
        self._alive.add(seat)
        if self.target == 0:  # a call has started it, and it is kept until somebody says that none is wanted
            self.target, self._raised = 1, seat.since
        self._on_slots()
        self._next(seat)

    def _launched(self, err: BaseException | None) -> None:
        """A start is over; what was to be expected is told already."""
        if err is not None:
            log.error("starting a host failed", exc_info=err, extra=self._label)
            self._refuse_waiting("it does not start")
        else:
            self._refill()

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
        self._refill(replace=True)

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
