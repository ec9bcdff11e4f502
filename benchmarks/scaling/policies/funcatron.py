"""Funcatron: the very functions of funcatron.tron.scaling, each second, by the figures that Runners and broker report.

Figures are of the last second, and half a second old when they are decided by: Runners report each second, and the Tron
decides each second. The Runner that is a sleeping Func's waker starts its first instance by itself, at once.
"""

from __future__ import annotations

import random
from collections import Counter

from benchmarks.scaling.cluster import Cluster, Pool
from benchmarks.scaling.policies.base import Policy
from funcatron.tron.scaling import (
    Basis,
    Decision,
    FuncPolicy,
    FuncSnapshot,
    Memory,
    ServiceTime,
    Snapshot,
    Totals,
    decide,
)

LAG = 0.5  # age of the figures when they are decided by, s
LATELY = 30.0  # service times are means of calls that ended in that time, s


class Funcatron(Policy[FuncPolicy]):
    """The policy of this project, with its defaults."""

    name, title = "funcatron", "Funcatron"
    interval = 1.0

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self.memory = Memory()
        self.arrived: Counter[str] = Counter()
        self.last = 0.0
        super().__init__(cluster, rng)

    def state(self, pool: Pool) -> FuncPolicy:
        return FuncPolicy()

    def woken(self, pool: Pool) -> None:
        pool.scale_to(1)

    def decide(self, now: float) -> None:
        funcs = tuple(self._seen(pool, now) for pool in self.cluster.pools.values())
        totals = Totals(max_instances=self.cluster.largest)
        decision, self.memory = decide(Snapshot(now, funcs, totals=totals, period=self.interval), self.memory)
        self.last = now
        self.cluster.after(LAG, lambda: self._apply(decision))

    def _apply(self, decision: Decision) -> None:
        for name, func in decision.funcs.items():
            pool = self.cluster.pools[name]
            if func.instances or not pool.present():  # a waker that was just called does not go to sleep
                pool.scale_to(func.instances)

    def _seen(self, pool: Pool, now: float) -> FuncSnapshot:
        arrived = pool.tally.arrived
        rate = (arrived - self.arrived[pool.name]) / max(now - self.last, 1e-9)
        self.arrived[pool.name] = arrived
        in_flight = pool.running_calls()
        return FuncSnapshot(
            queue=pool.name,
            name=pool.name,
            slots=pool.slots,
            arrival_rate=rate,
            service_time=_service_time(pool, now),
            ready=len(pool.queue),
            unacked=in_flight,
            in_flight=in_flight,
            running=len(pool.serving()),
            starting=pool.starting(),
            start_up=sum(pool.start_ups) / len(pool.start_ups) if pool.start_ups else None,
            oldest_wait=now - pool.queue[0].at if pool.queue else None,
            idle=now - pool.last_event,
            policy=self.states[pool.name],
        )


class FuncatronLean(Funcatron):
    """The same with settings that save instances and let calls wait: full slots, nothing kept."""

    name, title = "funcatron-lean", "Funcatron, lean settings"
    variant = True

    def state(self, pool: Pool) -> FuncPolicy:
        return FuncPolicy(utilisation=1.0, spare=0.0, window=0.0, cooldown=0.0, target_wait=4.0, idle=15.0)


def _service_time(pool: Pool, now: float) -> ServiceTime | None:
    if not pool.durations:
        ages = [now - work.began for works in pool.in_flight.values() for work in works]
        return ServiceTime(sum(ages) / len(ages), Basis.AT_LEAST) if ages else None
    total = count = 0.0
    for ended, seconds in reversed(pool.durations):
        if ended < now - LATELY:
            break
        total, count = total + seconds, count + 1
    if count:
        return ServiceTime(total / count)
    recent = list(pool.durations)[-50:]
    return ServiceTime(sum(seconds for _, seconds in recent) / len(recent), Basis.REMEMBERED)
