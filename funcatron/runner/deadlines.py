"""Deadlines of many calls with one timer: a sweep while anything is watched, nothing while idle.

A timer a call would cost a heap operation and a cancellation each; the calls in flight are few (the slots of the
hosts), so that looking at all of them a few times a second is cheaper at any rate that matters.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from funcatron.runner.call import Call

TICK = 0.05  # how late a deadline may be noticed, s


class Deadlines:
    """The calls that are watched by their `deadline` (wall clock, s); `due` is called once it has passed.

    Used from the event loop's thread only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: set[Call] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.discard = self._watched.discard

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, call: Call) -> None:
        """Watch a call until it is due or discarded."""
        self._watched.add(call)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._sweep)

    def items(self) -> tuple[Call, ...]:
        """Return what is watched."""
        return tuple(self._watched)

    def close(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        now = time.time()
        for call in [call for call in self._watched if call.deadline <= now]:
            self._watched.discard(call)
            call.due(now)
        if self._watched and self._timer is None:
            self._timer = self._loop.call_later(TICK, self._sweep)
