"""What each Runner was told to run, and what it should be told now. Decides only; time is an argument, s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from funcatron.tron.scaling import Placement

REPEAT = 10.0
"""A Runner is told again what it was told, for messages may be lost, s."""

REFLECTED = 2.5
"""What a Runner tells shows after so long what it was told, s; until then it is taken to have followed."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one Runner gets of one Func."""

    instances: int
    waker: bool = False


Shares = Mapping[str, Share]
"""By func queue."""


@dataclass(slots=True)
class _Told:
    shares: Shares
    at: float
    since: float
    """When it was told this for the first time, without anything else between."""
    changed: dict[str, float] = field(default_factory=dict)  # by queue: when its number of instances was changed


def shares(placement: Placement, running: Mapping[str, int]) -> dict[str, dict[str, Share]]:
    """Return the shares by Runner and queue.

    running: instances that take calls, by queue. Where a Func has none, the first Runner that shall have one takes its
    messages already: else nobody would, and nobody would say what is wrong when no host starts.
    """
    found: dict[str, dict[str, Share]] = {}
    first: dict[str, str] = dict(placement.wakers)
    for runner, hosts in sorted(placement.hosts.items()):
        mine = found[runner] = {}
        for queue, count in hosts.items():
            awaited = not running.get(queue) and first.setdefault(queue, runner) == runner
            mine[queue] = Share(count, waker=awaited)
    for queue, runner in placement.wakers.items():
        if queue not in found[runner]:
            found[runner][queue] = Share(0, waker=True)
    return found


def as_json(mine: Shares) -> list[dict[str, Any]]:
    """Return shares as an `allocate` message has them."""
    return [
        {"queue": queue, "instances": share.instances} | ({"waker": True} if share.waker else {})
        for queue, share in sorted(mine.items())
    ]


class Allocations:
    """What was told, by Runner."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def told(self, runner: str) -> Shares | None:
        """Return what a Runner was told last; None: nothing yet."""
        found = self._told.get(runner)
        return None if found is None else found.shares

    def told_nothing(self, runner: str) -> float | None:
        """Return since when a Runner is told to run nothing; None: it shall run something, or was not told yet."""
        found = self._told.get(runner)
        return None if found is None or found.shares else found.since

    def expected(self, runner: str, reported: Mapping[str, int], now: float) -> dict[str, int]:
        """Return how many instances of each Func a Runner has or is about to have: what it reports, but what it was
        told where that is so new that its report cannot show it."""
        found = self._told.get(runner)
        if found is None:
            return dict(reported)
        counts = dict(reported)
        for queue, at in found.changed.items():
            if now - at < REFLECTED:
                share = found.shares.get(queue)
                counts[queue] = share.instances if share is not None else 0
        return {queue: count for queue, count in counts.items() if count}

    def due(self, runner: str, wanted: Shares, reported: Mapping[str, int], now: float) -> bool:
        """Say whether a Runner is to be told: something has changed, or it has more than it should and may have missed
        that, or it was told long ago."""
        found = self._told.get(runner)
        if found is None or found.shares != wanted or now - found.at >= REPEAT:
            return True
        if now - found.at < REFLECTED:
            return False
        return any(count and queue not in wanted for queue, count in reported.items())

    def note(self, runner: str, wanted: Shares, now: float) -> None:
        """Note that a Runner is told this now."""
        before = self._told.get(runner)
        changed = dict(before.changed) if before is not None else {}
        old = before.shares if before is not None else {}
        for queue in old.keys() | wanted.keys():
            if _count(old, queue) != _count(wanted, queue):
                changed[queue] = now
        kept = {queue: at for queue, at in changed.items() if now - at < REFLECTED}
        since = before.since if before is not None and before.shares == wanted else now
        self._told[runner] = _Told(dict(wanted), now, since, kept)

    def forget(self, runner: str) -> None:
        """A Runner is no more, or has been started anew and knows nothing."""
        self._told.pop(runner, None)


def _count(shares_: Shares, queue: str) -> int:
    share = shares_.get(queue)
    return share.instances if share is not None else 0
