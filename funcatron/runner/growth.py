"""When the hosts of a Func are too few, as a Runner sees it by itself: while no Tron says how many there shall be."""

from __future__ import annotations

from collections.abc import Sequence

SATURATED = 3.0  # full for so long: one host more, s
BUSY = 0.7  # share of a core from which a host counts as busy
SLOW = 0.1  # calls that take longer than that wait for something; more of them can wait at once, s


class Growth:
    """Watches one pool. Times are of the monotonic clock, s."""

    __slots__ = ("_full_since",)

    def __init__(self) -> None:
        self._full_since: float | None = None

    def due(self, now: float, *, full: bool, shares: Sequence[float], seconds_per_call: float) -> bool:
        """Say whether one host more would pay.

        full: whether calls fill all slots. shares: the CPU seconds that each host used since the last look, of about a
        second. seconds_per_call: what calls take on average lately.
        """
        if not full:
            self._full_since = None
            return False
        if self._full_since is None:
            self._full_since = now
        return now - self._full_since >= SATURATED and (seconds_per_call > SLOW or min(shares, default=0.0) > BUSY)

    def restart(self) -> None:
        """Watch anew: there is one more, or others decide."""
        self._full_since = None
