"""marathon-autoscale (mesosphere, marathon_autoscaler.py), with the figures of its README's examples.

Each 10 s: above the range in 4 looks in a row, half as many more instances; below it in 5 looks in a row, two thirds of
them. By CPU the range is 55.5 to 80 % of the instances' mean, over a second; here the share of busy slots, as if calls
did nothing but compute. By queue length it is 2 to 10 waiting messages; calls in flight are not known to it then. The
examples' largest number, 5, is raised to what fits, as for all policies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.scaling.cluster import Pool
from benchmarks.scaling.policies.base import Policy

INTERVAL = 10  # AS_INTERVAL, s
MULTIPLIER = 1.5  # AS_AUTOSCALE_MULTIPLIER
UP_AFTER, DOWN_AFTER = 3, 4  # AS_SCALE_UP_FACTOR, AS_COOL_DOWN_FACTOR: looks


@dataclass
class _Looks:
    above: int = 0
    below: int = 0
    busy_seconds: float = 0.0  # of slots, at the last second


class Marathon(Policy[_Looks]):
    """The CPU mode."""

    name, title = "marathon", "marathon-autoscale, CPU"
    interval = 1.0
    least = 1
    low, high = 55.5, 80.0  # AS_MIN_RANGE, AS_MAX_RANGE

    def state(self, pool: Pool) -> _Looks:
        return _Looks()

    def look(self, pool: Pool, looks: _Looks, now: float) -> None:
        value = self.value(pool, looks)
        if self.ticks % INTERVAL:
            return
        if value > self.high:
            looks.above, looks.below = looks.above + 1, 0
            if looks.above > UP_AFTER:
                looks.above = 0
                pool.scale_to(math.ceil(pool.target * MULTIPLIER))
        elif value < self.low:
            looks.above, looks.below = 0, looks.below + 1
            if looks.below > DOWN_AFTER:
                looks.below = 0
                pool.scale_to(max(self.least, math.floor(pool.target / MULTIPLIER)))
        else:
            looks.above = looks.below = 0

    def value(self, pool: Pool, looks: _Looks) -> float:
        """Return the figure that is held against the range."""
        total = pool.busy_seconds()
        busy, looks.busy_seconds = total - looks.busy_seconds, total
        slots = pool.slots * len(pool.serving())
        return 100 * busy / (slots * self.interval) if slots else 0.0


class MarathonQueue(Marathon):
    """The queue-length mode."""

    name, title = "marathon-queue", "marathon-autoscale, queue length"
    low, high = 2.0, 10.0
    variant = True

    def value(self, pool: Pool, looks: _Looks) -> float:
        return float(len(pool.queue))
