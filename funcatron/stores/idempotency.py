"""Idempotency keys: a request that is sent twice is done once and answered alike.

As in the IETF's draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from funcatron.errors import Conflict

AGE = 24 * 3600.0
"""How long a key is remembered, s."""

GIVEN_UP = 300.0
"""After so long a request without an answer counts as one whose Tron died, s."""

LONGEST = 255
"""Characters of a key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """A request that came under a key. fingerprint: tells it from others, e.g. a SHA-256 of method, path and body.
    epoch: of the Tron that works on it. answer: None until there is one."""

    fingerprint: str
    epoch: int
    answer: Answer | None
    created: float


def verdict(key: str, kept: Kept, fingerprint: str, epoch: int, now: float) -> Answer | Literal["new", "again"]:
    """Return the answer that was given; or "new" if the key is forgotten, "again" if who worked on it is gone.

    Raises Conflict when the key was used for another request, or when it is being worked on.
    """
    if now - kept.created > AGE:
        return "new"
    if kept.fingerprint != fingerprint:
        raise Conflict(f"the idempotency key {key!r} was used for another request; take a new one")
    if kept.answer is not None:
        return kept.answer
    if kept.epoch != epoch or now - kept.created > GIVEN_UP:
        return "again"
    raise Conflict(f"the request with the idempotency key {key!r} is being worked on; try again later")
