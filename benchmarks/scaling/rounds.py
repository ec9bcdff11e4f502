"""How long a decision takes: 1,000 Funcs on 100 Runners, in CPU milliseconds of one process."""

from __future__ import annotations

import random
import statistics
import time

from funcatron.tron.scaling import (
    Firehose,
    FuncSnapshot,
    Memory,
    RunnerSnapshot,
    ServiceTime,
    Snapshot,
    Totals,
    decide,
)

FUNCS, RUNNERS = 1000, 100
HOST = 60 << 20  # bytes
ROUNDS = 15


def world(at: float, rng: random.Random, *, placed: bool) -> Snapshot:
    """Return a busy cluster whose figures are all known: in its stride, or with everything still to be placed."""
    hosts: list[dict[str, int]] = [{} for _ in range(RUNNERS)]
    funcs = []
    for number in range(FUNCS):
        queue, count = f"func.f{number}", rng.choice((0, 0, 1, 1, 2, 3, 8))
        for _ in range(count if placed else 0):
            on = rng.choice(hosts)
            on[queue] = on.get(queue, 0) + 1
        funcs.append(_func(queue, count, rng, placed=placed))
    runners = tuple(RunnerSnapshot(f"r{n}", on, 6 << 30, 8 << 30, 4.0, 8.0, 0, 3) for n, on in enumerate(hosts))
    totals = Totals(max_instances=3000, runners=RUNNERS, max_runners=2 * RUNNERS)
    return Snapshot(at, tuple(funcs), runners, totals, Firehose(2, 1000.0, 0, 55e-6))


def _func(queue: str, count: int, rng: random.Random, *, placed: bool) -> FuncSnapshot:
    return FuncSnapshot(
        queue,
        queue,
        slots=8,
        arrival_rate=count * rng.uniform(5, 20),
        service_time=ServiceTime(rng.uniform(0.05, 0.5)),
        ready=rng.randrange(30) if count else 0,
        unacked=count,
        in_flight=count,
        running=count if placed else 0,
        start_up=0.5,
        cpu_per_call=0.01,
        cores_per_instance=1.0,
        rss=HOST,
        idle=0.0 if count else 100.0,
    )


def milliseconds(*, placed: bool) -> float:
    """Return the median CPU time of a decision, ms."""
    rng, memory, found = random.Random(7), Memory(), []
    for number in range(ROUNDS):
        snapshot = world(float(number), rng, placed=placed)
        began = time.process_time()
        _, memory = decide(snapshot, memory)
        found.append(1000 * (time.process_time() - began))
    return statistics.median(found)
