"""The traces: what is called when, on what kind of Func, and what else happens."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from benchmarks.scaling.calls import Call, Rate, Service, arrivals, exponential, lognormal

LARGEST = 100  # instances that fit into the cluster, where a trace says nothing else


@dataclass(frozen=True, slots=True)
class FuncLoad:
    """One Func of a trace."""

    name: str
    rate: Rate
    highest: float  # of the rates, 1/s
    service: Service
    slots: int = 4  # calls at once in one instance
    start_up: float = 0.5  # of an instance, s; each takes ± 20 %
    patience: float = 5.0  # how long a caller waits, s

    def calls(self, seconds: float, rng: random.Random) -> list[Call]:
        """Return its calls."""
        times = arrivals(self.rate, self.highest, seconds, rng)
        return [Call(at, self.service(rng), at + self.patience) for at in times]


@dataclass(frozen=True, slots=True)
class Trace:
    """What happens in one run."""

    name: str
    title: str
    funcs: tuple[FuncLoad, ...]
    seconds: float = 900.0
    largest: int = LARGEST  # instances of all Funcs together
    outage: tuple[float, float] | None = None  # between these times no instance runs


def step(at: float, until: float, rate: float, base: float = 0.0) -> Rate:
    """Return a rate that is on for a time."""
    return lambda t: rate if at <= t < until else base


def ramp(start: float, end: float, low: float, high: float, until: float) -> Rate:
    """Return a rate that grows evenly, stays, and falls as evenly."""
    grow = end - start

    def rate(t: float) -> float:
        share = min(1.0, max(0.0, (t - start) / grow)) if t < until else max(0.0, 1 - (t - until) / grow)
        return low + (high - low) * share

    return rate


def sine(mean: float, swing: float, period: float) -> Rate:
    """Return a rate that swings, beginning at its lowest."""
    return lambda t: mean - swing * math.cos(2 * math.pi * t / period)


def bursts(base: float, height: float, length: float, every: float) -> Rate:
    """Return a base rate with bursts on top."""
    return lambda t: height if t % every < length else base


def crowd(base: float, peak: float, at: float, rise: float, decay: float) -> Rate:
    """Return a rate that a crowd drives up within seconds and that falls slowly."""

    def rate(t: float) -> float:
        if t < at:
            return base
        if t < at + rise:
            return base + (peak - base) * (t - at) / rise
        return base + (peak - base) * math.exp(-(t - at - rise) / decay)

    return rate


def _one(name: str, title: str, load: FuncLoad, **more: object) -> Trace:
    return Trace(name, title, (load,), **more)  # type: ignore[arg-type]


def all_traces() -> tuple[Trace, ...]:
    """Return the traces of the benchmark."""
    short = exponential(0.2)
    return (
        _one("step", "0 to 60 calls/s at once, back to 0", FuncLoad("step", step(60, 600, 60), 60, short)),
        _one(
            "ramp",
            "5 to 100 calls/s in 5 min, and back",
            FuncLoad("ramp", ramp(60, 360, 5, 100, 540), 100, short, slots=8),
        ),
        _one("sine", "10 to 90 calls/s and back every 5 min", FuncLoad("sine", sine(50, 40, 300), 90, short)),
        _one("bursts", "2 calls/s, 100 for 5 s of each minute", FuncLoad("bursts", bursts(2, 100, 5, 60), 100, short)),
        _one(
            "crowd",
            "5 calls/s, 120 within 2 s, falling for minutes",
            FuncLoad("crowd", crowd(5, 120, 300, 2, 90), 120, short),
        ),
        _one(
            "heavy",
            "6 calls/s of log-normal length (mean 0.8 s, σ 1.5), one at a time in an instance",
            FuncLoad("heavy", step(0, 900, 6), 6, lognormal(0.8, 1.5), slots=1, patience=30.0),
        ),
        _one(
            "jvm",
            "10 to 70 calls/s and back every 5 min, and 60 more at once; instances start in 10 s",
            FuncLoad(
                "jvm",
                lambda t: sine(40, 30, 300)(t) + step(400, 520, 60)(t),
                130,
                exponential(0.15),
                start_up=10.0,
                patience=30.0,
            ),
        ),
        _one(
            "outage",
            "20 calls/s; for a minute no instance runs",
            FuncLoad("outage", step(0, 900, 20), 20, exponential(0.25), patience=120.0),
            outage=(300.0, 360.0),
        ),
        Trace(
            "compete",
            "12 instances for two Funcs: a steady one, and one with batches of four times what there is",
            (
                FuncLoad("steady", step(0, 900, 30), 30, exponential(0.15)),
                FuncLoad("greedy", bursts(0.5, 100, 60, 300), 100, exponential(2.0), patience=60.0),
            ),
            largest=12,
        ),
    )


def seeded(trace: Trace, seed: int) -> dict[str, list[Call]]:
    """Return the calls of each Func, fixed by the seed."""
    return {
        load.name: load.calls(trace.seconds, random.Random(f"{trace.name}/{load.name}/{seed}")) for load in trace.funcs
    }
