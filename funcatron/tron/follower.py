"""How a Tron dispatches that does not lead: by the leader's route table, of which it hears as a Frontend does.

It has a queue of its own at the exchange of what concerns all Frontends, and tells the leader by which table it
dispatches, and how much. Changes may be missed, so it also looks into the Registry: at the start, when the broker was
away, now and then, and before it says that there is no route.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from funcatron.brokers.base import Broker, Consumer, Delivery, Outgoing, Queue
from funcatron.errors import BadMessage, BrokerError, StoreError
from funcatron.message import control, encode, parse, topology
from funcatron.stores.registry import Registry
from funcatron.tron.counters import Counters
from funcatron.tron.estate import routes_of
from funcatron.tron.routes import Route, RouteTable

log = logging.getLogger("funcatron.tron.follower")

PREFETCH = 20
"""Messages of the leader in hand at most."""

BEAT = 10.0
"""Between two heartbeats while nothing changes, s."""

EXPIRY_MS = 10_000
"""What nobody has taken for so long is told anew anyhow, ms."""


class Follower:
    """Keeps a table up to date while another Tron leads.

    use: takes each new table. leads: whether this Tron leads, so that its own table is the newest. facts: what else it
    says of itself, `host_info` among them.
    """

    def __init__(
        self,
        broker: Broker,
        instance: str,
        control_queue: str,
        registry: Registry,
        counters: Counters,
        *,
        use: Callable[[RouteTable], None],
        leads: Callable[[], bool],
        facts: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = topology.tron_queue(instance)
        self.table: RouteTable | None = None  # None: not known yet
        self.leader_url: str | None = None  # as the leader has told it
        self._broker, self._id, self._control_queue = broker, instance, control_queue
        self._registry, self._counters = registry, counters
        self._use, self._leads, self._facts, self._clock = use, leads, facts, clock
        self._consumer: Consumer | None = None
        self._follows = False  # whether a leader may know of this Tron
        self._told: tuple[float, int] = (float("-inf"), -1)  # when, and how many messages it had dispatched
        self._turn = asyncio.Lock()
        self._reads = 0

    # life

    async def start(self) -> None:
        """Listen to the leader, and say that this Tron is there. Raises BrokerError. Idempotent."""
        await self._broker.declare(Queue(self.queue, durable=False, exclusive=True, auto_delete=False))
        await self._broker.bind(self.queue, topology.FRONTENDS)
        if self._consumer is None:
            self._consumer = await self._broker.consume(self.queue, self._take, prefetch=PREFETCH)
        self.awake()

    async def stop(self) -> None:
        """Listen no more, and say that this Tron goes."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        if self._follows:
            self._say(control.heartbeat(self._id, "tron", **self._state()))
            self._say(control.died(self._id, "tron"))
        try:
            await consumer.cancel()
        except BrokerError as err:
            log.info("a consumer could not be cancelled: %s", err)

    # what it says

    def awake(self) -> None:
        """Say what this Tron is, unless it leads; the leader answers with the routes."""
        if self._leads():
            return
        state = self._state()
        info = state.pop("host_info", {})
        self._say(control.awake(self._id, "tron", host_info=info, reply_to=self.queue, **state))

    def tell(self) -> None:
        """Say that this Tron is alive if there is something new, or if that was said long ago; once a second."""
        at, dispatched = self._told
        if self._counters.dispatched != dispatched or self._clock() - at >= BEAT:
            self.heartbeat()

    def heartbeat(self) -> None:
        """Say how this Tron fares, unless it leads: then it is the one to be told."""
        if self._leads():
            return
        self._told = (self._clock(), self._counters.dispatched)
        self._say(control.heartbeat(self._id, "tron", **self._state()))

    def _state(self) -> dict[str, Any]:
        state = {**self._facts, "dispatched": dict(self._counters.queues), "ended": self._counters.ended}
        return state if self.table is None else {**state, "routes-version": self.table.version}

    def _say(self, message: Mapping[str, Any]) -> None:
        action = message["action"]
        self._follows = True
        try:
            self._broker.publish(
                Outgoing(encode(message), self._control_queue, headers={"action": action}, expiration_ms=EXPIRY_MS)
            )
        except BrokerError as err:
            log.info("cannot send %s: %s", action, err)  # after the reconnect comes another awake

    # what it is told

    def _take(self, delivery: Delivery) -> None:
        try:
            message = parse(delivery.body)
        except BadMessage as err:  # all Frontends got it as well, and count it
            log.warning("a message is not understood: %s", err)
        else:
            self._follow(message.action, message.fields)
        delivery.ack()

    def _follow(self, action: str, message: Mapping[str, Any]) -> None:
        if self._leads() or message["from"] == self._id:
            return
        if action == "route":
            self._told_routes(message)
        elif action == "tron-info":
            self.leader_url = message.get("url")
        elif action == "resend-awake":
            self.awake()

    def _told_routes(self, message: Mapping[str, Any]) -> None:
        """Take a table, unless this one is as new, or newer: a leader that was paused does not know of that."""
        routes = [Route.of_json(one) for one in message["routes"]]
        table = RouteTable(routes, message.get("routes-version", 0), str(message.get("epoch", "")))
        mine = self.table
        if mine is None or table.epoch != mine.epoch or table.version > mine.version:
            self._adopt(table)

    def _adopt(self, table: RouteTable) -> None:
        log.info("route table %d with %d routes", table.version, len(table))
        self.table = table
        self._use(table)
        self.heartbeat()  # drains wait for that

    def led(self, table: RouteTable) -> None:
        """Note the table that this Tron made itself as the leader."""
        self.table, self.leader_url, self._follows = table, None, False

    # what it looks up

    async def look(self) -> None:
        """Read the table from the Registry, unless it is known to be the newest. Raises StoreError.

        Who calls while another reads waits for one reading that begins after the call, and shares it with others.
        """
        called = self._reads
        async with self._turn:
            if self._reads > called or self._leads():
                return
            self._reads += 1
            await self._read()

    async def renew(self) -> None:
        """Look, if that can be done."""
        try:
            await self.look()
        except StoreError as err:
            log.debug("the route table cannot be looked up: %s", err)

    async def _read(self) -> None:
        mine = self.table
        # the version first: what changes in between is in the table, and comes again with its own version
        epoch, version = await self._registry.routes_state()
        if mine is not None and (epoch, version) == (mine.epoch, mine.version):
            return
        table = RouteTable(routes_of(await self._registry.deployments()), version, epoch)
        if self.table is mine and not self._leads():  # nothing was told meanwhile
            self._adopt(table)
