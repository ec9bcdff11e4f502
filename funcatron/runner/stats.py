"""What a Func did since it was enabled: plain counters, cheap enough for every message.

Durations are only noted where they arise; once a second `fold` counts them into histograms.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from funcatron.message.histogram import Histogram

if TYPE_CHECKING:
    from funcatron.runner.call import Call

CHUNK = 500  # durations that are counted at one go: the event loop waits for it


class Stats:
    """Counters of one Func; they only grow."""

    __slots__ = (
        "answered",
        "began",
        "both",
        "calls",
        "dead_lettered",
        "discarded",
        "errors",
        "late",
        "received",
        "requeued",
        "retried",
        "returned",
        "service",
        "services",
        "skewed",
        "timed_out",
        "wait",
        "waits",
    )

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.received = 0  # messages taken
        self.answered = [0, 0, 0, 0, 0, 0]  # by class of the status: [2] is 2xx
        self.discarded = 0  # nobody waited any more, or nobody ever did
        self.dead_lettered = 0
        self.both = 0  # answered, and dead-lettered to be looked at
        self.requeued = 0  # given back unapplied
        self.returned = 0  # put back into the queue for whatever reason, those that are requeued included
        self.retried = 0
        self.timed_out = 0
        self.calls = 0  # finished at a host
        self.errors: Counter[str] = Counter()  # by kind
        self.skewed = 0  # sent after they were taken, by the clocks of two machines
        self.wait, self.service = Histogram(), Histogram()
        self.waits: list[float] = []  # not counted yet, s
        self.services: list[float] = []  # likewise: how long calls were at hosts
        self.late: list[tuple[Call, float, float]] = []  # calls without a host: waited so far, and since when

    # ------------------------------------------------------------------ on the hot path

    def handed(self, call: Call, now: float, at: object) -> None:
        """Note that a host has a call now, or that it has to wait for one.

        `now` is when its message was taken (wall clock, s), `at` when it was sent, as the message says (ms). A message
        that was tried before has waited on purpose, which says nothing about the Func.
        """
        if type(at) is not int or call.attempt > 1:
            return
        if call.seat is not None:
            self.waits.append(now - at * 0.001)
        else:
            self.late.append((call, now - at * 0.001, time.monotonic()))

    # ------------------------------------------------------------------ where it went wrong

    def rejected(self, status: int) -> None:
        """Count a request that the Func is not asked to answer; a redirect is no error."""
        if status >= 400:
            self.errors[f"status-{status}"] += 1

    # ------------------------------------------------------------------ once a second

    def fold(self) -> Iterator[None]:
        """Count what was noted, a bit at each step, so that the event loop can go on between them. What an abandoned
        one has left, the next one counts."""
        self.waits += self._waited()
        while self.waits:
            part = self.waits[:CHUNK]
            del self.waits[:CHUNK]
            self.skewed += sum(each < 0.0 for each in part)
            self.wait.add([max(0.0, each) for each in part])
            yield
        while self.services:
            part = self.services[:CHUNK]
            del self.services[:CHUNK]
            self.service.add(part)
            yield

    def _waited(self) -> list[float]:
        """Return how long those calls waited that have got a host now, or were given up meanwhile: at most a second
        ago, which their wait then is too long by."""
        now, found, still = time.monotonic(), [], []
        for late in self.late:
            call, before, since = late
            if call.tries:
                found.append(before + call.started - since)
            elif call.settled:
                found.append(before + now - since)
            else:
                still.append(late)
        self.late[:] = still
        return found

    def oldest_wait(self) -> float | None:
        """Return how long the call has waited that waits for a host for longest, s; None: no call does."""
        now = time.monotonic()
        ages = [before + now - since for call, before, since in self.late if not call.tries and not call.settled]
        return max(ages, default=None)

    def report(self) -> dict[str, Any]:
        """Return the counters as they stand in a `heartbeat`."""
        return {
            "received": self.received,
            "answered": self.answers(),
            "discarded": self.discarded,
            "dead-lettered": self.dead_lettered,
            "requeued": self.requeued,
            "retried": self.retried,
            "timed-out": self.timed_out,
            "calls": self.calls,
            "seconds": round(self.service.seconds, 3),
        }

    def answers(self) -> dict[str, int]:
        """Return the answers by class of their status."""
        return {f"{n}xx": count for n, count in enumerate(self.answered) if count}

    def totals(self) -> dict[str, Any]:
        """Return the counters as they stand in a `stats` message: those that are 0 are left out."""
        counted = {
            "arrivals": self.received,
            "answered": self.answers(),
            "discarded": self.discarded,
            "dead-lettered": self.dead_lettered,
            "both": self.both,
            "returned": self.returned,
            "errors": dict(self.errors),
            "skewed": self.skewed,
        }
        return {name: value for name, value in counted.items() if value}
