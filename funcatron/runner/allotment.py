"""What the Tron that leads wants a Runner to run: so many hosts of each Func, and which queues to watch for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ALONE = 60.0
"""So long after the last word of a Tron that leads a Runner goes by its own judgement again, s."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """Of one Func. A `waker` takes messages though it has no host yet, and starts the first one by itself."""

    instances: int
    waker: bool = False


NOTHING = Allotment(0)


def read(message: Mapping[str, Any]) -> dict[str, Allotment]:
    """Return what an `allocate` message, which has followed its schema, says by queue."""
    return {one["queue"]: Allotment(one["instances"], one.get("waker", False)) for one in message["funcs"]}


class Allocation:
    """The whole of it, as long as it holds: `of` is None for everything while nobody leads."""

    def __init__(self) -> None:
        self._by_queue: dict[str, Allotment] | None = None
        self._told = 0.0

    def take(self, wanted: dict[str, Allotment], now: float) -> None:
        """Take what was told at the time `now`, of any steady clock, s."""
        self._by_queue, self._told = wanted, now

    def expire(self, now: float) -> bool:
        """Forget it if nobody has led for long; says whether it was forgotten just now."""
        if self._by_queue is None or now - self._told < ALONE:
            return False
        self._by_queue = None
        return True

    def of(self, queue: str) -> Allotment | None:
        """Return what a Func that is served gets; None: what it needs by its own judgement."""
        return None if self._by_queue is None else self._by_queue.get(queue, NOTHING)

    def of_new(self, queue: str) -> Allotment | None:
        """Return what a Func gets that was enabled a moment ago: who leads may not have shared out anything for it."""
        return None if self._by_queue is None else self._by_queue.get(queue)
