"""How the hosts of one Runner are shared between its Funcs.

Each Func takes messages by its own consumer, up to its own slots, so a deep queue never delays another Func's. What
the Funcs do compete for is host processes (memory). The rules, so that none can take everything:

1. A Func's first host comes before any Func's second: growth stops when three quarters of the places are taken.
2. When all places are taken, a first host takes the place of the host that has been idle for longest; where none is
   idle, of one of the Func with the most hosts; where each has one, of the host that has served for longest. That
   host finishes its calls first, and its Func queues up again if it still has messages: they take turns.
3. Starts are a few at a time, in the order they were asked for: a thousand Funcs that wake together don't thrash.
4. While the machine is short of memory no host is started. Where one is waited for, others make room as above.

Where a Tron says how many hosts each Func gets, it has shared them out: rule 1 then leaves nothing free.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Protocol

from funcatron.runner.machine import total_memory

HOST_BYTES = 64 * 1024 * 1024  # what a host is expected to need at least
STARTS_AT_ONCE = max(2, (os.cpu_count() or 2))


class Holder(Protocol):
    """A pool, as this module sees it."""

    def oldest(self, *, idle: bool) -> float | None:
        """When the seat that it would give up first became idle, or began to serve; None if it has none."""

    def size(self) -> int:
        """How many hosts it has that take calls."""

    def give_up(self, *, idle: bool) -> None:
        """Let that seat finish and stop."""


def default_limit(runners: int = 1) -> int:
    """Return how many hosts fit into half of the memory that this machine, or control group, has, if so many
    Runners share that: 8 to 512."""
    memory = total_memory() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(max(8, min(512, memory // 2 // HOST_BYTES // runners)))


class Capacity:
    """The places for host processes. Used from the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.short = False  # of memory
        self.holders: set[Holder] = set()
        self.starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._queue: deque[asyncio.Future[None]] = deque()
        self._leaving = 0  # hosts that were asked to make room and have not left yet

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._queue)

    def take_extra(self, *, allotted: bool = False) -> bool:
        """Take a place that no call waits for, if there is one. `allotted`: the Tron that leads wants that host."""
        if self.used >= (self.limit if allotted else self.limit * 3 // 4) or self._queue or self.short:
            return False
        self.used += 1
        return True

    async def take(self) -> None:
        """Take a place for a Func's first host; waits for one. Cancellable."""
        if self.used < self.limit and not self._queue and not self.short:
            self.used += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self.make_room()
        try:
            await place
        except asyncio.CancelledError:
            if place in self._queue:
                self._queue.remove(place)
            elif place.done() and not place.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Give a place back: the first in the queue gets it."""
        self._leaving = max(0, self._leaving - 1)
        self.used -= 1
        self._hand_out()

    def note_memory(self, *, short: bool) -> None:
        """Note whether the machine is short of memory."""
        self.short = short
        self._hand_out()

    def _hand_out(self) -> None:
        """Give the places that are free to those that wait."""
        while self._queue and self.used < self.limit and not self.short:
            place = self._queue.popleft()
            if not place.done():
                self.used += 1
                place.set_result(None)

    def make_room(self) -> None:
        """Ask as many hosts to leave as are waited for."""
        while self._leaving < len(self._queue):
            for idle in (True, False):
                victim = self._victim(idle)
                if victim is not None:
                    self._leaving += 1
                    victim.give_up(idle=idle)
                    break
            else:
                return

    def _victim(self, idle: bool) -> Holder | None:
        candidates = [(holder, holder.oldest(idle=idle)) for holder in self.holders]
        known = [(holder, since) for holder, since in candidates if since is not None]
        if not known:
            return None
        if idle:
            return min(known, key=lambda pair: pair[1])[0]
        return min(known, key=lambda pair: (-pair[0].size(), pair[1]))[0]
