"""Calls of a trace: when each comes and how long it takes, fixed by a seed, the same for every policy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Rate = Callable[[float], float]  # calls a second at a time
Service = Callable[[random.Random], float]  # seconds of one call


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it comes, how long it takes at its host, and when its caller gives up, all in seconds."""

    at: float
    service: float
    deadline: float


def arrivals(rate: Rate, highest: float, seconds: float, rng: random.Random) -> Iterator[float]:
    """Yield the times of a Poisson process whose rate changes, by thinning one of the `highest` rate."""
    at = 0.0
    while True:
        at += rng.expovariate(highest)
        if at >= seconds:
            return
        if rng.random() * highest < rate(at):
            yield at


def exponential(mean: float) -> Service:
    """Return exponential service times."""
    return lambda rng: rng.expovariate(1 / mean)


def lognormal(mean: float, sigma: float) -> Service:
    """Return log-normal service times: with a sigma of 1.5 a hundredth of the calls takes a third of the time."""
    mu = math.log(mean) - sigma**2 / 2
    return lambda rng: rng.lognormvariate(mu, sigma)
