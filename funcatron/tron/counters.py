"""What this Tron has counted since it started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field

KEPT = 1000
"""Func queues to which no route leads any more, whose count is kept."""

NAMES = ("dispatched", "unrouted", "limited", "expired", "undecodable", "dead_lettered", "restored_queues", "control")


@dataclass(slots=True)
class Counters:
    """Messages by what became of them. They only grow; who wants a rate takes differences.

    queues: messages put into each func queue, all of which are `dispatched`.
    """

    queues: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    unrouted: int = 0
    limited: int = 0
    expired: int = 0
    undecodable: int = 0
    dead_lettered: int = 0
    restored_queues: int = 0
    control: int = 0
    _forgotten: int = 0

    @property
    def dispatched(self) -> int:
        """Messages put into func queues."""
        return self._forgotten + sum(self.queues.values())

    @property
    def ended(self) -> int:
        """Messages that were answered, dropped or dead-lettered instead."""
        return self.unrouted + self.limited + self.expired + self.undecodable

    @property
    def many(self) -> bool:
        """Whether there may be counts to forget."""
        return len(self.queues) > KEPT

    def forget(self, routed: Container[str]) -> None:
        """Let go of the oldest counts of queues to which no route leads: each deployment makes a queue."""
        gone = [queue for queue in self.queues if queue not in routed]
        for queue in gone[: max(0, len(gone) - KEPT)]:
            self._forgotten += self.queues.pop(queue)

    def as_json(self) -> dict[str, int]:
        """Return them with the names that the API shows."""
        return {name.replace("_", "-"): getattr(self, name) for name in NAMES}
