"""The simulated cluster: queues, instances with slots, starts that take time, and a bound on instances. On simpy.

A call waits in its Func's queue until an instance has a free slot; whoever is past its deadline then is dropped. An
instance costs from the decision to start it until its last call is done. Instances that are told to go take no more
calls and finish those they have; those that still start go first, then the least busy. It is the same for every policy.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import simpy

from benchmarks.scaling.calls import Call

SPREAD = 0.2  # starts take so much less or more


class Instance:
    """One instance of a Func."""

    __slots__ = ("busy", "idle_since", "leaving", "number", "paused_at", "paused_seconds", "ready", "since")

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.since = self.idle_since = now
        self.busy = 0
        self.ready = self.leaving = False
        self.paused_at: float | None = None
        self.paused_seconds = 0.0


class Work:
    """One call at an instance; two equal calls are two works."""

    __slots__ = ("began", "call")

    def __init__(self, call: Call, began: float) -> None:
        self.call, self.began = call, began


@dataclass(slots=True)
class Tally:
    """What became of a Func's calls, and what it cost."""

    arrived: int = 0
    in_time: int = 0
    late: int = 0  # answered after the deadline
    expired: int = 0  # dropped unserved
    waits: list[float] = field(default_factory=list)  # from arrival to a slot, or to being dropped, s
    instance_seconds: float = 0.0
    paused_seconds: float = 0.0  # of these, in a frozen instance
    changes: int = 0  # times that the wanted number changed
    starts: int = 0


