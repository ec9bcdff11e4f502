"""A Runner's `stats` messages: each second while something changes, else with the heartbeat."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from funcatron.hosts import usage
from funcatron.message import control
from funcatron.runner.account import Account
from funcatron.runner.machine import available_memory, cores, total_memory

if TYPE_CHECKING:
    from funcatron.runner.func import Func

TELL = 1.0  # between two messages while something changes, s


class Fleet(Protocol):
    """The Funcs, as this module sees them."""

    @property
    def serving(self) -> Mapping[str, Func]:
        """Those that take messages, by queue."""

    @property
    def leaving(self) -> Iterable[Func]:
        """Those that finish."""


class Teller:
    """Makes the messages. `beat`: how long it may be silent when nothing changes, s. `short`: is memory short?"""

    def __init__(
        self,
        runner: str,
        fleet: Fleet,
        *,
        beat: float,
        hosts_limit: int | None = None,
        short: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner, self.fleet, self.beat = runner, fleet, beat
        self._limit, self._short, self._clock = hosts_limit, short, clock
        self._start = uuid.uuid4().hex
        self._seq = itertools.count()
        self._lives = itertools.count(1)
        self._accounts: dict[Func, Account] = {}
        self._full = True
        self._silent_until = 0.0  # as was promised
        self._was_short = False  # as told last
        self._looked = float("-inf")  # when the hosts of all Funcs were looked at

    def start_over(self) -> None:
        """Tell everything the next time: somebody may have heard nothing, or missed something."""
        self._full = True

    def meet(self) -> set[Func]:
        """Return the Funcs that are there; they are known from now on, so that their last figures can be told."""
        current = set(self._funcs())
        for func in current - self._accounts.keys():
            self._accounts[func] = Account(func, next(self._lives))
        return current

    async def message(self) -> dict[str, Any] | None:
        """Return the next message, or None when there is no need for one. Lets the event loop go on now and then."""
        for func in {*self._funcs(), *self._accounts}:
            for _ in func.stats.fold():
                await asyncio.sleep(0)
        return self._message()

    def last(self) -> dict[str, Any] | None:
        """Return the next message at once, whatever the pause: for the end."""
        for func in {*self._funcs(), *self._accounts}:
            for _ in func.stats.fold():
                pass
        return self._message()

    def _message(self) -> dict[str, Any] | None:
        now, full = self._clock(), self._full
        short = self._short()
        due = now >= self._silent_until - TELL / 2 or short != self._was_short
        look = full or now >= self._looked + self.beat - TELL / 2
        if look:
            self._looked = now
        entries = self._entries(now, full=full, look=look)
        if not entries and not due and not full:
            return None
        pause = TELL if entries else self.beat
        self._full, self._silent_until, self._was_short = False, now + pause, short
        machine = self._machine(short=short)
        return control.stats(
            self.runner, self._start, next(self._seq), entries, full=full, within=pause, machine=machine
        )

    def _entries(self, now: float, *, full: bool, look: bool) -> list[dict[str, Any]]:
        current = self.meet()
        entries = []
        for func, account in list(self._accounts.items()):
            gone = func not in current
            entry = account.entry(now, full=full or gone, look=look)
            if gone:  # its counters end here
                del self._accounts[func]
                if entry is not None:
                    entry["state"] = "retired"
            if entry is not None:
                entries.append(entry)
        return entries

    def _funcs(self) -> list[Func]:
        return [*self.fleet.serving.values(), *self.fleet.leaving]

    def _machine(self, *, short: bool) -> dict[str, Any]:
        pools = [func.pool for func in self._accounts if func.pool is not None]
        facts = {
            "cores": cores(),
            "memory-bytes": total_memory(),
            "available-bytes": available_memory(),
            "cpu-seconds": round(time.process_time(), 3),
            "rss-bytes": usage.rss(os.getpid()),
            "leaving-bytes": sum(host.rss() for pool in pools for host in pool.leaving()) or None,
            "short-of-memory": short or None,
            "hosts": sum(pool.size() + pool.starting() for pool in pools),
            "hosts-limit": self._limit,
        }
        return {name: value for name, value in facts.items() if value is not None}
