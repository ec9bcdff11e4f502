"""How much the Trons have to dispatch, from their counters. Time is an argument, s."""

from __future__ import annotations

from funcatron.tron.scaling import Firehose

LEAST_STEP = 0.9
"""Rates are of so many seconds at least."""

ENOUGH = 100
"""With fewer messages in a step, what else a Tron does would count as their cost."""


class FirehoseGauge:
    """Remembers the counters of the time before."""

    def __init__(self) -> None:
        self._before: tuple[float, int, int, float, int | None] | None = None
        self._rate: float | None = None
        self._cost: float | None = None

    def look(self, now: float, *, mine: int, all_: int, cpu: float, trons: int, ready: int | None) -> Firehose:
        """Return the figures.

        mine, all_: messages that this Tron, and all of them, have dispatched. cpu: seconds that this process used.
        trons: how many there are. ready: messages in the firehose; None: not known.
        """
        before = self._before
        if before is None or all_ < before[2]:  # one with its counter has gone
            self._before, self._rate = (now, mine, all_, cpu, ready), None
        elif now - before[0] >= LEAST_STEP:
            seconds = now - before[0]
            self._before = (now, mine, all_, cpu, ready)
            self._rate = None
            if ready is not None and before[4] is not None:
                self._rate = max(0.0, (all_ - before[2] + ready - before[4]) / seconds)
            if mine - before[1] >= ENOUGH:
                self._cost = (cpu - before[3]) / (mine - before[1])
        return Firehose(trons, self._rate, ready, self._cost)
