"""What becomes of the messages of a Func that cannot be loaded now."""

from __future__ import annotations

from funcatron.brokers.base import Delivery
from funcatron.errors import BadMessage
from funcatron.message import ServiceMessage
from funcatron.runner.call import Call
from funcatron.runner.outcome import failure
from funcatron.runner.retry import attempt_of
from funcatron.runner.settle import Settler


def refuse(delivery: Delivery, settler: Settler) -> None:
    """Tell who waits to come again later; a message that nobody waits for is tried again."""
    try:
        headers = delivery.properties.headers
        call = Call(None, delivery, ServiceMessage.decode(delivery.body))
    except BadMessage as err:
        settler.undecodable(delivery, err)
        return
    call.attempt = attempt_of(headers)
    detail = "The Func cannot be loaded here; the Runner's log says why."
    settler.fail(call, failure(503, call.request_id, detail, headers=(("Retry-After", "5"),)), "not-loaded")
