"""How soon a host that died is replaced, and when its deaths count as a crash loop."""

from __future__ import annotations

from collections import deque

WINDOW = 60.0  # deaths further apart are unrelated, s
LIMIT = 5  # so many deaths in the window are a crash loop
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0


class Crashes:
    """Deaths of one Func's hosts. Times are of any one clock, s."""

    __slots__ = ("_deaths", "last", "retry_at", "total")

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=LIMIT + 10)
        self.total = 0
        self.retry_at = 0.0
        self.last = ""  # why

    def record(self, now: float, why: str) -> float:
        """Count a death; returns the pause before the next start, s: none after the first death."""
        while self._deaths and now - self._deaths[0] > WINDOW:
            self._deaths.popleft()
        self._deaths.append(now)
        self.total += 1
        self.last = why
        count = len(self._deaths)
        pause = 0.0 if count == 1 else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (count - 2))
        self.retry_at = now + pause
        return pause

    def looping(self, now: float) -> bool:
        """Say whether the hosts die again and again."""
        return sum(now - death <= WINDOW for death in self._deaths) >= LIMIT

    def recovered(self) -> None:
        """A host has lived long enough: forget the deaths."""
        self._deaths.clear()
        self.retry_at = 0.0
