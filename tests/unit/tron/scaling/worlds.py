"""Snapshots for tests: one Func with sensible figures, what hypothesis makes up, and a cluster that obeys."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from funcatron.tron.scaling import (
    Basis,
    Decision,
    FuncPolicy,
    FuncSnapshot,
    Memory,
    RunnerSnapshot,
    ServiceTime,
    Snapshot,
    Totals,
    decide,
)

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
GB = 1 << 30
MB = 1 << 20


def given(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Test with examples, however slow the machine is."""
    return lambda test: UNTIMED(hypothesis_given(*strategies)(test))


def func(name: str = "f", **figures: Any) -> FuncSnapshot:
    """Return a Func that is at rest, but for the figures that are given."""
    known: dict[str, Any] = {
        "slots": 4,
        "arrival_rate": 0.0,
        "service_time": ServiceTime(0.2),
        "ready": 0,
        "unacked": 0,
        "in_flight": 0,
        "start_up": 0.5,
        "idle": 0.0,
    }
    return FuncSnapshot(f"func.{name}", name, **(known | figures))


def runner(name: str, hosts: dict[str, int] | None = None, **figures: Any) -> RunnerSnapshot:
    """Return a Runner of 1 GB and 4 cores, half of it free."""
    known: dict[str, Any] = {"memory_free": GB // 2, "memory_total": GB, "cores_free": 2.0, "cores_total": 4.0}
    return RunnerSnapshot(name, {f"func.{key}": count for key, count in (hosts or {}).items()}, **(known | figures))


def decided(
    *funcs: FuncSnapshot, memory: Memory | None = None, at: float = 0.0, **more: Any
) -> tuple[Decision, Memory]:
    """Decide once."""
    return decide(Snapshot(at, funcs, **more), memory or Memory())


def instances(name: str, decision: Decision) -> int:
    """Return what a Func got."""
    return decision.funcs[f"func.{name}"].instances


def poisson(rng: random.Random, mean: float) -> int:
    """Return a Poisson count, by counting exponential gaps."""
    count, at = 0, rng.expovariate(1.0)
    while at < mean:
        count, at = count + 1, at + rng.expovariate(1.0)
    return count


def obeyed(figures: FuncSnapshot, seconds: int, rng: random.Random | None = None, running: int = 0) -> list[int]:
    """Return the instances of each second, when what is decided is there a second later and nothing ever waits.

    rng: draws the arrivals of each second; None: exactly the rate.
    """
    memory, counts = Memory(), []
    assert figures.arrival_rate is not None
    for second in range(seconds):
        rate = figures.arrival_rate if rng is None else float(poisson(rng, figures.arrival_rate))
        decision, memory = decided(
            replace(figures, arrival_rate=rate, running=running), memory=memory, at=float(second)
        )
        running = decision.funcs[figures.queue].instances
        counts.append(running)
    return counts


def by_formula(load: float, policy: FuncPolicy, slots: int, margin: float = 1.0) -> int:
    """Return the instances that a steady load of so many busy slots needs."""
    return max(1, math.ceil(margin * max(load / policy.utilisation, load + policy.spare * math.sqrt(load)) / slots))


rates = st.floats(0, 500)
seconds = st.floats(0.001, 20)
counts = st.integers(0, 2000)


@st.composite
def policies(draw: st.DrawFn) -> FuncPolicy:
    """Return a policy."""
    least = draw(st.integers(0, 5))
    return FuncPolicy(
        min=least,
        max=draw(st.none() | st.integers(least, 200)),
        warm=draw(st.integers(0, 3)),
        target_wait=draw(st.floats(0.05, 30)),
        utilisation=draw(st.floats(0.3, 1.0)),
        spare=draw(st.floats(0, 2)),
        window=draw(st.floats(0, 120)),
        cooldown=draw(st.floats(0, 30)),
        idle=draw(st.floats(0, 600)),
        weight=draw(st.floats(0.1, 10)),
    )


@st.composite
def funcs(draw: st.DrawFn, name: str = "f") -> FuncSnapshot:
    """Return a Func whose figures are all known."""
    in_flight = draw(st.integers(0, 200))
    running = draw(st.integers(0, 50))
    return FuncSnapshot(
        f"func.{name}",
        name,
        slots=draw(st.integers(1, 64)),
        arrival_rate=draw(st.just(0.0) | rates),
        service_time=ServiceTime(draw(seconds), draw(st.sampled_from(Basis))),
        ready=draw(st.just(0) | counts),
        unacked=in_flight + draw(st.just(0) | st.integers(0, 300)),
        in_flight=in_flight,
        running=running,
        starting=draw(st.integers(0, 10)),
        start_up=draw(st.none() | st.floats(0.01, 60)),
        cpu_per_call=draw(st.none() | st.floats(0, 5)),
        cores_per_instance=draw(st.none() | st.floats(0.5, 8)),
        rss=draw(st.none() | st.integers(1, 300 * MB)),
        oldest_wait=draw(st.none() | st.floats(0, 100)),
        idle=draw(st.none() | st.floats(0, 1000)),
        policy=draw(policies()),
    )


@st.composite
def snapshots(draw: st.DrawFn, at: float = 100.0, most: int = 6) -> Snapshot:
    """Return a snapshot of some Funcs and Runners, some figures of which are unknown."""
    names = [f"f{n}" for n in range(draw(st.integers(0, most)))]
    found = [draw(funcs(name)) for name in names]
    hidden = ("arrival_rate", "service_time", "ready", "unacked", "in_flight", "idle", "rss")
    for index in range(len(found)):
        unknown = draw(st.sets(st.sampled_from(hidden), max_size=2))
        found[index] = replace(found[index], **dict.fromkeys(unknown, None))
    runners = tuple(
        RunnerSnapshot(
            f"r{n}",
            draw(st.dictionaries(st.sampled_from([f.queue for f in found] or ["func.gone"]), st.integers(1, 6))),
            draw(st.none() | st.integers(0, GB)),
            draw(st.none() | st.integers(GB, 2 * GB)),
            draw(st.none() | st.floats(0, 4)),
            draw(st.none() | st.floats(4, 8)),
            draw(st.integers(0, 200 * MB)),
            draw(st.none() | st.integers(0, 100)),
            draw(st.booleans()),
            draw(st.none() | st.floats(0, 30)),
        )
        for n in range(draw(st.integers(0, 4)))
    )
    totals = Totals(
        max_instances=draw(st.none() | st.integers(0, 100)),
        runners=draw(st.none() | st.integers(0, 6)),
        max_runners=draw(st.none() | st.integers(1, 10)),
    )
    return Snapshot(at, tuple(found), runners, totals)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Snapshot, Memory]:
    """Return a snapshot, and the memory that a decision on another one of the same Funcs left a while before."""
    now = draw(snapshots())
    before = replace(
        now,
        at=now.at - draw(st.floats(0.1, 50)),
        funcs=tuple(replace(f, arrival_rate=draw(st.none() | rates), ready=draw(counts)) for f in now.funcs),
    )
    return now, decide(before, Memory())[1]
