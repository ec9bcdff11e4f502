"""The end of every message: answered, tried again, or moved to the dead-letter queue; then acked. Exactly once."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from funcatron.brokers.base import Broker, Delivery, Outgoing
from funcatron.errors import BadMessage, BrokerAway, BrokerError
from funcatron.message import answer_bytes
from funcatron.runner import outcome, retry
from funcatron.runner.bodies import Bodies
from funcatron.runner.call import Call
from funcatron.runner.orphans import Orphans
from funcatron.runner.outbox import Outbox
from funcatron.runner.outcome import Outcome, failure
from funcatron.runner.stats import Stats

log = logging.getLogger("funcatron.runner.settle")

NO_HEADERS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose messages these are."""

    sha: str
    queue: str
    runner: str


class Settler:
    """Ends the messages of one Func. `reply` is on the hot path."""

    def __init__(
        self, identity: Identity, broker: Broker, outbox: Outbox, orphans: Orphans, stats: Stats, bodies: Bodies
    ) -> None:
        self.bodies = bodies
        self.identity, self.outbox, self.orphans, self.stats = identity, outbox, orphans, stats
        self._publish = broker.publish

    def reply(self, call: Call, result: Outcome) -> None:
        """Send the answer, if somebody waits for one, and ack the message."""
        if call.orphan:
            self.orphans.finished(call, partial(self.reply, call, result))
            return
        if call.reply_to is None:
            self.stats.discarded += 1
        else:
            if call.method == "HEAD":
                result = outcome.without_body(result)
            elif result.status in (204, 304):
                result = outcome.proper(result)
            operation = call.operation
            name = None if operation is None else operation.id
            try:
                self.send(call.reply_to, call.correlation_id, call.request_id, name, result, call.shares)
            except BrokerAway as err:
                self._later(call, result, err)
                return
            except BrokerError as err:  # it never can go out: to a queue that has no possible name, say
                self.stats.errors["unanswerable"] += 1
                self.bury(call, f"cannot be answered: {err}")
                return
        call.settled = True
        call.delivery.ack()

    def _later(self, call: Call, result: Outcome, err: BrokerAway) -> None:
        """The answer cannot go out now. The message comes again, once the broker is back, or reads again; if it comes
        here, this is its answer."""
        self.stats.returned += 1
        log.warning("an answer cannot go out now: %s", err, extra=self.about(call))
        self.orphans.disown((call,), ())
        self.orphans.finished(call, partial(self.reply, call, result))
        call.delivery.nack(requeue=True)  # does nothing where the connection is lost

    def reject(self, call: Call, result: Outcome) -> None:
        """The message asks for what the Func cannot do: trying again would not help."""
        self.stats.rejected(result.status)
        if call.reply_to is not None:
            self.reply(call, result)
        else:
            self.bury(call, f"status-{result.status}")

    def fail(self, call: Call, result: Outcome, reason: str) -> None:
        """The call went wrong: who waits learns it; otherwise it is tried again later, then dead-lettered."""
        self.stats.errors[reason] += 1
        if call.reply_to is not None:
            self.reply(call, result)
        elif call.attempt >= retry.ATTEMPTS or not call.may_repeat:
            self.bury(call, reason)
        elif call.orphan:
            self.orphans.finished(call, partial(self.fail, call, result, reason))
        else:
            self.again(call, time.time() + retry.delay(call.attempt))

    def again(self, call: Call, not_before: float | None = None) -> None:
        """Put the message back into its queue as its next attempt, not to be applied before a time (wall clock, s)."""
        call.settled = True
        self.stats.retried += 1
        self.stats.returned += 1
        at = None if not_before is None else str(int(not_before * 1000))
        self.outbox.again(call.delivery, self.identity.queue, attempt=str(call.attempt + 1), not_before=at)

    def give_back(self, delivery: Delivery) -> None:
        """Put a message that was not applied back into its queue, unchanged."""
        self.stats.requeued += 1
        self.stats.returned += 1
        self.outbox.again(delivery, self.identity.queue)

    def bury(self, call: Call, reason: str) -> None:
        """Move the message to the dead-letter queue."""
        if call.orphan:
            self.orphans.finished(call, partial(self.bury, call, reason))
            return
        call.settled = True
        self.stats.dead_lettered += 1
        log.warning("dead-lettered: %s", reason, extra=self.about(call))
        self.outbox.dead_letter(
            call.delivery,
            reason,
            sha=self.identity.sha,
            queue=self.identity.queue,
            request_id=call.request_id,
            operation=call.operation.id if call.operation is not None else None,
            attempt=str(call.attempt),
        )

    def undecodable(self, delivery: Delivery, err: BadMessage) -> None:
        """Answer a message that cannot be decoded, if it says to whom, and keep it for inspection."""
        reply_to = request_id = None
        try:
            props = delivery.properties
            reply_to, request_id = props.reply_to, props.correlation_id
        except BadMessage as worse:
            err = worse
        extra = {"sha": self.identity.sha, "request-id": request_id}
        log.warning("a message cannot be decoded: %s", err, extra=extra)
        if reply_to and request_id:
            try:
                self.send(reply_to, request_id, request_id, None, failure(400, request_id, str(err)))
                self.stats.both += 1
            except BrokerError as failed:
                log.info("its sender cannot be told: %s", failed, extra=extra)
        self.stats.dead_lettered += 1
        self.stats.errors["undecodable"] += 1
        self.outbox.dead_letter(delivery, f"undecodable: {err}", sha=self.identity.sha, queue=self.identity.queue)

    def send(
        self,
        reply_to: str,
        correlation_id: str,
        request_id: str,
        operation: str | None,
        result: Outcome,
        shares: bool = False,
    ) -> None:
        """Publish an answer; `shares`: whoever waits can read large bodies in the shared folder.

        Raises BrokerAway when it cannot go out now, BrokerError when it never can.
        """
        file = None
        if shares and len(result.body) > self.bodies.inline:
            file = self.bodies.keep(result.body)
            if file is not None:
                result = result._replace(body=b"")
        if len(result.body) > outcome.LARGEST_BODY:
            text = f"The answer has {len(result.body)} bytes; the limit is {outcome.LARGEST_BODY}."
            log.error(text, extra={"request-id": request_id, "sha": self.identity.sha, "operation": operation})
            result = failure(500, request_id, text)
        body = answer_bytes(
            request_id,
            result.status,
            result.headers,
            result.body,
            sender=self.identity.runner,
            sha=self.identity.sha,
            operation=operation,
            file=file,
        )
        self._publish(Outgoing(body, reply_to, "", NO_HEADERS, None, correlation_id, None, False, ""))
        self.stats.answered[result.status // 100] += 1

    def about(self, call: Call) -> dict[str, Any]:
        """Return the log fields of a call."""
        operation = call.operation.id if call.operation is not None else None
        return {"request-id": call.request_id, "sha": self.identity.sha, "operation": operation}
