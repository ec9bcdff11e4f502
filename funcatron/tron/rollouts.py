"""Brings versions of deployments to the Runners, and tells when one is served or has failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from funcatron.brokers.base import Broker
from funcatron.stores.records import Version
from funcatron.tron import queues
from funcatron.tron.loading import Loading, Verdict
from funcatron.tron.outbox import Outbox
from funcatron.tron.peers import Loaded, Peer, Peers
from funcatron.tron.tasks import Tasks, forget, persist

Outcome = Callable[[str, str], Awaitable[None]]
"""Told the deployment's name, and a detail or the error."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`load`: how long Runners may take until one serves a version, s. `tick`: between looks at the time, s."""

    load: float = 120.0
    tick: float = 1.0


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
        self.loading: dict[str, Loading] = {}
        self._on_served = on_served
        self._on_failed = on_failed
        self._versions: dict[str, Version] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    def start(self, name: str, version: Version, *, again: bool) -> None:
        """Begin. `again`: the same queue is served already, with other settings."""
        task = self.tasks.start(self._run(name, version, again), f"deploying {name}")
        if task is not None:
            self._tasks[name] = task
            task.add_done_callback(lambda ended: forget(self._tasks, name, ended))

    async def stop(self, name: str) -> None:
        """Give the attempt up, if there is one; returns once it has ended."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def pause(self) -> None:
        """Give all attempts up: the Registry knows of them."""
        for task in self._tasks.values():
            task.cancel()

    async def ended(self, name: str, limit: float) -> None:
        """Wait until the attempt has ended, or for `limit` seconds."""
        task = self._tasks.get(name)
        if task is not None:
            await asyncio.wait({task}, timeout=limit)
        else:  # it is about to begin
            await asyncio.sleep(min(limit, 0.05))

    def verdict(self, name: str) -> Verdict | None:
        """Return how an attempt stands, if there is one."""
        loading = self.loading.get(name)
        return loading.verdict(self._runner_ids(), self.clock()) if loading is not None else None

    # what Runners are told and say

    def runner_awake(self, runner: Peer, msg_id: str) -> None:
        """Ask a Runner that has come to load what is being loaded."""
        for name, loading in self.loading.items():
            loading.asked |= {msg_id, self.outbox.enable(name, self._versions[name], runner.queue)}
            self._changed[name].set()

    def runner_spoke(self, runner: Peer, queue: str, loaded: Loaded, ack_id: str) -> None:
        """Take what a Runner said into the attempt that it is about."""
        for name, loading in self.loading.items():
            if loading.hear(runner.id, queue, loaded, ack_id):
                self._changed[name].set()

    def runner_gone(self, runner: Peer) -> None:
        """Forget what a Runner said."""
        for name, loading in self.loading.items():
            loading.said.pop(runner.id, None)
            self._changed[name].set()

    # an attempt

    async def _run(self, name: str, version: Version, again: bool) -> None:
        loading = Loading(version.queue(name), self.clock(), self.limits.load, strict=again)
        changed = asyncio.Event()
        self.loading[name], self._versions[name], self._changed[name] = loading, version, changed
        try:
            await persist(lambda: queues.ensure_func_queue(self.broker, loading.queue), f"declaring {loading.queue}")
            loading.asked.add(self.outbox.enable(name, version))
            verdict = await self._verdict(loading, changed)
        finally:
            del self.loading[name], self._versions[name], self._changed[name]
        if verdict.what == "serve":
            await persist(lambda: self._on_served(name, verdict.detail), f"routing {name}")
        else:
            await persist(lambda: self._on_failed(name, verdict.detail), f"ending the deployment of {name}")

    async def _verdict(self, loading: Loading, changed: asyncio.Event) -> Verdict:
        while True:
            changed.clear()
            verdict = loading.verdict(self._runner_ids(), self.clock())
            if verdict.what != "wait":
                return verdict
            try:
                await asyncio.wait_for(changed.wait(), self.limits.tick)
            except TimeoutError:
                continue  # time to look at the clock

    def _runner_ids(self) -> list[str]:
        return [peer.id for peer in self.peers.of("runner")]
