"""A scaler on played figures: a clock that the test moves, Runners that the test speaks for, a substrate of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from funcatron.brokers.base import Depth
from funcatron.errors import NotLeader, SubstrateAway
from funcatron.message import control as messages
from funcatron.message import validate
from funcatron.message.topology import FIREHOSE
from funcatron.settings import Settings
from funcatron.stores.records import Deployment, Version
from funcatron.stores.registry import Registry
from funcatron.substrates.base import Drains, Instance, Machine, Outcome, Result, State, Usage, View
from funcatron.tron.counters import Counters
from funcatron.tron.peers import Peer, Peers
from funcatron.tron.plane import ControlPlane
from funcatron.tron.scaler import SETTLE, Scaler
from funcatron.tron.statistics import Statistics
from funcatron.tron.tasks import Tasks

MIB = 2**20
GIB = 2**30


def sha_of(name: str) -> str:
    """A SHA for a name."""
    return (name.encode().hex() * 64)[:64]


class PlayedSubstrate(Drains, Usage):
    """Does at once what it is asked; `away` and `deposed` are what it raises instead."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.there: dict[str, list[Instance]] = {"runner": [], "tron": []}
        self.asked: list[tuple[Any, ...]] = []
        self.away = self.deposed = False
        self.opened = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.opened -= 1

    async def look(self, component: str) -> View:
        self._check()
        there = self.there[component]
        return View(component, sum(it.state != State.DRAINING for it in there), tuple(there))

    async def scale(self, component: str, instances: int, epoch: int) -> Outcome:
        self._check()
        self.asked.append(("scale", component, instances, epoch))
        there = self.there[component]
        while len(there) < instances:
            self.counts[component] += 1
            there.append(Instance(f"{component}-x{self.counts[component]}", State.RUNNING, 0.0))
        del there[instances:]
        return Outcome(Result.TAKEN)

    async def explain(self, component: str) -> tuple[str, ...]:
        return ()

    async def drain(self, component: str, instance: str, epoch: int) -> Outcome:
        self._check()
        self.asked.append(("drain", component, instance, epoch))
        there = self.there[component]
        there[:] = [replace(it, state=State.DRAINING) if it.id == instance else it for it in there]
        return Outcome(Result.TAKEN)

    async def usage(self, component: str) -> Mapping[str, Any]:
        return {}

    async def machines(self) -> Mapping[str, Machine]:
        return {"m1": Machine(4.0, 0.0, 16 * GIB, 8 * GIB)}

    def state(self, instance: str, state: State) -> None:
        """Let an instance be in a state."""
        there = self.there["runner"]
        there[:] = [replace(it, state=state) if it.id == instance else it for it in there]

    def gone(self, instance: str) -> None:
        """Let an instance have ended."""
        self.there["runner"] = [it for it in self.there["runner"] if it.id != instance]

    def _check(self) -> None:
        if self.away:
            raise SubstrateAway("nobody knows")
        if self.deposed:
            raise NotLeader("another leads")


class Told:
    """What Runners were told: an outbox that keeps it."""

    def __init__(self) -> None:
        self.allocations: list[tuple[str, dict[str, Any]]] = []
        self.dying: list[str] = []

    def allocate(self, funcs: Any, to: str) -> None:
        message = messages.allocate("tron", funcs, epoch=7)
        validate("allocate", message)
        shares = {one["queue"]: (one["instances"], one.get("waker", False)) for one in message["funcs"]}
        self.allocations.append((to.removeprefix("funcatron.runner."), shares))

    def die(self, instance: str, to: str) -> None:
        self.dying.append(instance)

    def last(self, runner: str) -> dict[str, Any] | None:
        """What a Runner was told last."""
        return next((shares for name, shares in reversed(self.allocations) if name == runner), None)


@dataclass
class Played:
    """A Runner, as the test has it speak."""

    id: str
    pid: int = 1
    seq: int = 0
    hosts_limit: int = 64
    machine: str = "m1"
    short: bool = False
    arrivals: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    funcs: dict[str, dict[str, Any]] = field(default_factory=dict)


