"""Ends a split by itself once its new version fails too often: compares what both versions do, again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from funcatron.stores.records import Deployment, Split
from funcatron.tron.estate import Estate
from funcatron.tron.splits import Tally, Watch, newcomer
from funcatron.tron.statistics import Totals
from funcatron.tron.tasks import Tasks, persist

Totalled = Callable[[], Mapping[str, Totals]]
"""Tells the counters of each func queue, as `Statistics.totals` does."""

OnFault = Callable[[str, Split, str], Awaitable[None]]
"""Told the deployment, its split, and why it is to end."""


class Guards:
    """The splits that are guarded. `tick`: between two looks, s. `totals` is None until somebody counts."""

    def __init__(
        self,
        estate: Estate,
        tasks: Tasks,
        on_fault: OnFault,
        *,
        tick: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.estate = estate
        self.tasks = tasks
        self.on_fault = on_fault
        self.tick = tick
        self.clock = clock
        self.totals: Totalled | None = None
        self._watches: dict[str, tuple[Split, Watch]] = {}
        self._task: asyncio.Task[Any] | None = None

    def see(self, name: str) -> None:
        """Watch the split of a deployment if it is to be watched, and no other one."""
        current = self.estate.all.get(name)
        split = current.split if current is not None else None
        if split is None or split.guard is None:
            self._watches.pop(name, None)
        elif name not in self._watches or self._watches[name][0] != split:
            self._watches[name] = (split, Watch(split.guard))
        if self._watches and self._task is None:
            self._task = self.tasks.start(self._run(), "watching splits")

    def pause(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self._watches.clear()

    async def _run(self) -> None:
        while self._watches:
            totals = self.totals() if self.totals is not None else {}
            for name, (split, watch) in list(self._watches.items()):
                current = self.estate.all.get(name)
                why = look(watch, current, totals, self.clock()) if current is not None else None
                if why is not None:
                    del self._watches[name]
                    self.tasks.start(self._end(name, split, why), f"rolling {name} back")
            await asyncio.sleep(self.tick)
        self._task = None

    async def _end(self, name: str, split: Split, why: str) -> None:
        await persist(lambda: self.on_fault(name, split, why), f"rolling {name} back")


def look(watch: Watch, current: Deployment, totals: Mapping[str, Totals], now: float) -> str | None:
    """Return why the split of a deployment is to end, by the counters of both queues, or None."""
    if current.serving is None or current.split is None:
        return None
    versions = (current.serving, newcomer(current, current.split))
    counted = [totals.get(version.queue(current.name)) for version in versions]
    old, new = (Tally.of(one.counters) if one is not None else Tally() for one in counted)
    return watch.look(now, old, new)
