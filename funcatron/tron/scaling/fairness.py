"""Fair shares of a capped total, in whole instances.

First every Func that has work gets one instance, then each gets its `min`, and then all are filled up together, like
vessels of the widths of their weights (max-min fairness): nobody gets more while somebody who wants more has less, by
weight. What nobody wants is left over. Two caps hold at once: of instances, and of their memory.

When there are fewer places than Funcs that have work, these take turns: who has a place keeps it for its turn, then the
one that has waited for longest takes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TURN = 10.0  # how long a place is kept while others have none, s
HALVINGS = 48  # of the interval in which the level lies


@dataclass(frozen=True, slots=True)
class Claim:
    """What one Func asks for. `turn` is since when it has an instance (`holds`) or lacks one."""

    queue: str
    wanted: int
    least: int = 0
    weight: float = 1.0
    size: int = 0  # bytes of an instance
    work: bool = True
    holds: bool = False
    turn: float = 0.0
    length: float = TURN  # of its turn, s


@dataclass(frozen=True, slots=True)
class Cap:
    """What there is to share. None: no bound."""

    instances: int | None = None
    memory: int | None = None

    def holds(self, instances: int, memory: int) -> bool:
        """Whether so much is there."""
        return (self.instances is None or instances <= self.instances) and (
            self.memory is None or memory <= self.memory
        )


def fair_shares(claims: Sequence[Claim], cap: Cap, at: float) -> dict[str, int]:
    """Return how many instances each claim gets: never more than it wants, in all never more than there are."""
    if cap.holds(sum(c.wanted for c in claims), sum(c.wanted * c.size for c in claims)):
        return {claim.queue: claim.wanted for claim in claims}
    shares = _floors(claims, cap, at)
    level = _level(claims, shares, cap)
    for claim in claims:
        shares[claim.queue] = max(shares[claim.queue], _at_level(claim, level))
    _hand_out(claims, shares, cap)
    return shares


def _floors(claims: Sequence[Claim], cap: Cap, at: float) -> dict[str, int]:
    """Give one to each that has work, in turns where that is too much, then `least` to each."""
    shares = dict.fromkeys((claim.queue for claim in claims), 0)
    used = [0, 0]
    needy = [claim for claim in claims if claim.work and claim.wanted > 0]
    for claim in sorted(needy, key=lambda c: _turns(c, at)):
        _give(claim, 1, shares, used, cap)
    for claim in sorted(claims, key=lambda c: (-c.weight, c.queue)):
        _give(claim, min(claim.least, claim.wanted) - shares[claim.queue], shares, used, cap)
    return shares


def _turns(claim: Claim, at: float) -> tuple[int, float, str]:
    """Order: who is in its turn, latest first; who has none, longest first; whose turn is over, latest first."""
    if not claim.holds:
        return 1, claim.turn, claim.queue
    return (0 if at - claim.turn < claim.length else 2), -claim.turn, claim.queue


def _give(claim: Claim, count: int, shares: dict[str, int], used: list[int], cap: Cap) -> None:
    for _ in range(count):
        if not cap.holds(used[0] + 1, used[1] + claim.size):
            return
        shares[claim.queue] += 1
        used[0] += 1
        used[1] += claim.size


def _at_level(claim: Claim, level: float) -> int:
    return min(claim.wanted, math.floor(claim.weight * level))


def _level(claims: Sequence[Claim], floors: dict[str, int], cap: Cap) -> float:
    """Return the highest level (instances by weight) to which all can be filled, found by halving."""
    low, high = 0.0, max(claim.wanted / claim.weight for claim in claims)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        instances = memory = 0
        for claim in claims:
            share = max(floors[claim.queue], _at_level(claim, middle))
            instances += share
            memory += share * claim.size
        if cap.holds(instances, memory):
            low = middle
        else:
            high = middle
        if high - low < 1e-6 * high:
            break
    return low


def _hand_out(claims: Sequence[Claim], shares: dict[str, int], cap: Cap) -> None:
    """Give what rounding left to those who have least by weight; of equals first to who holds one, then by name."""
    used = [sum(shares.values()), sum(shares[claim.queue] * claim.size for claim in claims)]
    before = -1
    while used[0] != before:
        before = used[0]
        asking = [claim for claim in claims if shares[claim.queue] < claim.wanted]
        for claim in sorted(asking, key=lambda c: ((shares[c.queue] + 1) / c.weight, not c.holds, c.queue)):
            _give(claim, 1, shares, used, cap)
