"""The arrival rate to plan for: smoothed, so that chance moves nothing; at once where it is no chance; a little ahead.

The rate of one second is a Poisson count: at 10/s it wanders between 4 and 16. An exponentially weighted mean takes
that out, over the longer a time the fewer calls there are. A count that no constant rate explains replaces the mean at
once; √n + √(n + 1) - √(4m + 1) of a count n with the mean m is a standard normal figure (Freeman and Tukey, 1950).
What grows steadily is planned for as it will be when an instance started now takes its first call (Holt's trend).
"""

from __future__ import annotations

import math

SHORTEST, LONGEST = 8.0, 30.0  # time constants of the mean, s
CALLS = 100.0  # that the mean is taken over, between these times
TREND_SMOOTHING = 15.0  # time constant of the slope, s
JUMP = 5.0  # standard deviations that are no chance: it goes as far once in weeks
MOST_AHEAD = 1.0  # a trend adds at most this share of the rate


def observe(level: float | None, trend: float, measured: float, seconds: float) -> tuple[float, float]:
    """Return the new (level, trend) after a rate that was measured over the last `seconds`."""
    if level is None:
        return measured, 0.0
    if seconds <= 0:
        return level, trend
    if _jumped(measured * seconds, level * seconds):
        return measured, trend  # a step is no slope
    smoothing = min(LONGEST, max(SHORTEST, CALLS / level if level > 0 else LONGEST))
    moved = level + (1 - math.exp(-seconds / smoothing)) * (measured - level)
    slope = (moved - level) / seconds
    return moved, trend + (1 - math.exp(-seconds / TREND_SMOOTHING)) * (slope - trend)


def _jumped(count: float, mean: float) -> bool:
    return math.sqrt(count) + math.sqrt(count + 1) - math.sqrt(4 * mean + 1) > JUMP


def expected(level: float, trend: float, ahead: float) -> float:
    """Return the rate to plan for, `ahead` s from now. A falling trend is not believed: shrinking has its own rules."""
    return level + min(max(0.0, trend * ahead), MOST_AHEAD * level)
