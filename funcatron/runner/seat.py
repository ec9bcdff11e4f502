"""A host's place in a pool: the host, what runs in it, and whether it takes more."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from funcatron.hosts import Host

if TYPE_CHECKING:
    from funcatron.runner.call import Call


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

    @property
    def pid(self) -> int | None:
        """Process id of the host, once there is one."""
        return self.host.pid if self.host is not None else None

    def begin(self) -> None:
        """Its host takes calls from now on."""
        self.since = self.idle_since = time.monotonic()

    def cpu_share(self) -> float:
        """Return the CPU seconds that the host used since the last look."""
        used = self.host.cpu() if self.host is not None else 0.0
        share, self.cpu = used - self.cpu, used
        return share
