"""The books of messages: what was published must be answered, discarded, dead-lettered, or still wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from funcatron.tron.statistics.figures import Flow
from funcatron.tron.statistics.sums import Sums

SETTLE = 15.0
"""So long after the start everybody was heard: what they had counted by then was before, s."""


class Sources:
    """What those say who put messages into queues: totals by queue, which only grow."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._last: dict[str, Mapping[str, int]] = {}  # by source
        self._mute: set[str] = set()
        self.published: dict[str, int] = {}  # by queue

    def tell(self, source: str, totals: Mapping[str, int] | None, now: float) -> None:
        """Take a source's totals; None: it does not tell them."""
        if totals is None:
            self._mute.add(source)
            return
        self._mute.discard(source)
        before = self._last.get(source, totals if now - self._began < SETTLE else {})
        for queue, total in totals.items():
            self.published[queue] = self.published.get(queue, 0) + max(0, total - before.get(queue, 0))
        self._last[source] = dict(totals)

    def gone(self, source: str) -> None:
        """A source is no more; what it published was published."""
        self._last.pop(source, None)
        self._mute.discard(source)

    def missing(self, *, needed: bool) -> str:
        """Return who does not tell what it publishes, in words; empty if all do (and, where that is `needed`, somebody
        does)."""
        if self._mute:
            some = sorted(self._mute)[:3]
            return "not told by " + ", ".join(some) + (" and others" if len(self._mute) > len(some) else "")
        return "told by nobody yet" if needed and not self._last else ""


@dataclass(frozen=True, slots=True)
class Stand:
    """How the books of one queue, or of all, stand at one moment. None: not known, and `why`."""

    published: int | None
    waiting: int | None
    ended: int = 0  # by Trons themselves
    doubt: int = 0  # how many messages the figures may be apart, since they are not of the same instant
    why: str = ""


class Ledger:
    """The books of one queue, or of all. They are opened when everything is known for the first time."""

    def __init__(self) -> None:
        self._opened: tuple[int, int] | None = None  # what was not accounted for by then, and how sure that is

    def flow(self, sums: Sums, stand: Stand) -> Flow:
        """Return how the books stand; `sums` are what Runners have counted."""
        flow = Flow(
            answered=sums.answered,
            discarded=int(sums["discarded"]),
            dead_lettered=int(sums["dead-lettered"]),
            both=int(sums["both"]),
            ended=stand.ended,
            published=stand.published,
            waiting=stand.waiting,
            why=stand.why,
        )
        if stand.published is None or stand.waiting is None:
            return flow
        over = flow.answered + flow.discarded + flow.dead_lettered - flow.both + flow.ended + stand.waiting
        missing = stand.published - over
        if self._opened is None:
            self._opened = (missing, stand.doubt)
        before, doubt = self._opened
        return replace(flow, drift=missing - before, doubt=doubt + stand.doubt)
