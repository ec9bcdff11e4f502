"""Calls that outlive the connection that brought their message.

When the connection to the broker is lost, the broker has all unsettled messages back and delivers them again, to this
Runner or to another. The calls go on, but nothing that they give may be sent: it would be sent twice. If a message
comes back to this Runner, its call is adopted: it is not applied again, and its answer goes out, now or when it is
there. What had not been applied at all is known as well, and runs as if it came for the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from funcatron.brokers.base import Delivery
from funcatron.runner.call import Call

KEEP = 120.0  # so long a message may take to come back, s


class Orphans:
    """What the lost connections brought. Keyed by the message's bytes: every message has an id of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: dict[bytes, Call] = {}
        self._endings: dict[bytes, Callable[[], None]] = {}
        self._unapplied: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._calls) + len(self._unapplied)

    def disown(self, calls: Iterable[Call], unapplied: Iterable[Delivery]) -> None:
        """The connection is gone."""
        bodies: list[bytes] = []
        for call in calls:
            if not call.settled:
                call.orphan = True
                self._calls[call.delivery.body] = call
                bodies.append(call.delivery.body)
        for delivery in unapplied:
            self._unapplied.add(delivery.body)
            bodies.append(delivery.body)
        if bodies:
            self._loop.call_later(KEEP, self._forget, bodies)

    def finished(self, call: Call, ending: Callable[[], None]) -> None:
        """An orphan has its answer: keep what is to be done with it."""
        call.settled = True
        if call.delivery.body in self._calls:
            self._endings[call.delivery.body] = ending

    def release(self, call: Call) -> None:
        """An orphan is given up before it was applied: if its message comes back, it runs as if for the first time."""
        if self._calls.pop(call.delivery.body, None) is not None:
            self._unapplied.add(call.delivery.body)

    def adopt(self, delivery: Delivery) -> bool:
        """Say whether a redelivered message belongs to a call of this Runner; then it is dealt with."""
        call = self._calls.pop(delivery.body, None)
        if call is None:
            return False
        call.orphan, call.delivery = False, delivery
        ending = self._endings.pop(delivery.body, None)
        if ending is not None:
            ending()
        return True

    def unapplied(self, delivery: Delivery) -> bool:
        """Say whether this Runner knows that a redelivered message was not applied."""
        if delivery.body in self._unapplied:
            self._unapplied.remove(delivery.body)
            return True
        return False

    def _forget(self, bodies: list[bytes]) -> None:
        for body in bodies:
            self._calls.pop(body, None)
            self._endings.pop(body, None)
            self._unapplied.discard(body)