class Stage:
    """Everything around a scaler."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.now = 1000.0
        self.settings = Settings(data=tmp_path, broker="memory", **settings)
        self.root = Registry(f"sqlite:///{tmp_path / 'registry.db'}")
        self.substrate = PlayedSubstrate()
        self.runners: dict[str, Played] = {}
        self.versions: dict[str, Version] = {}
        self.all: dict[str, Deployment] = {}
        self.draining: dict[str, Any] = {}
        self.depths: dict[str, Depth | None] = {}
        self.limits: list[dict[str, int]] = []

    async def open(self) -> None:
        await self.root.open()
        lease = await self.root.acquire("tron", "http://tron")
        assert lease is not None
        self.registry = self.root.under(lease.epoch)
        self.lead()

    async def close(self) -> None:
        await self.tasks.stop()
        await self.root.close()

    def lead(self) -> None:
        """Begin a leadership: nothing is known."""
        self.peers, self.outbox, self.tasks = Peers(), Told(), Tasks()
        self.statistics = Statistics(clock=lambda: self.now)
        self.control = SimpleNamespace(depths=None, on_brief=None, on_stats=None, statistics=self.statistics)
        estate = SimpleNamespace(limit=lambda limits: self.limits.append(dict(limits)))
        deployments = SimpleNamespace(bundles=self.bundles, all=self.all, draining=self.draining, estate=estate)
        base = SimpleNamespace(settings=self.settings, counters=Counters())
        plane = SimpleNamespace(
            base=base,
            epoch=7,
            peers=self.peers,
            outbox=self.outbox,
            tasks=self.tasks,
            registry=self.registry,
            statistics=self.statistics,
            control=self.control,
            deployments=deployments,
        )
        self.scaler = Scaler(cast(ControlPlane, plane), self.substrate, clock=lambda: self.now)
        self.scaler.listen()

    def bundles(self) -> list[tuple[str, Version]]:
        return list(self.versions.items())

    def deploy(self, name: str, **settings: Any) -> str:
        """Have a Func served; returns its queue."""
        self.versions[name] = version = Version(sha_of(name), None, f"/{name}", settings=settings)
        queue = version.queue(name)
        self.depths[queue] = Depth(0, 0)
        return queue

    def runner(self, name: str, **more: Any) -> Played:
        """Let a Runner be there."""
        self.runners[name] = made = Played(name, **more)
        self.meet(made)
        return made

    def meet(self, runner: Played) -> Peer:
        """Let a Runner say that it is awake."""
        peer, _ = self.peers.seen("runner", runner.id, self.now, info={"hostname": runner.machine, "pid": runner.pid})
        self.scaler.met(peer)
        return peer

    def died(self, runner: Played) -> None:
        """Let a Runner say that it goes."""
        del self.runners[runner.id]
        self.peers.gone(runner.id)
        self.statistics.gone(runner.id)

    def have(self, runner: Played, queue: str, running: int = 0, **more: Any) -> None:
        """Let a Runner have hosts of a Func. more: figures as in `stats`, with _ for -."""
        starting = more.pop("starting", 0)
        hosts = {name: count for name, count in (("running", running), ("starting", starting)) if count}
        known = {"in-flight": 0, "slots": 4, "hosts": hosts}
        runner.funcs[queue] = known | {name.replace("_", "-"): value for name, value in more.items()}

    def work(self, runner: Played, queue: str, calls: int, seconds: float = 0.1) -> None:
        """Let a Runner have taken, and answered, so many more messages, in so many seconds each."""
        runner.arrivals[queue] += calls
        runner.calls[queue] += calls
        runner.funcs[queue]["service-time"] = seconds

    def speak(self, runner: Played) -> dict[str, Any]:
        """Let a Runner tell its figures, all of them."""
        entries = []
        for life, (queue, figures) in enumerate(sorted(runner.funcs.items())):
            mine = dict(figures)
            seconds = mine.pop("service-time", 0.1)
            entry = {"life": life, "queue": queue, "sha": "ab", "age": 0.5, **mine, "arrivals": runner.arrivals[queue]}
            calls = runner.calls[queue]
            if calls:
                entry["answered"] = {"2xx": calls}
                spread = {"count": calls, "seconds": calls * seconds, "keys": [-57], "counts": [calls]}
                entry |= {"service": spread}
            entries.append(entry)
        machine = {
            "cores": 4.0,
            "memory-bytes": 16 * GIB,
            "available-bytes": 12 * GIB,
            "cpu-seconds": 1.0,
            "hosts-limit": runner.hosts_limit,
        } | ({"short-of-memory": True} if runner.short else {})
        message = messages.stats(
            runner.id, f"start-{runner.pid}", runner.seq, entries, full=True, within=1.0, machine=machine
        )
        validate("stats", message)
        runner.seq += 1
        self.statistics.take(message)
        self.scaler.heard(message)
        return message

    async def second(self, count: int = 1, *, silent: frozenset[str] = frozenset()) -> None:
        """Let seconds pass: each time all Runners speak, the queues are measured, and a round is made."""
        for _ in range(count):
            self.now += 1.0
            for runner in list(self.runners.values()):
                if runner.id not in silent:
                    self.speak(runner)
            self.statistics.want((version.queue(name), name, version.sha) for name, version in self.versions.items())
            self.statistics.measured({FIREHOSE: Depth(0, 0), **self.depths})
            await self.scaler.round()

    async def settle(self) -> None:
        """Let the first seconds of a leadership pass."""
        await self.second(int(SETTLE) + 1)

    def obey(self) -> None:
        """Let every Runner have what it was told."""
        for runner in self.runners.values():
            shares = self.outbox.last(runner.id) or {}
            for queue in runner.funcs.keys() | shares.keys():
                count, _ = shares.get(queue, (0, False))
                self.have(runner, queue, count)

    def instances(self, queue: str) -> int:
        """How many instances of a Func the Runners were told to run."""
        return sum((self.outbox.last(name) or {}).get(queue, (0, False))[0] for name in self.runners)
