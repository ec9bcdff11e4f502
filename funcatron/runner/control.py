"""The Runner's talk with the Tron: it says what it is and how it fares, and is told which Funcs to serve."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from funcatron import __version__
from funcatron.brokers.base import Broker, Consumer, Delivery, Exchange, Outgoing, Queue
from funcatron.errors import BadMessage, BrokerError, Faults, FuncatronError
from funcatron.message import control, encode, parse
from funcatron.message.topology import DEAD_LETTER, RUNNERS, runner_queue
from funcatron.runner import allotment
from funcatron.runner.allotment import Allotment
from funcatron.runner.deployment import Deployment
from funcatron.runner.outbox import Outbox
from funcatron.runner.teller import TELL, Teller
from funcatron.runner.teller import Fleet as Told

log = logging.getLogger("funcatron.runner.control")

BEAT = 10.0  # between two heartbeats, s
PREFETCH = 64
HASTE = 0.25  # between two `stats` messages at least, s

Message = Mapping[str, Any]


class Fleet(Told, Protocol):
    """The Funcs, as control sees them."""

    def report(self) -> list[dict[str, Any]]:
        """One entry a Func."""

    async def enable(self, deployment: Deployment) -> list[str]:
        """Serve a Func that has been checked; returns its operations. Raises FuncatronError if it cannot."""

    async def disable(self, sha: str, queue: str | None, *, drain: bool) -> bool:
        """Serve it no longer; False if there was none."""

    async def reconcile(self, wanted: list[Deployment]) -> None:
        """Serve what is wanted and nothing else."""

    def allocate(self, wanted: dict[str, Allotment]) -> None:
        """Have so many hosts of each Func, and none of what is not named."""


class Control:
    """Consumes the control queue, and sends `awake`, `heartbeat`, `stats`, `ack` and `died`."""

    def __init__(
        self,
        runner: str,
        broker: Broker,
        outbox: Outbox,
        fleet: Fleet,
        *,
        control_queue: str,
        capacity: Mapping[str, Any],
        on_tron: Callable[[str, int], None],
        on_die: Callable[[], None],
        short: Callable[[], bool] = lambda: False,
    ) -> None:
        self.runner, self.queue = runner, runner_queue(runner)
        self._broker, self._outbox, self._fleet = broker, outbox, fleet
        self._control_queue, self._capacity = control_queue, capacity
        self._on_tron, self._on_die = on_tron, on_die
        self._consumer: Consumer | None = None
        self._teller = Teller(runner, fleet, beat=BEAT, hosts_limit=capacity.get("hosts"), short=short)
        self._news = asyncio.Event()
        self._figures_wanted = False  # until a Tron has said that it takes them
        self._beat: asyncio.Task[None] | None = None
        self._tell: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}  # changes of one queue come in the order of their messages
        self._epochs: dict[str, int] = {}  # the highest that was seen, by the Registry that counts them
        self._actions: dict[str, Callable[[Message], None]] = {
            "tron-info": self._introduced,
            "resend-awake": lambda _: self.awake(),
            "all-bundles": lambda message: self._spawn(self._all_bundles(message)),
            "enable": lambda message: self._spawn(self._in_turn(message, self._enable)),
            "disable": lambda message: self._spawn(self._in_turn(message, self._disable)),
            "allocate": lambda message: self._fleet.allocate(allotment.read(message)),
            "die": self._die,
        }

    async def start(self) -> None:
        """Declare the queues, listen, and say that this Runner is there: now and after every reconnect."""
        for queue in (Queue(self._control_queue), Queue(DEAD_LETTER)):
            await self._broker.declare(queue)
        await self._broker.declare_exchange(Exchange(RUNNERS, "fanout"))
        await self._broker.declare(Queue(self.queue, durable=False, exclusive=True, auto_delete=False))
        await self._broker.bind(self.queue, RUNNERS)
        self._consumer = await self._broker.consume(self.queue, self._receive, prefetch=PREFETCH)
        self._broker.on_change(self._changed)
        self.awake()
        self._beat = asyncio.get_running_loop().create_task(self._beats())
        self._tell = asyncio.get_running_loop().create_task(self._tells())

    async def stop(self) -> None:
        """Listen no more; changes that are under way are given up."""
        self._teller.meet()
        for regular in (self._beat, self._tell):
            if regular is not None:
                regular.cancel()
        if self._consumer is not None:
            await self._consumer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------ what it says

    def awake(self) -> None:
        """Say what this Runner is; the Tron answers with `tron-info` and `all-bundles`."""
        info = {
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "version": __version__,
            "machine": platform.machine(),
            "system": platform.system(),
            "cores": os.cpu_count(),
        }
        facts = {"capacity": dict(self._capacity), "bundles": [func["sha"] for func in self._fleet.report()]}
        self._say(control.awake(self.runner, "runner", host_info=info, reply_to=self.queue, **facts))
        self._teller.start_over()

    def heartbeat(self) -> None:
        """Say how the Funcs fare."""
        self._say(control.heartbeat(self.runner, "runner", funcs=self._fleet.report()))

    def died(self) -> None:
        """Say that this Runner ends, after its last figures."""
        figures = self._teller.last()
        if figures is not None and self._figures_wanted:
            self._say(figures)
        self._say(control.died(self.runner, "runner"))

    def hasten(self) -> None:
        """Something has changed that whoever leads should know sooner than in a second."""
        self._news.set()

    def _ack(self, message: Message, stage: str, *, ok: bool, final: bool, **extra: Any) -> None:
        facts = {"sha": message.get("sha"), "queue": message.get("queue"), **extra}
        known = {name: value for name, value in facts.items() if value is not None}
        self._say(control.ack(self.runner, message["msg-id"], ok=ok, stage=stage, final=final, **known))

    def _say(self, message: Message) -> None:
        action = message["action"]
        try:
            self._broker.publish(Outgoing(encode(message), self._control_queue, headers={"action": action}))
        except BrokerError as err:
            log.info("cannot send %s: %s", action, err)  # after the reconnect comes another awake

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self.heartbeat()

    async def _tells(self) -> None:
        while True:
            await self._until_told()
            try:
                figures = await self._teller.message()
            except Exception:  # a Runner without figures is better than none
                log.exception("the figures of the last second cannot be told")
                self._teller.start_over()
                continue
            if figures is not None and self._figures_wanted:
                self._say(figures)

    async def _until_told(self) -> None:
        """Wait until it is time for the next figures."""
        await asyncio.sleep(min(HASTE, TELL))
        try:
            await asyncio.wait_for(self._news.wait(), max(0.0, TELL - HASTE))
        except TimeoutError:
            return
        self._news.clear()

    def _changed(self, connected: bool) -> None:
        if connected:
            self.awake()

    # ------------------------------------------------------------------ what it is told

    def _receive(self, delivery: Delivery) -> None:
        try:
            message = parse(delivery.body)
            action = self._actions.get(message.action)
            if action is None:
                raise BadMessage(f"The action {message.action} is not for a Runner.")
            if self._of_a_leader(message.fields):
                action(message.fields)
        except BadMessage as err:
            log.warning("a control message is refused: %s", err)
            self._outbox.dead_letter(delivery, f"control message: {err}")
            return
        delivery.ack()

    def _of_a_leader(self, message: Message) -> bool:
        """Tell whether a message is from the Tron that leads, as far as is known: one that was paused, or cut off, may
        not know yet that another leads. Messages without an epoch change nothing here, or are an older Tron's."""
        epoch, registry = message.get("epoch"), message.get("registry", "")
        if epoch is None:
            return True
        highest = self._epochs.get(registry, 0)
        if epoch < highest:
            text = "%s from %s is passed over: its epoch %d is over, %d is the present one"
            log.warning(text, message["action"], message["from"], epoch, highest)
            return False
        self._epochs[registry] = epoch
        return True

    async def _in_turn(self, message: Message, change: Callable[[Message], Coroutine[Any, Any, None]]) -> None:
        key = str(message.get("queue") or message.get("sha"))
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            await change(message)
        if not turn.locked():
            self._turns.pop(key, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a control message could not be followed", exc_info=task.exception())

    def _introduced(self, message: Message) -> None:
        self._tron_info(message)
        wanted = "stats" in message.get("takes", ())
        if wanted and not self._figures_wanted:
            self._teller.start_over()
        self._figures_wanted = wanted

    def _tron_info(self, message: Message) -> None:
        tron = message.get("tron-host")
        if tron:
            self._on_tron(str(tron["host"]), int(tron["port"]))

    def _die(self, message: Message) -> None:
        if message.get("instance-id") == self.runner:
            self._on_die()

    async def _all_bundles(self, message: Message) -> None:
        self._tron_info(message)
        await self._fleet.reconcile([Deployment.read(entry) for entry in message["bundles"]])

    async def _enable(self, message: Message) -> None:
        self._tron_info(message)
        self._ack(message, "loading", ok=True, final=False)
        try:
            operations = await self._fleet.enable(Deployment.read(message))
        except FuncatronError as err:
            errors = list(err.problems) if isinstance(err, Faults) else None
            summary = err.summary if isinstance(err, Faults) else str(err)
            log.warning("cannot enable a Func: %s", err, extra={"sha": message.get("sha")})
            self._ack(message, "failed", ok=False, final=True, error=summary, errors=errors)
            return
        except Exception as err:
            log.exception("enabling a Func failed", extra={"sha": message.get("sha")})
            self._ack(message, "failed", ok=False, final=True, error=f"{type(err).__name__}: {err}")
            return
        self._ack(message, "serving", ok=True, final=True, operations=operations)

    async def _disable(self, message: Message) -> None:
        drain = bool(message.get("drain", True))
        self._ack(message, "draining", ok=True, final=False)
        await self._fleet.disable(str(message["sha"]), message.get("queue"), drain=drain)
        self._ack(message, "retired", ok=True, final=True)
