"""Counters and histograms that add up: of an entry in a `stats` message, of a window, of all time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from funcatron.errors import BadMessage

COUNTERS = (
    "arrivals",
    "discarded",
    "dead-lettered",
    "both",
    "returned",
    "skewed",
    "starts",
    "start-seconds",
    "cpu-seconds",
)
SPREADS = ("wait", "service")
ANSWER, ERROR = "answered:", "error:"  # before the class of a status, before a kind

Key = TypeVar("Key")
Number = TypeVar("Number", int, float)


class Sums:
    """Counters by name, and counts by bin. Counters of answers and errors have their class or kind in the name."""

    __slots__ = ("counters", "service", "wait")

    def __init__(self) -> None:
        self.counters: dict[str, float] = {}
        self.wait: dict[int, int] = {}
        self.service: dict[int, int] = {}

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Sums:
        """Return what an entry of a `stats` message says; it has followed its schema. Absent counters are 0.

        Raises BadMessage when it has not as many counts as bins.
        """
        sums = cls()
        counters = sums.counters
        for name in COUNTERS:
            if name in entry:
                counters[name] = entry[name]
        for prefix, group in ((ANSWER, "answered"), (ERROR, "errors")):
            for name, count in entry.get(group, {}).items():
                counters[prefix + name] = count
        for name in SPREADS:
            spread = entry.get(name)
            if spread is not None:
                counters[f"{name}.count"], counters[f"{name}.seconds"] = spread["count"], spread["seconds"]
                if len(spread["keys"]) != len(spread["counts"]):
                    raise BadMessage(f"{name} has {len(spread['keys'])} keys and {len(spread['counts'])} counts.")
                getattr(sums, name).update(zip(spread["keys"], spread["counts"], strict=True))
        return sums

    def __bool__(self) -> bool:
        return bool(self.counters or self.wait or self.service)

    def add(self, other: Sums) -> None:
        """Add all that another has."""
        _add(self.counters, other.counters)
        _add(self.wait, other.wait)
        _add(self.service, other.service)

    def add_counters(self, other: Sums) -> None:
        """Add what another has but bins."""
        _add(self.counters, other.counters)

    def take(self, other: Sums) -> None:
        """Take away what was added before."""
        _take(self.counters, other.counters)
        _take(self.wait, other.wait)
        _take(self.service, other.service)

    def clear(self) -> None:
        """Forget everything."""
        self.counters.clear()
        self.wait.clear()
        self.service.clear()

    def update(self, totals: Sums, *, new_bins: bool = True) -> Sums:
        """Take newer totals in, and return by how much they grew.

        `new_bins` False: bins that were not known before are taken as they are, for it is not known when they grew. A
        total that fell, which no Runner should send, is taken as it is as well.
        """
        grown = Sums()
        _grow(self.counters, totals.counters, grown.counters)
        for before, after, growth in (
            (self.wait, totals.wait, grown.wait),
            (self.service, totals.service, grown.service),
        ):
            if not new_bins:
                before.update({key: total for key, total in after.items() if key not in before})
            _grow(before, after, growth)
        return grown

    def __getitem__(self, name: str) -> float:
        return self.counters.get(name, 0)

    def group(self, prefix: str) -> dict[str, int]:
        """Return the counters whose names begin so, without that beginning."""
        cut = len(prefix)
        return {name[cut:]: int(count) for name, count in self.counters.items() if name.startswith(prefix)}

    @property
    def answered(self) -> int:
        """All answers."""
        return sum(self.group(ANSWER).values())


def _add(sums: dict[Key, Number], added: Mapping[Key, Number]) -> None:
    for key, value in added.items():
        sums[key] = sums[key] + value if key in sums else value


def _take(sums: dict[Key, Number], taken: Mapping[Key, Number]) -> None:
    for key, value in taken.items():
        rest = sums.get(key, 0) - value
        if rest:
            sums[key] = rest
        else:  # or it was so already: what is 0 is left out
            sums.pop(key, None)


def _grow(before: dict[Key, Number], after: Mapping[Key, Number], growth: dict[Key, Number]) -> None:
    for key, total in after.items():
        grown = total - before[key] if key in before else total
        if grown > 0:
            growth[key] = grown
        before[key] = total