class Pool:
    """One Func: its queue and its instances."""

    def __init__(self, cluster: Cluster, name: str, slots: int, start_up: float, rng: random.Random) -> None:
        self.cluster, self.env = cluster, cluster.env
        self.name, self.slots, self.start_up = name, slots, start_up
        self.queue: deque[Call] = deque()
        self.instances: list[Instance] = []
        self.tally = Tally()
        self.target = 0
        self.in_flight: dict[Instance, set[Work]] = {}
        self.durations: deque[tuple[float, float]] = deque(maxlen=5000)  # (when it ended, seconds at the host)
        self.start_ups: deque[float] = deque(maxlen=10)
        self.last_event = 0.0  # when a call last came or ended
        self.packs = False  # calls go to the oldest instance instead of the least busy
        self.on_idle: Callable[[Instance], None] | None = None
        self._rng = rng
        self._numbers = 0
        self._integral = 0.0  # of the calls that wait or run, over time
        self._integrated_to = 0.0
        self._present = 0  # calls that wait or run
        self._busy = 0  # calls that run
        self._busy_integral = 0.0

    # ------------------------------------------------------------------ what policies may see

    def serving(self) -> list[Instance]:
        """Return the instances that take calls."""
        return [i for i in self.instances if i.ready and not i.leaving and i.paused_at is None]

    def starting(self) -> int:
        """Return how many instances are on their way."""
        return sum(not i.ready and not i.leaving for i in self.instances)

    def running_calls(self) -> int:
        """Return how many calls are at instances."""
        return self._busy

    def present(self) -> int:
        """Return how many calls wait or run."""
        return self._present

    def call_seconds(self) -> float:
        """Return the integral of the calls present, over time: a difference by a time is a mean concurrency."""
        self._count(0)
        return self._integral

    def busy_seconds(self) -> float:
        """Return the integral of the calls at instances, over time."""
        self._count(0)
        return self._busy_integral

    # ------------------------------------------------------------------ what policies may do

    def scale_to(self, target: int) -> None:
        """Set the number of instances; what cannot start for lack of room starts when there is room."""
        target = max(0, target)
        if target != self.target:
            self.tally.changes += 1
            self.target = target
        self.cluster.fill()
        surplus = sum(not i.leaving for i in self.instances) - self.target
        if surplus > 0:
            staying = [i for i in self.instances if not i.leaving]
            for instance in sorted(staying, key=lambda i: (i.ready, i.busy, -i.number))[:surplus]:
                self._leave(instance)

    def pause(self, instance: Instance) -> None:
        """Freeze an idle instance: it takes no calls, and holds its memory."""
        instance.paused_at = self.env.now

    def resume(self, instance: Instance, seconds: float) -> None:
        """Let a frozen instance take calls again, after some seconds."""
        assert instance.paused_at is not None
        instance.paused_seconds += self.env.now - instance.paused_at
        instance.paused_at = None
        instance.ready = False
        self.cluster.after(seconds, lambda: self._ready(instance))

    def discard(self, instance: Instance) -> None:
        """End an instance for good."""
        if not instance.leaving:
            self._leave(instance)

    # ------------------------------------------------------------------ calls

    def arrive(self, call: Call) -> None:
        """A call comes."""
        self.tally.arrived += 1
        self.last_event = self.env.now
        self._count(1)
        instance = None if self.queue else self._free()
        if instance is None:
            self.queue.append(call)
        else:
            self._serve(instance, call)

    def _free(self) -> Instance | None:
        best: Instance | None = None
        for instance in self.instances:
            if not instance.ready or instance.leaving or instance.paused_at is not None or instance.busy >= self.slots:
                continue
            if self.packs:
                return instance
            if best is None or instance.busy < best.busy:
                best = instance
        return best

    def _serve(self, instance: Instance, call: Call) -> None:
        now = self.env.now
        self.tally.waits.append(now - call.at)
        instance.busy += 1
        self._count(0, 1)
        work = Work(call, now)
        self.in_flight.setdefault(instance, set()).add(work)
        self.cluster.after(call.service, lambda: self._done(instance, work))

    def _done(self, instance: Instance, work: Work) -> None:
        works = self.in_flight.get(instance)
        if works is None or work not in works:
            return  # its instance was lost meanwhile
        works.discard(work)
        now = self.env.now
        instance.busy -= 1
        self._count(-1, -1)
        self.last_event = instance.idle_since = now
        self.durations.append((now, now - work.began))
        if now <= work.call.deadline:
            self.tally.in_time += 1
        else:
            self.tally.late += 1
        if instance.leaving:
            if instance.busy == 0:
                self._gone(instance)
            return
        self._next(instance)
        if instance.busy == 0 and self.on_idle is not None:
            self.on_idle(instance)

    def _next(self, instance: Instance) -> None:
        now = self.env.now
        while self.queue and instance.busy < self.slots:
            call = self.queue.popleft()
            if now > call.deadline:
                self._expire(call)
            else:
                self._serve(instance, call)

    def _expire(self, call: Call) -> None:
        self.tally.expired += 1
        self.tally.waits.append(call.deadline - call.at)
        self._count(-1)

    # ------------------------------------------------------------------ instances

    def start(self) -> None:
        """Start an instance; the cluster has room."""
        instance = Instance(self._numbers, self.env.now)
        self._numbers += 1
        self.instances.append(instance)
        self.tally.starts += 1
        seconds = self.start_up * self._rng.uniform(1 - SPREAD, 1 + SPREAD)
        self.cluster.after(
            max(0.0, self.cluster.down_until - self.env.now) + seconds, lambda: self._ready(instance, seconds)
        )

    def _ready(self, instance: Instance, took: float | None = None) -> None:
        if instance not in self.instances or instance.leaving:
            return
        instance.ready = True
        instance.idle_since = self.env.now
        if took is not None:
            self.start_ups.append(took)
        self._next(instance)
        if instance.busy == 0 and self.on_idle is not None:
            self.on_idle(instance)

    def _leave(self, instance: Instance) -> None:
        instance.leaving = True
        if instance.busy == 0:
            self._gone(instance)

    def _gone(self, instance: Instance) -> None:
        self.instances.remove(instance)
        self.in_flight.pop(instance, None)
        self._charge(instance)
        self.cluster.fill()

    def lose_all(self) -> None:
        """All instances die; their calls go back to the head of the queue."""
        for instance in self.instances:
            works = sorted(self.in_flight.pop(instance, ()), key=lambda work: -work.call.at)
            self.queue.extendleft(work.call for work in works)
            self._count(0, -len(works))
            self._charge(instance)
        self.instances.clear()
        self.cluster.fill()

    def close(self) -> None:
        """End of the run: charge what still runs, and count the waiting calls that nobody waits for any more."""
        for instance in self.instances:
            self._charge(instance)
        while self.queue and self.queue[0].deadline < self.env.now:
            self._expire(self.queue.popleft())

    def _charge(self, instance: Instance) -> None:
        paused = instance.paused_seconds
        if instance.paused_at is not None:
            paused += self.env.now - instance.paused_at
        self.tally.instance_seconds += self.env.now - instance.since
        self.tally.paused_seconds += paused

    def _count(self, present: int, busy: int = 0) -> None:
        now = self.env.now
        self._integral += self._present * (now - self._integrated_to)
        self._busy_integral += self._busy * (now - self._integrated_to)
        self._integrated_to = now
        self._present += present
        self._busy += busy


