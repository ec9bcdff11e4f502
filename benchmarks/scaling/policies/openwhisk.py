"""OpenWhisk's FPCScheduler (SchedulingDecisionMaker.scala, MemoryQueue.scala, FunctionPullingContainerProxy.scala).

Each 100 ms: what waits for less than 100 ms is held against the throughput of all containers in 100 ms; what waits for
longer calls for containers of its own. A container that got nothing for 10 s is frozen, a frozen one goes after 10 min,
and is thawed rather than a new one started. Pulls are served by container id, so work stays on few. Max concurrency is
the slots.
"""

from __future__ import annotations

import math

from benchmarks.scaling.cluster import Instance, Pool
from benchmarks.scaling.policies.base import Policy

STALE = 0.1  # stale-threshold and check-interval, s
PAUSE_GRACE = 10.0  # s
IDLE_CONTAINER = 600.0  # s
DURATIONS = 10  # duration-buffer-size
RESUME = 0.2  # s; 130 to 425 ms were reported for pausing and resuming


class OpenWhisk(Policy[None]):
    """Function-pulling containers."""

    name, title = "openwhisk", "OpenWhisk FPC"
    interval = STALE

    def state(self, pool: Pool) -> None:
        pool.packs = True

    def woken(self, pool: Pool) -> None:
        self._add(pool, 1)

    def look(self, pool: Pool, state: None, now: float) -> None:
        self._freeze(pool, now)
        active = sum(len(p.serving()) + p.starting() for p in self.cluster.pools.values())  # frozen ones do not count
        number = min(self._wanted(pool, now), self.cluster.largest - active)
        if number > 0:
            self._add(pool, number)

    def _wanted(self, pool: Pool, now: float) -> int:
        """Return how many containers to add: the arms of `decide` in SchedulingDecisionMaker."""
        existing, coming, messages = len(pool.serving()), pool.starting(), len(pool.queue)
        if existing + coming == 0:
            return 1 if messages else 0
        stale = self._stale(pool, now)
        recent = list(pool.durations)[-DURATIONS:]
        if not recent:
            return min(math.ceil(stale / pool.slots) - coming, messages) if stale else 0
        duration = sum(seconds for _, seconds in recent) / len(recent)
        throughput = STALE / duration * pool.slots
        for_stale = min(math.ceil(stale / throughput), stale) - coming if stale else 0
        fresh = messages - stale
        if fresh >= throughput * (existing + coming) and existing + coming < fresh:
            number = math.ceil(fresh / throughput - existing - coming)
            return min(number, fresh - existing - coming) + for_stale
        return for_stale

    @staticmethod
    def _stale(pool: Pool, now: float) -> int:
        count = 0
        for call in pool.queue:
            if now - call.at < STALE:
                break
            count += 1
        return count

    def _add(self, pool: Pool, number: int) -> None:
        for instance in [i for i in pool.instances if i.paused_at is not None and not i.leaving][:number]:
            pool.resume(instance, RESUME)
            number -= 1
        for other in self.cluster.pools.values():  # frozen containers make room
            for instance in [i for i in other.instances if i.paused_at is not None and not i.leaving]:
                if self.cluster.room() < number:
                    self._discard(other, instance)
        if number:
            pool.scale_to(sum(not i.leaving for i in pool.instances) + number)

    def _freeze(self, pool: Pool, now: float) -> None:
        for instance in list(pool.instances):
            if instance.paused_at is not None:
                if now - instance.paused_at >= IDLE_CONTAINER:
                    self._discard(pool, instance)
            elif instance.ready and instance.busy == 0 and now - instance.idle_since >= PAUSE_GRACE:
                pool.pause(instance)

    @staticmethod
    def _discard(pool: Pool, instance: Instance) -> None:
        pool.target -= 1  # first, or another would be started for it
        pool.discard(instance)
