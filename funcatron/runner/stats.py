"""What a Func did since it was enabled: plain counters, cheap enough for every message."""

from __future__ import annotations

from typing import Any


class Stats:
    """Counters of one Func; they only grow. `seconds` is the time that its calls spent at hosts."""

    __slots__ = (
        "answered",
        "calls",
        "dead_lettered",
        "discarded",
        "received",
        "requeued",
        "retried",
        "seconds",
        "timed_out",
    )

    def __init__(self) -> None:
        self.received = 0  # messages taken
        self.answered = [0, 0, 0, 0, 0, 0]  # by class of the status: [2] is 2xx
        self.discarded = 0  # nobody waited any more, or nobody ever did
        self.dead_lettered = 0
        self.requeued = 0  # given back unapplied
        self.retried = 0
        self.timed_out = 0
        self.calls = 0  # finished at a host
        self.seconds = 0.0

    def report(self) -> dict[str, Any]:
        """Return the counters as they stand in a `heartbeat`."""
        return {
            "received": self.received,
            "answered": {f"{n}xx": count for n, count in enumerate(self.answered) if count},
            "discarded": self.discarded,
            "dead-lettered": self.dead_lettered,
            "requeued": self.requeued,
            "retried": self.retried,
            "timed-out": self.timed_out,
            "calls": self.calls,
            "seconds": round(self.seconds, 3),
        }
