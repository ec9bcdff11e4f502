"""Brings versions of deployments to the Runners, and tells when one is served or has failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from funcatron.brokers.base import Broker
from funcatron.stores.records import Version
from funcatron.tron import queues
from funcatron.tron.loading import Loading, Verdict
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Loaded, Peer, Peers
from funcatron.tron.tasks import Tasks, forget, persist

Outcome = Callable[[str, Version, str], Awaitable[None]]
"""Told the deployment's name, the version, and a detail or the error."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`load`: how long Runners may take until one serves a version, s. `tick`: between looks at the time, s."""

    load: float = 120.0
    tick: float = 1.0


@dataclass(slots=True)
class Attempt:
    """A version that is on its way into service."""

    version: Version
    loading: Loading
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Rollouts:
    """One attempt at a time for each deployment."""

    def __init__(
        self,
        broker: Broker,
        outbox: Outbox,
        peers: Peers,
        tasks: Tasks,
        *,
        on_served: Outcome,
        on_failed: Outcome,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.broker = broker
        self.outbox = outbox
        self.peers = peers
        self.tasks = tasks
        self.limits = limits
        self.clock = clock
        self.attempts: dict[str, Attempt] = {}
        self._on_served = on_served
        self._on_failed = on_failed
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    @property
    def loading(self) -> dict[str, Loading]:
        """What is known of each attempt."""
        return {name: attempt.loading for name, attempt in self.attempts.items()}

    def start(self, name: str, version: Version, *, again: bool, limit: float | None = None) -> None:
        """Begin, in place of another attempt if there is one. `again`: the same queue is served already, with other
        settings. `limit`: how long it may take, s."""
        loading = Loading(version.queue(name), self.clock(), limit or self.limits.load, strict=again)
        attempt = self.attempts[name] = Attempt(version, loading)
        before = self._tasks.pop(name, None)
        if before is not None:
            before.cancel()
        task = self.tasks.start(self._run(name, attempt), f"deploying {name}")
        if task is not None:
            self._tasks[name] = task
            task.add_done_callback(lambda ended: forget(self._tasks, name, ended))

    def running(self, name: str, version: Version) -> bool:
        """Tell whether this version of a deployment is being brought into service."""
        attempt = self.attempts.get(name)
        return attempt is not None and attempt.version == version

    async def stop(self, name: str) -> None:
        """Give the attempt up, if there is one; returns once it has ended."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self.attempts.pop(name, None)  # also of a task that had not begun

    def pause(self) -> None:
        """Give all attempts up: the Registry knows of them."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self.attempts.clear()

    def verdict(self, name: str) -> Verdict | None:
        """Return how an attempt stands, if there is one."""
        attempt = self.attempts.get(name)
        return attempt.loading.verdict(self._runner_ids(), self.clock()) if attempt is not None else None

    # what Runners are told and say

    def runner_awake(self, runner: Peer, msg_id: str) -> None:
        """Ask a Runner that has come to load what is being loaded."""
        for name, attempt in self.attempts.items():
            attempt.loading.asked |= {msg_id, self.outbox.enable(name, attempt.version, runner.queue)}
            attempt.changed.set()

    def runner_spoke(self, runner: Peer, queue: str, loaded: Loaded, ack_id: str) -> None:
        """Take what a Runner said into the attempt that it is about."""
        for attempt in self.attempts.values():
            if attempt.loading.hear(runner.id, queue, loaded, ack_id):
                attempt.changed.set()

    def runner_gone(self, runner: Peer) -> None:
        """Forget what a Runner said."""
        for attempt in self.attempts.values():
            attempt.loading.said.pop(runner.id, None)
            attempt.changed.set()

    # an attempt

    async def _run(self, name: str, attempt: Attempt) -> None:
        loading, version = attempt.loading, attempt.version
        try:
            await persist(lambda: queues.ensure_func_queue(self.broker, loading.queue), f"declaring {loading.queue}")
            loading.asked.add(self.outbox.enable(name, version))
            verdict = await self._verdict(attempt)
            if verdict.what == "serve":
                await persist(lambda: self._on_served(name, version, verdict.detail), f"routing {name}")
            else:
                await persist(
                    lambda: self._on_failed(name, version, verdict.detail), f"ending the deployment of {name}"
                )
        finally:
            if self.attempts.get(name) is attempt:
                del self.attempts[name]

    async def _verdict(self, attempt: Attempt) -> Verdict:
        while True:
            attempt.changed.clear()
            verdict = attempt.loading.verdict(self._runner_ids(), self.clock())
            if verdict.what != "wait":
                return verdict
            try:
                await asyncio.wait_for(attempt.changed.wait(), self.limits.tick)
            except TimeoutError:
                continue  # time to look at the clock

    def _runner_ids(self) -> list[str]:
        return [peer.id for peer in self.peers.of("runner")]
