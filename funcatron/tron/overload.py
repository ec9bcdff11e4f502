"""Which func queues are so deep that further callers are told to come again later. Decides only.

A queue may hold what is drained within the time that a caller waits for an answer: who comes after that would wait in
vain. The leader says so in the route table, and whoever puts messages into func queues answers 503 with `Retry-After`
then, at once. Messages that nobody waits for are taken all the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from funcatron.tron.scaling import FuncDecision
from funcatron.tron.traits import Traits

RELEASED = 0.8
"""Callers are let in again below this share of the limit: not in and out each second."""

LONGEST_RETRY = 60
UNKNOWN_RETRY = 5
"""What callers are told where it is not known how fast the queue is drained, s."""

CLOSE = 1.5
"""Another time to come again is told only if it is so many times longer or shorter."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How deep a queue may be, and how many messages are drained in a second (None: not known)."""

    messages: int
    rate: float | None


def limit_of(traits: Traits, decision: FuncDecision, request_timeout: float) -> Limit | None:
    """Return a queue's limit; None: there is none, for nobody sets one and it is not known how fast it is drained."""
    rate = drained(decision)
    if traits.queue_limit is not None:
        return Limit(traits.queue_limit, rate)
    if rate is None:
        return None
    return Limit(max(decision.inputs.slots, math.ceil(rate * request_timeout)), rate)


def drained(decision: FuncDecision) -> float | None:
    """Return how many messages the instances that were decided can serve in a second; None if that is not known."""
    func = decision.inputs
    there = decision.instances if decision.placed is None else decision.placed
    if func.service_time is None or func.service_time.seconds <= 0 or there == 0:
        return None
    return there * func.slots / func.service_time.seconds


def retry_after(limit: Limit, waiting: int | None, before: int | None) -> int | None:
    """Return after how many seconds further callers may come again; None: they may come.

    before: what they were told before. waiting: None if it is not known, which changes nothing.
    """
    if waiting is None:
        return before
    let_in = limit.messages * RELEASED
    if waiting <= (limit.messages if before is None else let_in):
        return None
    if limit.rate is None:
        return UNKNOWN_RETRY
    seconds = max(1, min(LONGEST_RETRY, math.ceil((waiting - let_in) / limit.rate)))
    return before if before is not None and before / CLOSE <= seconds <= before * CLOSE else seconds
