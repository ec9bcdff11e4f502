"""One run: one trace, one policy, one seed; and what came of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import percentile
from benchmarks.scaling.calls import Call
from benchmarks.scaling.cluster import Cluster
from benchmarks.scaling.policies import Policy
from benchmarks.scaling.traces import Trace

SAMPLE = 3.0  # between two points of a curve, s


@dataclass(slots=True)
class Run:
    """What came of one run, or of several of the same trace and policy."""

    calls: int = 0
    missed: int = 0  # dropped, or answered after the deadline
    open: int = 0  # neither answered nor given up at the end
    waits: list[float] = field(default_factory=list)
    instance_seconds: float = 0.0
    frozen_seconds: float = 0.0  # of these
    work_seconds: float = 0.0  # that the served calls would have needed with all slots busy
    changes: int = 0
    starts: int = 0
    curve: list[tuple[float, int, int]] = field(default_factory=list)  # time, instances, waiting calls

    def add(self, other: Run) -> None:
        """Add another run; the curve stays that of the first."""
        for name in (
            "calls",
            "missed",
            "open",
            "instance_seconds",
            "frozen_seconds",
            "work_seconds",
            "changes",
            "starts",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.waits.extend(other.waits)
        self.curve = self.curve or other.curve

    @property
    def p95(self) -> float:
        """The 95th percentile of the waits, s; what was dropped waited until its deadline."""
        return percentile(sorted(self.waits), 95)

    @property
    def mean_wait(self) -> float:
        """The mean of the waits, s."""
        return sum(self.waits) / len(self.waits)


def run(trace: Trace, calls: Mapping[str, Sequence[Call]], policy: type[Policy[Any]], seed: int) -> Run:
    """Simulate a trace under a policy."""
    cluster = Cluster(trace.largest, seed)
    for load in trace.funcs:
        cluster.add(load.name, load.slots, load.start_up)
    policy(cluster, random.Random(f"{policy.name}/{seed}"))
    for load in trace.funcs:
        cluster.feed(cluster.pools[load.name], calls[load.name])
    if trace.outage is not None:
        cluster.break_down(*trace.outage)
    result = Run()
    cluster.every(SAMPLE, SAMPLE / 2, lambda now: result.curve.append(_point(cluster, now)))
    cluster.run(trace.seconds)
    for pool in cluster.pools.values():
        tally = pool.tally
        result.calls += tally.arrived
        result.missed += tally.late + tally.expired
        result.open += pool.present()
        result.waits.extend(tally.waits)
        result.instance_seconds += tally.instance_seconds
        result.frozen_seconds += tally.paused_seconds
        result.work_seconds += pool.busy_seconds() / pool.slots
        result.changes += tally.changes
        result.starts += tally.starts
    return result


def _point(cluster: Cluster, now: float) -> tuple[float, int, int]:
    pools = cluster.pools.values()
    return now, sum(len(pool.instances) for pool in pools), sum(len(pool.queue) for pool in pools)
