"""The hot path: what happens to each message of one Func, and to each answer of its hosts.

Everything is a plain call on the event loop: no task and no timer a message. Order of the checks: deadline, route,
credentials, arguments; a caller who must be authorized learns what is wrong with the arguments only after that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from funcatron.brokers.base import Delivery
from funcatron.errors import BadMessage, HostError
from funcatron.message import ServiceMessage
from funcatron.runner import outcome, retry
from funcatron.runner.call import Call
from funcatron.runner.deadlines import Deadlines
from funcatron.runner.outcome import Outcome, failure
from funcatron.runner.pool import Pool
from funcatron.runner.retry import ATTEMPT, NOT_BEFORE, Step
from funcatron.runner.settle import Settler
from funcatron.spec import (
    Api,
    BadRequest,
    Match,
    MethodNotAllowed,
    NoSuchPath,
    Operation,
    Redirect,
    Request,
    conformance_detail,
)

if TYPE_CHECKING:
    from funcatron.hosts import Answer

log = logging.getLogger("funcatron.runner.service")

MARGIN = 0.001  # a message so little early is on time, s
LARGE = 16 * 1024  # bytes of a message that is not decoded in vain

Hold = Callable[[Delivery, float], None]


class Service:
    """Applies one Func to its messages."""

    def __init__(
        self,
        api: Api,
        pool: Pool,
        settler: Settler,
        deadlines: Deadlines,
        *,
        timeout: float,
        validation: str | float | None,
        hold: Hold,
    ) -> None:
        self.api, self.pool, self.settler, self.deadlines = api, pool, settler, deadlines
        self.stats, self.orphans = settler.stats, settler.orphans
        self.timeout, self.validation = timeout, validation
        self._hold = hold  # keeps a message that is early for so many seconds

    # ------------------------------------------------------------------ a message comes

    def receive(self, delivery: Delivery) -> None:
        """Take one message: decide at once, or hand it to a host."""
        now = time.time()
        try:
            if len(delivery.body) > LARGE and self._late(delivery, now):
                return
            message = ServiceMessage.decode(delivery.body)
            call = Call(self, delivery, message)
            if message.deadline is not None:
                deadline: float | None = message.deadline / 1000
            else:
                deadline = _seconds(delivery.properties.headers.get("deadline"))
            if deadline is not None and deadline <= now:
                self._discard(delivery)
                return
            if delivery.may_have(ATTEMPT) and self._early(call, delivery, now):  # few: not worth decoding the headers
                return
        except BadMessage as err:
            self.settler.undecodable(delivery, err)
            return
        if message.bodies is not None and not self._share(call, message):
            return
        if delivery.redelivered:
            if self.orphans.adopt(delivery):
                return
            call.suspect = not self.orphans.unapplied(delivery)
        try:
            self._apply(call, message, now, deadline)
        except Exception:  # noqa: BLE001 logged there; whatever it is, the caller must get an answer
            self._blunder(call)

    def _early(self, call: Call, delivery: Delivery, now: float) -> bool:
        """Take the headers of a message that was tried before; True: it is held until its time has come."""
        headers = delivery.properties.headers
        call.attempt = retry.attempt_of(headers)
        early = (_seconds(headers.get(NOT_BEFORE)) or now) - now
        if early <= MARGIN:
            return False
        self._hold(delivery, early)
        return True

    def _share(self, call: Call, message: ServiceMessage) -> bool:
        """Note whether who waits shares a folder with this Runner, and read a body that lies there; False: it cannot
        be had, and the message is settled."""
        call.shares = message.bodies == self.settler.bodies.id
        file = message.body_file
        if file is None:
            return True
        try:
            message.body = self.settler.bodies.read(file, message.bodies)
        except FileNotFoundError:  # the Frontend removes it with the request
            self._discard(call.delivery)
            return False
        except BadMessage as err:
            self.settler.reply(call, failure(502, call.request_id, str(err)))
            return False
        except OSError as err:
            log.error("a request's body cannot be read: %s", err, extra=self.settler.about(call))
            self.settler.reply(call, failure(502, call.request_id, "The request's body cannot be read."))
            return False
        return True

    def _late(self, delivery: Delivery, now: float) -> bool:
        """Drop a message whose header says already that nobody waits for it, before its large body is decoded."""
        deadline = _seconds(delivery.properties.headers.get("deadline"))
        if deadline is None or deadline > now:
            return False
        self._discard(delivery)
        return True

    def _apply(self, call: Call, message: ServiceMessage, now: float, deadline: float | None) -> None:
        match = self._match(call, message)
        if match is None:
            return
        operation = call.operation = match.operation
        if operation is None:
            self.settler.reply(call, outcome.options(match.allow))
            return
        if call.suspect and self._redelivered(call):
            return
        call.deadline = now + (operation.timeout or self.timeout)
        if deadline is not None and deadline < call.deadline:
            call.deadline = deadline
            call.limit = "the request's deadline"
        if operation.concurrency is not None and operation.concurrency < self.pool.slots:
            call.lane = operation.concurrency
        if self._prepare(call, message, operation, match.path_params):
            self.deadlines.add(call)
            self.pool.submit(call)
            self.stats.handed(call, now, message.raw.get("at"))

    def _match(self, call: Call, message: ServiceMessage) -> Match | None:
        """Find the Operation; None: there is none, and the caller knows."""
        try:
            return self.api.match(call.method, message.path)
        except Redirect as err:
            self.settler.reject(call, outcome.redirect(err.location, message.query, call.request_id))
        except NoSuchPath:
            self.settler.reject(call, failure(404, call.request_id, "This Func has no such path."))
        except MethodNotAllowed as err:
            self.settler.reject(call, outcome.not_allowed(err.allow, call.request_id))
        return None

    def _prepare(
        self, call: Call, message: ServiceMessage, operation: Operation, path_params: Mapping[str, str]
    ) -> bool:
        """Bind the arguments and make the host's frame of them; False: they are wrong, and the caller knows."""
        request = Request(call.method, message.path, message.query, message.headers, message.body)
        plan = operation.credentials(request)
        frame: dict[str, Any] = {"operation": operation.id}
        try:
            arguments = operation.bind(request, path_params)
        except BadRequest as err:
            if plan is None:
                self.settler.reject(call, _bad(err, call.request_id))
                return False
            call.rejection = err
        else:
            frame["params"] = arguments.params
            frame["body-kind"] = kind = arguments.body_kind
            frame["body-name"] = arguments.body_name
            if arguments.files:
                frame["files"], call.payload = _files(arguments.files)
            else:
                call.payload = request.body
            if kind == "form" or (kind in ("json", "text") and not arguments.verbatim):
                frame["body"] = arguments.body
        if plan is not None:
            frame["security"] = plan
        call.frame = frame
        call.context = {
            "request-id": call.request_id,
            "deadline": int(call.deadline * 1000),
            "method": call.method,
            "path": message.path,
            "host": message.host,
            "scheme": message.scheme,
            "remote-addr": message.remote_addr,
            "headers": message.headers,
            "query": message.query,
            "route": operation.path,
            "path-params": path_params,
        }
        return True

    def _redelivered(self, call: Call) -> bool:
        """Deal with a message that may have been applied already; False: apply it."""
        waited_for = call.reply_to is not None
        step = retry.on_redelivery(attempt=call.attempt, may_repeat=call.may_repeat, waited_for=waited_for)
        if step is Step.AGAIN:
            self.settler.again(call)
            return True
        self.stats.errors["runner-died"] += 1
        if waited_for:
            detail = "A Runner ended while it served this request; whether the Func was applied is not known."
            self.settler.reply(call, failure(502, call.request_id, detail))
        else:
            self.settler.bury(call, "runner-died")
        return True

    def _discard(self, delivery: Delivery) -> None:
        """Nobody waits for it any more."""
        self.stats.discarded += 1
        self.stats.errors["expired"] += 1
        delivery.ack()

    # ------------------------------------------------------------------ an answer comes

    def answered(self, call: Call, answer: Answer) -> None:
        """The host has answered."""
        self.deadlines.discard(call)
        self.stats.calls += 1
        self.stats.services.append(time.monotonic() - call.started)
        try:
            self._judge(call, answer)
        except Exception:  # noqa: BLE001 as above
            self._blunder(call)

    def _judge(self, call: Call, answer: Answer) -> None:
        settler = self.settler
        if answer.failed:
            settler.fail(call, failure(500, call.request_id), "failed")
            return
        if call.rejection is not None and answer.authorized:
            settler.reject(call, _bad(call.rejection, call.request_id))
            return
        headers: Any = answer.headers  # pairs are as good as tuples
        body: Any = answer.body  # a large one is a bytearray, which serves as well as bytes, and is not copied
        result = Outcome(answer.status, headers, body)
        if not 200 <= result.status <= 599:
            log.error("the Func's status is %s, which no answer can have", result.status, extra=settler.about(call))
            settler.fail(call, failure(500, call.request_id), "failed")
            return
        operation = call.operation
        if operation is not None:
            wanted = operation.validate_responses if self.validation is None else self.validation
            if wanted != "off":
                fault = self._check(call, operation, result, wanted)
                if fault is not None:
                    settler.fail(call, failure(500, call.request_id, fault), "failed")
                    return
        if call.reply_to is None and result.status >= 500:
            settler.fail(call, result, f"status-{result.status}")
        elif call.reply_to is None and result.status in (401, 403) and "security" in call.frame:
            settler.bury(call, f"status-{result.status}")
        else:
            settler.reply(call, result)

    def _check(self, call: Call, operation: Operation, result: Outcome, wanted: str | float) -> str | None:
        """Check an answer; what is wrong is logged. Returns why it may not go out."""
        faults = outcome.faults(operation, result, wanted)
        if not faults:
            return None
        log.warning("an answer does not follow the spec", extra={**self.settler.about(call), "faults": faults})
        return conformance_detail(faults) if wanted == "strict" else None

    def died(self, call: Call) -> None:
        """The call's host died, and the call does not run again."""
        self.deadlines.discard(call)
        self.stats.services.append(time.monotonic() - call.started)
        end = ", twice." if call.tries > 1 else "; whether the Func was applied is not known."
        detail = "The Func's host ended while it served this request" + end
        self.settler.fail(call, failure(502, call.request_id, detail), "host-died")

    def no_host(self, call: Call, why: str) -> None:
        """There is no host that could take the call."""
        self.deadlines.discard(call)
        log.warning("no host can take a call: %s", why, extra=self.settler.about(call))
        detail = "The hosts of this Func end again and again; its log says why."
        self.settler.fail(call, failure(502, call.request_id, detail, headers=(("Retry-After", "5"),)), "no-host")

    def unsendable(self, call: Call, err: HostError) -> None:
        """The request does not fit into a frame."""
        self.deadlines.discard(call)
        self.settler.reject(call, failure(413, call.request_id, f"The request is too large for a Func: {err}."))

    def timed_out(self, call: Call) -> None:
        """The call's deadline has passed."""
        self.stats.timed_out += 1
        if call.seat is not None:
            self.stats.services.append(time.monotonic() - call.started)
        operation = call.operation
        limit = call.limit
        if not limit and operation is not None:
            limit = f"the Func's time-out of {operation.timeout or self.timeout:g} s"
        where = "at its host" if call.seat is not None else "waiting for a host"
        log.warning("over its time: %s, %s", limit, where, extra=self.settler.about(call))
        self.settler.fail(call, failure(504, call.request_id, f"No answer within {limit}."), "timed-out")

    def _blunder(self, call: Call) -> None:
        """This code failed on a message: the caller must not pay with a wait."""
        log.exception("the Runner failed on a message", extra=self.settler.about(call))
        self.deadlines.discard(call)
        if not call.settled:
            self.settler.fail(call, failure(500, call.request_id), "runner-failed")


def _bad(err: BadRequest, request_id: str) -> Outcome:
    return failure(err.status, request_id, err.detail, title=err.title, errors=err.errors)


def _files(parts: list[Any]) -> tuple[list[dict[str, Any]], bytes]:
    """Describe uploaded files for the host; their bytes stand one after the other in the frame's body."""
    described: list[dict[str, Any]] = []
    offset = 0
    for part in parts:
        described.append(
            {
                "name": part.name,
                "filename": part.filename,
                "content-type": part.content_type,
                "many": part.many,
                "offset": offset,
                "length": len(part.data),
            }
        )
        offset += len(part.data)
    return described, b"".join([part.data for part in parts])


def _seconds(milliseconds: str | None) -> float | None:
    """Read a header of milliseconds; None if it is no number, or not there."""
    if milliseconds is None:
        return None
    try:
        return int(milliseconds) / 1000
    except ValueError:
        return None
