"""One message on its way to a host and back. It settles once: answered and acked, or moved to another queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from funcatron.brokers.base import Delivery
from funcatron.errors import HostError
from funcatron.message import ServiceMessage
from funcatron.runner import retry

if TYPE_CHECKING:
    from funcatron.hosts import Answer
    from funcatron.runner.pool import Seat
    from funcatron.runner.service import Service
    from funcatron.spec import BadRequest, Operation

GRACE = 2.0  # a host that was told to cancel a call may take so long to yield, s


class Call:
    """State of one message between its delivery and its answer. Made on the hot path: slots, no timers, no tasks."""

    __slots__ = (
        "_service",
        "attempt",
        "context",
        "correlation_id",
        "deadline",
        "delivery",
        "frame",
        "lane",
        "limit",
        "method",
        "number",
        "operation",
        "orphan",
        "payload",
        "rejection",
        "reply_to",
        "request_id",
        "seat",
        "settled",
        "shares",
        "started",
        "suspect",
        "tries",
    )

    def __init__(self, service: Service | None, delivery: Delivery, message: ServiceMessage) -> None:
        self._service, self.delivery = service, delivery
        self.method = message.method
        reply_to, correlation_id = delivery.origin()
        self.request_id = message.request_id or correlation_id or ""
        self.reply_to = reply_to or message.reply_to
        self.correlation_id = correlation_id or self.request_id
        self.operation: Operation | None = None
        self.deadline = 0.0  # wall clock, s
        self.limit = ""  # whose limit the deadline is, unless the Func's own
        self.attempt = 1
        self.frame: dict[str, Any] = {}
        self.context: dict[str, Any] = {}
        self.payload: bytes = b""
        self.rejection: BadRequest | None = None  # to be answered once the caller is authorized
        self.lane = 0  # so many of its Operation at once in a host; 0: as many as it has slots
        self.seat: Seat | None = None
        self.number = 0  # at the host
        self.tries = 0  # at hosts
        self.started = 0.0  # monotonic
        self.settled = False
        self.shares = False  # who waits reads large bodies in the folder that is shared
        self.suspect = False  # redelivered: it may have been applied before
        self.orphan = False  # the connection that delivered the message is gone

    def run(self, seat: Seat) -> None:
        """Send it to the seat's host."""
        host = seat.host
        assert host is not None
        self.tries += 1
        self.started = time.monotonic()
        self.frame["context"] = self.context  # the host takes it out
        try:
            if self.rejection is None:
                self.number = host.call(self.frame, self.payload, self.done)
            else:
                self.number = host.authorize(self.frame, self.done)
        except HostError as err:  # larger than a frame may be
            assert self._service is not None
            self._service.pool.release(self)
            self._service.unsendable(self, err)

    def done(self, answer: Answer | None) -> None:
        """The host has answered (None: it died)."""
        service = self._service
        assert service is not None
        if answer is None and self.seat is not None:
            service.pool.lost(self.seat, "it died")
        service.pool.release(self)
        if self.settled:  # it timed out before; now its host has yielded
            service.deadlines.discard(self)
            return
        if answer is not None:
            service.answered(self, answer)
        elif self.tries == 1 and self.reply_to is not None and self.may_repeat:
            service.stats.retried += 1
            service.pool.submit(self)
        else:
            service.died(self)

    def due(self, now: float) -> None:
        """Its deadline has passed: the caller gets a 504 now. The second time: the host has not yielded either."""
        service = self._service
        assert service is not None
        if self.settled:
            service.pool.stuck(self)
            return
        service.timed_out(self)
        if self.seat is None:
            service.pool.withdraw(self)
        elif self.seat.host is not None:
            self.seat.host.cancel(self.number)
            self.deadline = now + GRACE
            service.deadlines.add(self)

    def refuse(self, why: str) -> None:
        """No host can take it."""
        assert self._service is not None
        self._service.no_host(self, why)

    @property
    def operation_id(self) -> str:
        """The Operation's id, once it is known."""
        return self.operation.id if self.operation is not None else ""

    @property
    def may_repeat(self) -> bool:
        """Whether its Func may run twice for one message."""
        wish = self.operation.retry if self.operation is not None else None
        return retry.repeatable(self.method, wish, waited_for=self.reply_to is not None)
