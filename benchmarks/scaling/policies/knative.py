"""Knative's KPA (serving, pkg/autoscaler/scaling/autoscaler.go, config/core/configmaps/autoscaler.yaml), all defaults.

Container concurrency is the slots of an instance. Concurrency counts waiting calls as well: activator and queue-proxy
hold them. The activator wakes a sleeping revision at once.
"""

from __future__ import annotations

import math
from collections import deque

from benchmarks.scaling.cluster import Pool
from benchmarks.scaling.policies.base import Policy

TARGET = 0.7  # container-concurrency-target-percentage
STABLE = 60  # stable-window, s
PANIC = 6  # panic-window-percentage of it, s
THRESHOLD = 2.0  # panic-threshold-percentage
UP, DOWN = 1000.0, 2.0  # max-scale-up-rate, max-scale-down-rate
GRACE = 30.0  # scale-to-zero-grace-period, s
TICK = 2  # tick-interval, s


class _Revision:
    def __init__(self) -> None:
        self.buckets: deque[float] = deque(maxlen=STABLE)  # mean concurrency of each second
        self.integral = 0.0
        self.panic_since: float | None = None
        self.panic_pods = 0
        self.zero_since: float | None = None

    def average(self, seconds: int) -> float:
        """Return the mean of the last seconds; of fewer, where fewer were seen."""
        values = list(self.buckets)[-seconds:]
        return sum(values) / len(values) if values else 0.0


class Knative(Policy[_Revision]):
    """The concurrency autoscaler with its stable and panic windows."""

    name, title = "knative", "Knative KPA"
    interval = 1.0  # metrics come each second, decisions each second tick

    def state(self, pool: Pool) -> _Revision:
        return _Revision()

    def woken(self, pool: Pool) -> None:
        pool.scale_to(1)

    def look(self, pool: Pool, revision: _Revision, now: float) -> None:
        total = pool.call_seconds()
        revision.buckets.append((total - revision.integral) / self.interval)
        revision.integral = total
        if self.ticks % TICK == 0:
            self._scale(pool, revision, now)

    def _scale(self, pool: Pool, revision: _Revision, now: float) -> None:
        ready = max(1, len(pool.serving()))
        target = TARGET * pool.slots
        most, least = math.ceil(UP * ready), math.floor(ready / DOWN)
        stable_want = math.ceil(revision.average(STABLE) / target)
        panic_want = math.ceil(revision.average(PANIC) / target)
        stable, panic = (min(max(want, least), most) for want in (stable_want, panic_want))
        over = panic_want / ready >= THRESHOLD
        if over:
            revision.panic_since = now
        elif revision.panic_since is not None and now > revision.panic_since + STABLE:
            revision.panic_since, revision.panic_pods = None, 0
        desired = stable
        if revision.panic_since is not None:
            revision.panic_pods = max(revision.panic_pods, stable, panic)
            desired = revision.panic_pods
        pool.scale_to(self._to_zero(revision, desired, now))

    @staticmethod
    def _to_zero(revision: _Revision, desired: int, now: float) -> int:
        """Scale to zero only after a whole empty window and the grace period."""
        if desired > 0 or any(revision.buckets):
            revision.zero_since = None
            return max(desired, 1 if any(revision.buckets) else 0)
        if revision.zero_since is None:
            revision.zero_since = now
        return 0 if now - revision.zero_since >= GRACE else 1