class Cluster:
    """All pools and the room for their instances."""

    def __init__(self, largest: int, seed: int = 0) -> None:
        self.env = simpy.Environment()
        self.largest = largest
        self.pools: dict[str, Pool] = {}
        self.down_until = 0.0
        self.on_empty: Callable[[Pool], None] | None = None  # a call came and there is no instance
        self._rng = random.Random(seed)

    def add(self, name: str, slots: int, start_up: float) -> Pool:
        """Add a Func."""
        pool = Pool(self, name, slots, start_up, random.Random(self._rng.random()))
        self.pools[name] = pool
        return pool

    def room(self) -> int:
        """Return how many more instances fit."""
        return self.largest - sum(len(pool.instances) for pool in self.pools.values())

    def fill(self) -> None:
        """Start what is wanted and has room, one Func after the other by name, one instance each."""
        room = self.room()
        lacking = [pool for pool in self.pools.values() if self._lacks(pool)]
        while room > 0 and lacking:
            for pool in lacking[:room]:
                pool.start()
            room -= len(lacking[:room])
            lacking = [pool for pool in lacking if self._lacks(pool)]

    def feed(self, pool: Pool, calls: Iterable[Call]) -> None:
        """Let calls come at their times."""
        self.env.process(self._feed(pool, calls))

    def break_down(self, start: float, end: float) -> None:
        """Lose all instances at `start`; new ones can start from `end` on."""
        self.env.process(self._break_down(start, end))

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Call something in some seconds."""
        self.env.timeout(seconds).callbacks.append(lambda _: do())

    def every(self, interval: float, first: float, do: Callable[[float], None]) -> None:
        """Call something every `interval` s."""
        self.env.process(self._every(interval, first, do))

    def run(self, until: float) -> None:
        """Run, and charge what still runs at the end."""
        self.env.run(until=until)
        for pool in self.pools.values():
            pool.close()

    @staticmethod
    def _lacks(pool: Pool) -> bool:
        return sum(not i.leaving for i in pool.instances) < pool.target

    def _feed(self, pool: Pool, calls: Iterable[Call]):  # type: ignore[no-untyped-def]
        for call in calls:
            if call.at > self.env.now:
                yield self.env.timeout(call.at - self.env.now)
            pool.arrive(call)
            if self.on_empty is not None and pool.target == 0:
                self.on_empty(pool)

    def _break_down(self, start: float, end: float):  # type: ignore[no-untyped-def]
        yield self.env.timeout(start)
        self.down_until = end
        for pool in self.pools.values():
            pool.lose_all()

    def _every(self, interval: float, first: float, do: Callable[[float], None]):  # type: ignore[no-untyped-def]
        yield self.env.timeout(first)
        while True:
            do(self.env.now)
            yield self.env.timeout(interval)
