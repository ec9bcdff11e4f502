"""What a policy of the benchmark is: it sees pools, and sets how many instances they have, at intervals of its own."""

from __future__ import annotations

import random
from abc import ABC
from collections import deque
from typing import Generic, TypeVar

from benchmarks.scaling.cluster import Cluster, Pool

State = TypeVar("State")


class Policy(ABC, Generic[State]):
    """One policy, attached to one cluster. `name` and `title` are for tables; a `variant` is a second set-up of one."""

    name: str
    title: str
    interval: float  # between two decisions, s
    least: int = 0  # instances that are always there
    variant: bool = False

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self.cluster = cluster
        self.ticks = 0
        self.states: dict[str, State] = {}
        for pool in cluster.pools.values():
            if self.least:
                pool.scale_to(self.least)
            self.states[pool.name] = self.state(pool)
        cluster.every(self.interval, rng.uniform(0, self.interval), self.decide)
        cluster.on_empty = self.woken

    def state(self, pool: Pool) -> State:
        """Return what is to be remembered of one pool, at its beginning."""
        raise NotImplementedError

    def woken(self, pool: Pool) -> None:
        """A call came while no instance is wanted. Policies that poll wait for their next decision."""

    def decide(self, now: float) -> None:
        """Set the instances of all pools."""
        self.ticks += 1
        for pool in self.cluster.pools.values():
            self.look(pool, self.states[pool.name], now)

    def look(self, pool: Pool, state: State, now: float) -> None:
        """Set the instances of one pool."""
        raise NotImplementedError


class Maximum:
    """The largest of the values of the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._entries: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Add a value."""
        while self._entries and self._entries[-1][1] <= value:
            self._entries.pop()
        self._entries.append((now, value))

    def largest(self, now: float) -> float:
        """Return the largest that is not too old; 0 if there is none."""
        while self._entries and self._entries[0][0] < now - self.seconds:
            self._entries.popleft()
        return self._entries[0][1] if self._entries else 0.0
