"""Dispatch: moves each message of the firehose to the func queue of its host and path.

The broker forwards without decoding what `route` can place by the routing key; the rest comes to `rest`: messages that
nobody takes, that came back from a func queue that is gone, or that a foreign front end wrote.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson

from funcatron import problem
from funcatron.brokers.base import Broker, Consumer, Delivery, Outgoing, Properties
from funcatron.brokers.forwarding import Forwarding, Target
from funcatron.errors import BadMessage, BrokerAway, BrokerError
from funcatron.message import topology
from funcatron.tron import queues
from funcatron.tron.counters import Counters
from funcatron.tron.deadletters import DeadLetters
from funcatron.tron.outbox import Outbox
from funcatron.tron.routes import Route, RouteTable, choose, plain_host
from funcatron.tron.tasks import Tasks

log = logging.getLogger("funcatron.tron.dispatch")

PREFETCH = 500
"""Messages of the firehose that are on their way through this Tron at most."""


LIMITED = 30.0
"""So long it holds that a func queue is too deep, unless the leader says so again, s."""


class Dispatcher:
    """Dispatches by the table that it was given last."""

    def __init__(
        self, broker: Broker, outbox: Outbox, dead_letters: DeadLetters, counters: Counters, tasks: Tasks
    ) -> None:
        self.broker = broker
        self.outbox = outbox
        self.dead_letters = dead_letters
        self.counters = counters
        self.tasks = tasks
        self._sure: Callable[[], bool] = lambda: True
        self._renew: Callable[[], Awaitable[None]] | None = None
        self.use(RouteTable())

    def doubt(self, sure: Callable[[], bool], renew: Callable[[], Awaitable[None]]) -> None:
        """Ask `sure`, before a message that no route takes is refused or a queue that is gone is made, whether the
        table is the newest, and `renew` it if not: who does not lead hears of changes a little later, and a Tron that
        was paused much later."""
        self._sure, self._renew = sure, renew

    def use(self, table: RouteTable) -> None:
        """Dispatch by `table` from now on."""
        self.table = table
        queues_ = [queue for route in table.ordered for queue in route.queues if queue not in table.limited]
        self._targets = {queue: Target("", queue, topology.FUNCS) for queue in queues_}
        self._limited_until = time.monotonic() + LIMITED

    async def start(self) -> Consumer:
        """Begin to take from the firehose."""
        if isinstance(self.broker, Forwarding):
            return await self.broker.forward(topology.FIREHOSE, self.route, self.rest, prefetch=PREFETCH)
        return await self.broker.consume(topology.FIREHOSE, self.rest, prefetch=PREFETCH)

    def route(self, key: str, headers: Callable[[], Mapping[str, str]]) -> Target | None:
        """Say where a message goes, or None if that takes more than its key and headers."""
        slash = key.find("/")
        if slash < 0:
            if key != topology.FIREHOSE:
                return None  # came back from a func queue, or is from a foreign front end
            found = headers()
            path = found.get("path")
            if path is None:
                return None
            route = self.table.find(plain_host(found.get("host")), path)
        elif len(key) >= topology.MAX_KEY or not key.isascii():  # may have been cut
            found = headers()
            route = self.table.find(plain_host(found.get("host")), found.get("path", key[slash:]))
        else:
            route = self.table.find(key[:slash], key[slash:])
        if route is None:
            return None
        queue = route.queue
        if route.split:
            request_id = None if route.sticky else headers().get("request-id")
            if request_id is None:
                return None  # its key is elsewhere in the message
            queue = choose(route, request_id)
        target = self._targets.get(queue)
        if target is not None:
            self.counters.queues[queue] += 1
        return target

    def rest(self, delivery: Delivery) -> None:
        """Settle a message that was not forwarded. Never raises for what is in the message."""
        try:
            properties = delivery.properties
        except BadMessage as err:
            self._dead(delivery, f"cannot be decoded: {err}")
            return
        if _expired(properties.headers):
            self.counters.expired += 1
            delivery.ack()
            return
        try:
            host, path = _address(delivery)
        except BadMessage as err:
            self.counters.undecodable += 1
            self._refuse(delivery, properties, 400, f"cannot be decoded: {err}")
            return
        route = self.table.find(host, path)
        if (route is None or delivery.routing_key in route.queues) and self._renew is not None and not self._sure():
            self.tasks.start(self._place_anew(delivery, properties, host, path, self._renew), "looking for a route")
            return
        self._place(delivery, properties, host, path)

    async def _place_anew(
        self, delivery: Delivery, properties: Properties, host: str, path: str, renew: Callable[[], Awaitable[None]]
    ) -> None:
        await renew()
        self._place(delivery, properties, host, path)

    def _place(self, delivery: Delivery, properties: Properties, host: str, path: str) -> None:
        route = self.table.find(host, path)
        if route is None:
            self.counters.unrouted += 1
            self._unrouted(delivery, properties, host, path)
            return
        if route.split:
            route = route.to(choose(route, _key(route, delivery)))
        seconds = self.table.limited.get(route.queue)
        if seconds is not None and properties.reply_to and time.monotonic() < self._limited_until:
            self._full(delivery, properties, route, seconds)
            return
        self._forward(delivery, properties, route)

    def _forward(self, delivery: Delivery, properties: Properties, route: Route) -> None:
        came_back = delivery.routing_key == route.queue
        self.counters.queues[route.queue] += 1
        if came_back or not properties.reply_to:
            self.tasks.start(self._forward_confirmed(delivery, properties, route, came_back), "forwarding a message")
            return
        try:
            self.broker.publish(_copy(delivery, properties, route))
        except BrokerAway:
            return  # delivered again once it is back
        delivery.ack()

    async def _forward_confirmed(
        self, delivery: Delivery, properties: Properties, route: Route, came_back: bool
    ) -> None:
        try:
            if came_back:  # the queue that the table names is not there: somebody deleted it
                await queues.ensure_func_queue(self.broker, route.queue)
                self.counters.restored_queues += 1
                log.warning("the queue %s was gone and is there again", route.queue, extra={"sha": route.sha})
            await self.broker.publish_confirmed(_copy(delivery, properties, route))
        except BrokerAway:
            return
        except BrokerError as err:
            log.error("cannot forward to %s: %s", route.queue, err)
            self._refuse(delivery, properties, 503, f"the broker refused it: {err}")
            return
        delivery.ack()

    def _full(self, delivery: Delivery, properties: Properties, route: Route, seconds: int) -> None:
        """Too many wait for the Func already: its answer would come too late."""
        self.counters.limited += 1
        detail = f"Too many requests wait for {route.name}; come again in {seconds} s."
        try:
            self._answer(properties, 503, detail, (("retry-after", str(seconds)),))
        except BrokerAway:
            delivery.nack(requeue=True)  # does nothing where the connection is lost
        except BrokerError as err:
            self._dead(delivery, f"cannot be answered: {err}")
        else:
            delivery.ack()

    def _unrouted(self, delivery: Delivery, properties: Properties, host: str, path: str) -> None:
        if not properties.reply_to:
            self._dead(delivery, f"no Func serves {host or 'any host'}{path}")
            return
        try:
            self._answer(properties, 404, f"No Func serves {path}" + (f" on {host}." if host else "."))
        except BrokerAway:
            delivery.nack(requeue=True)  # does nothing where the connection is lost
        except BrokerError as err:
            self._dead(delivery, f"cannot be answered: {err}")
        else:
            delivery.ack()

    def _refuse(self, delivery: Delivery, properties: Properties, status: int, reason: str) -> None:
        """Tell who waits, if anybody does, and keep the message for people to look at."""
        if properties.reply_to:
            try:
                self._answer(properties, status, f"The message {reason}.")
            except BrokerError as err:
                log.info("its sender cannot be told: %s", err)
        self._dead(delivery, reason)

    def _answer(
        self, properties: Properties, status: int, detail: str, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        request_id = properties.correlation_id or properties.headers.get("request-id", "")
        body = problem.problem(status, detail=detail, request_id=request_id)
        self.outbox.answer(properties.reply_to or "", request_id, status, body, headers)

    def _dead(self, delivery: Delivery, reason: str) -> None:
        self.tasks.start(self.dead_letters.put(delivery, reason), "dead-lettering a message")


def _copy(delivery: Delivery, properties: Properties, route: Route) -> Outgoing:
    return Outgoing(
        delivery.body,
        routing_key=route.queue,
        exchange=topology.FUNCS,
        headers=properties.headers,
        reply_to=properties.reply_to,
        correlation_id=properties.correlation_id,
        expiration_ms=properties.expiration_ms,
        persistent=properties.persistent,
        content_type=properties.content_type or "application/json",
    )


def _expired(headers: Mapping[str, str]) -> bool:
    deadline = str(headers.get("deadline", ""))
    return deadline.isdecimal() and int(deadline) < time.time() * 1000


def _key(route: Route, delivery: Delivery) -> str:
    """Return the key by which a split deals a message out: the header that the route names, else the request id."""
    if route.sticky:
        found = _header(delivery.body, route.sticky)
        if found is not None:
            return found
    properties = delivery.properties
    return properties.correlation_id or str(properties.headers.get("request-id", ""))


def _header(body: bytes, name: str) -> str | None:
    """Return a header of a request, the first where it was repeated; None if there is none, or the body cannot be
    read, which is for the Runner to tell."""
    try:
        headers = _decode(body).get("headers")
    except BadMessage:
        return None
    if not isinstance(headers, dict):
        return None
    value = headers.get(name)
    if value is None:  # a foreign front end may write names in any case
        value = next((given for other, given in headers.items() if other.lower() == name), None)
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else str(value)


def _address(delivery: Delivery) -> tuple[str, str]:
    """Return host and path by the routing key, else by the headers, else by the body. Raises BadMessage."""
    headers = delivery.properties.headers
    path = headers.get("path")
    if path is not None:
        return plain_host(headers.get("host")), str(path)
    key = delivery.routing_key
    slash = key.find("/")
    if slash >= 0 and len(key.encode(errors="replace")) < topology.MAX_KEY:
        return key[:slash], key[slash:]
    return _address_in(_decode(delivery.body))


def _address_in(message: dict[str, Any]) -> tuple[str, str]:
    action = message.get("action", "service")
    if action != "service":
        raise BadMessage(f"the firehose takes no action {action!r}")
    path = message.get("uri") or str(message.get("request-uri") or "").split("?", 1)[0]
    if not isinstance(path, str) or not path.startswith("/"):
        raise BadMessage("it names no path (uri or request-uri)")
    host = message.get("host")
    return plain_host(host if isinstance(host, str) else None), path


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise BadMessage(f"its body is not JSON: {err}") from err
    if not isinstance(message, dict):
        raise BadMessage("its body is not a JSON object")
    return message
