"""What becomes of a message that may have been tried before: pure decisions.

A broker marks a message `redelivered` when somebody took it and did not settle it: a Runner died, or lost its
connection. Whether the Func ran is then unknown. The header `attempt` (absent: 1) counts the attempts that Runners
know of, so that a message that kills Runners is told from one that was merely unlucky once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import Enum, auto

ATTEMPT = "attempt"
NOT_BEFORE = "not-before"
ATTEMPTS = 3  # of a message that nobody waits for
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # idempotent: RFC 9110, 9.2.2
FIRST_DELAY = 1.0  # before the second attempt of a message that nobody waits for, s
LONGEST_DELAY = 60.0


class Step(Enum):
    """What to do with a message that the broker delivers again."""

    AGAIN = auto()  # put it back into its queue as the next attempt, so that a second death can be told
    REFUSE = auto()


def attempt_of(headers: Mapping[str, str]) -> int:
    """Return which attempt a message is."""
    text = headers.get(ATTEMPT, "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() else 1


def repeatable(method: str, wish: str | None, *, waited_for: bool) -> bool:
    """Say whether a Func may run twice for one message; `wish` is `x-funcatron.retry` of its Operation.

    Where somebody waits: idempotent methods, or all with `always`. What nobody waits for is done at least once, unless
    the spec says `never`.
    """
    if wish in ("always", "never"):
        return wish == "always"
    return not waited_for or method in REPEATABLE


def on_redelivery(*, attempt: int, may_repeat: bool, waited_for: bool) -> Step:
    """Decide about a message that the broker delivers again."""
    limit = 2 if waited_for else ATTEMPTS
    return Step.AGAIN if may_repeat and attempt < limit else Step.REFUSE


def delay(attempt: int) -> float:
    """Return how long to wait after the failed attempt number `attempt`, s: growing, with a jitter of ±20 %."""
    return float(min(LONGEST_DELAY, FIRST_DELAY * 4 ** (attempt - 1)) * random.uniform(0.8, 1.2))
