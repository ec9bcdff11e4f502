"""Durations as counts by bin, which add up exactly: over seconds, over hosts, over Runners.

The bins are those of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019), by its authors' library: what is read out is within 2 % of what went in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from ddsketch import LogarithmicMapping

ACCURACY = 0.02
"""Relative error of what is read out, at most."""

LEAST = 1e-5
"""What is shorter counts as this, s: a logarithm has no zero."""

_MAPPING = LogarithmicMapping(ACCURACY)


def key(seconds: float) -> int:
    """Return the bin of a duration."""
    return int(_MAPPING.key(seconds if seconds > LEAST else LEAST))


@cache
def value(bin_key: int) -> float:
    """Return the duration that a bin stands for, s."""
    return float(_MAPPING.value(bin_key))


class Histogram:
    """Counts that only grow, and which of them were not told yet."""

    __slots__ = ("_changed", "bins", "count", "seconds")

    def __init__(self) -> None:
        self.bins: Counter[int] = Counter()
        self.count = 0
        self.seconds = 0.0
        self._changed: set[int] = set()

    def add(self, values: Sequence[float]) -> None:
        """Count durations, s. Not for the hot path: a third of a microsecond each."""
        found = Counter(map(_MAPPING.key, [each if each > LEAST else LEAST for each in values]))
        for bin_key, count in found.items():
            self.bins[bin_key] += count
        self._changed.update(found)
        self.count += len(values)
        self.seconds += sum(values)

    def tell(self, *, full: bool) -> dict[str, Any] | None:
        """Return it as a message has it: all bins, or those that have changed since the last time; None: nothing."""
        keys = sorted(self.bins if full else self._changed)
        self._changed.clear()
        if not keys:
            return None
        counts = [self.bins[each] for each in keys]
        return {"count": self.count, "seconds": round(self.seconds, 6), "keys": keys, "counts": counts}


def quantiles(bins: Mapping[int, int], shares: Iterable[float]) -> list[float]:
    """Return the durations below which these shares (0 … 1) of what was counted lie, s. Raises ValueError for none."""
    keys = sorted(each for each, count in bins.items() if count > 0)
    if not keys:
        raise ValueError("no quantile of nothing")
    up_to = list(accumulate(bins[each] for each in keys))
    return [value(keys[min(bisect_right(up_to, share * (up_to[-1] - 1)), len(keys) - 1)]) for share in shares]


def below(bins: Mapping[int, int], bounds: Sequence[float]) -> list[int]:
    """Return, for each bound (s, ascending), how many durations are not longer; right to the width of a bin."""
    keys = sorted(bins)
    up_to = [0, *accumulate(bins[each] for each in keys)]
    return [up_to[bisect_right(keys, key(bound))] for bound in bounds]
