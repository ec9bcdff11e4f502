"""Sums over the last seconds, in slots that come and go. Time is an argument, s."""

from __future__ import annotations

from collections import deque

from funcatron.tron.statistics.sums import Sums

SLOT = 0.2  # what came within so many seconds goes together, s


class Window:
    """The sums of the last `span` seconds; what lies before `since` is not known."""

    __slots__ = ("_slots", "since", "span", "sums")

    def __init__(self, span: float, since: float) -> None:
        self.span, self.since = span, since
        self.sums = Sums()
        self._slots: deque[tuple[float, Sums]] = deque()  # by when they begin

    def add(self, now: float, grown: Sums) -> None:
        """Add what has come to be known now."""
        self.advance(now)
        if not self._slots or now - self._slots[-1][0] >= SLOT:
            self._slots.append((now, Sums()))
        self._slots[-1][1].add(grown)
        self.sums.add(grown)

    def advance(self, now: float) -> None:
        """Take out what is older than the span."""
        while self._slots and now - self._slots[0][0] >= self.span:
            self.sums.take(self._slots.popleft()[1])
        if not self._slots:
            self.sums.clear()  # of what rounding has left

    def restart(self, now: float) -> None:
        """Begin anew: what happened before is not known."""
        self.since = now
        self.sums.clear()
        self._slots.clear()

    def covered(self, now: float) -> float:
        """Return how many of the last seconds are known."""
        return max(0.0, min(self.span, now - self.since))
