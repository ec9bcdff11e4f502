"""How soon a host that died is replaced, when its deaths are a crash loop, and when a Func is beyond hope for now."""

from __future__ import annotations

from collections import deque

WINDOW = 60.0  # deaths further apart are unrelated, s
LIMIT = 5  # so many deaths in the window are a crash loop: it is reported
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0


class Crashes:
    """Deaths of one Func's hosts. Times are of any one clock, s.

    A host that has answered calls before it died is replaced at once: one bad request in a hundred, or somebody with
    a kill command, must not cost the other ninety-nine. The pause grows with each host that died without an answer.
    """

    __slots__ = ("_deaths", "fruitless", "last", "retry_at", "total")

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=LIMIT + 10)
        self.fruitless = 0  # hosts in a row that died without an answer
        self.total = 0
        self.retry_at = 0.0
        self.last = ""  # why

    def record(self, now: float, why: str, *, fruitful: bool = False) -> float:
        """Count a death; returns the pause before the next start, s: none after the first."""
        while self._deaths and now - self._deaths[0] > WINDOW:
            self._deaths.popleft()
        if fruitful or not self._deaths:
            self.fruitless = 0
        self._deaths.append(now)
        self.total += 1
        self.last = why
        self.fruitless += not fruitful
        pause = 0.0 if self.fruitless < 2 else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.fruitless - 2))
        self.retry_at = now + pause
        return pause

    def looping(self, now: float) -> bool:
        """Say whether the hosts die again and again."""
        return sum(now - death <= WINDOW for death in self._deaths) >= LIMIT

    def hopeless(self, now: float) -> bool:
        """Say whether it makes no sense to let calls wait for the next start."""
        return self.fruitless >= LIMIT and now < self.retry_at

    def recovered(self) -> None:
        """A host has lived long enough: forget the deaths."""
        self._deaths.clear()
        self.fruitless = 0
        self.retry_at = 0.0
