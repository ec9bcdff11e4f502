"""The leadership lease: who leads, and when another may take over. Pure rules; the SQL is in `sql/lease.py`.

The lease is one row with an epoch, which each take-over counts up, and a beat, which the leader counts up each second.
No wall clock is in it, since clocks of machines differ: whoever wants to lead watches the row, and may take over when
it has not changed for a time to live *by the watcher's own clock*. A leader counts by its own clock likewise, from the
moment at which it asked for the beat: it has stopped to lead before anybody else may begin.

That alone would not do, as a leader that was paused does not know that time has passed. So the epoch is a fencing token
(Kleppmann, "How to do distributed locking", 2016): the Registry refuses changes under another epoch than the lease's.
"""

from __future__ import annotations

from dataclasses import dataclass

TTL = 3.0
"""How long a lease must be silent until another may take it, s."""

BEAT = 1.0
"""Between two beats of the leader, s."""

LOOK = 0.5
"""Between two looks of who wants to lead, s. A dead leader is followed after `TTL` + 2 × `LOOK` at the latest."""

CALL = 2.0
"""How long the Registry may take for a call about the lease, s."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The row. `holder` is unique to a process; None while nobody leads. `url`: the holder's admin API."""

    holder: str | None = None
    url: str | None = None
    epoch: int = 0
    beat: int = 0


class Watch:
    """What somebody who wants to lead has seen of the lease."""

    def __init__(self) -> None:
        self._seen: tuple[int, int] | None = None
        self._since = 0.0

    def look(self, lease: Lease, asked: float, got: float, ttl: float) -> bool:
        """Take note of the lease; True if it has been silent for `ttl` seconds.

        asked, got: when it was read, by one monotonic clock, s. It was silent from the end of the first look to the
        beginning of this one at least.
        """
        now = (lease.epoch, lease.beat)
        if now != self._seen:
            self._seen, self._since = now, got
            return False
        return asked - self._since >= ttl


def may_take(lease: Lease, holder: str, *, silent: bool) -> bool:
    """Tell whether `holder` may take the lease: it is free, was silent, or is `holder`'s own, who was not told so."""
    return lease.holder is None or lease.holder == holder or silent


class Tenure:
    """The time for which a leader may count on its lease, by its own clock.

    asked: when it asked for the lease or its last beat, s.
    """

    def __init__(self, epoch: int, asked: float, ttl: float = TTL) -> None:
        self.epoch = epoch
        self.ttl = ttl
        self._asked = asked

    def renewed(self, asked: float) -> None:
        """A beat that was asked for at `asked` was made."""
        self._asked = max(self._asked, asked)

    def holds(self, now: float) -> bool:
        """Tell whether nobody can have taken over by `now`."""
        return now - self._asked < self.ttl
