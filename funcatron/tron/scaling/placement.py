"""Which Runner runs how many instances of each Func.

What runs stays where it is. What is too much goes from the Runner that has most of it. What is missing goes where most
room is left by memory and cores, first instances before others, those of one Func apart from each other. A Runner never
gets more than its free memory holds: what ending hosts will give back counts when it is there, in a later decision.

A Func that nobody wants yet has one Runner as its waker, the one that ran it last, as long as that takes hosts.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from funcatron.tron.scaling.snapshot import RunnerSnapshot

MANY = 1e9  # cores, where their number is unknown: then memory alone tells how loaded a Runner is
CANDIDATES = 6  # Runners with room that are looked at for an instance


@dataclass(frozen=True, slots=True)
class Asked:
    """How many instances of one Func are to be placed."""

    queue: str
    count: int
    size: int  # bytes of an instance
    cores: float | None = None  # that an instance is expected to use; None: unknown
    work: bool = False  # messages wait or are in flight
    asleep: bool = False  # nobody wants it: it needs a waker


@dataclass(frozen=True, slots=True)
class Placement:
    """Instances by Runner and queue (none is left out), wakers by queue, and what found no room."""

    hosts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    wakers: Mapping[str, str] = field(default_factory=dict)
    unplaced: Mapping[str, int] = field(default_factory=dict)
    starts: int = 0  # instances that are new where they are
    stops: int = 0  # that go from where they are


class _Site:
    """One Runner while instances are being placed on it."""

    __slots__ = ("coming", "cores", "cores_total", "hosts", "id", "room", "total")

    def __init__(self, runner: RunnerSnapshot, sizes: Mapping[str, int]) -> None:
        self.id = runner.id
        self.hosts = {queue: count for queue, count in runner.hosts.items() if queue in sizes and count > 0}
        self.room = runner.memory_free or 0  # unknown: it keeps what it has and gets nothing
        self.coming = runner.leaving_bytes  # room that will be there once hosts have ended
        self.total = max(1, runner.memory_total or self.room)
        known = runner.cores_free is not None and runner.cores_total
        self.cores = (runner.cores_free or 0.0) if known else MANY
        self.cores_total = (runner.cores_total or MANY) if known else MANY

    def load(self) -> float:
        """Return the larger of the shares of memory and cores that are taken."""
        return max(1 - self.room / self.total, 1 - self.cores / self.cores_total)

    def add(self, asked: Asked) -> None:
        self.hosts[asked.queue] = self.hosts.get(asked.queue, 0) + 1
        self.room -= asked.size
        self.cores -= asked.cores or 0.0

    def remove(self, queue: str, size: int) -> None:
        left = self.hosts[queue] - 1
        if left:
            self.hosts[queue] = left
        else:
            del self.hosts[queue]
        self.coming += size

    def reserve(self, size: int) -> None:
        """Set room aside that is partly there and partly coming."""
        coming = min(size, self.coming)
        self.coming -= coming
        self.room -= size - coming


class _Sites:
    """The Runners, least loaded first."""

    def __init__(self, sites: Sequence[_Site]) -> None:
        self._heap = [(site.load(), site.id, site) for site in sites]
        heapq.heapify(self._heap)
        self._too_large: int | None = None  # that size found no room

    def put(self, asked: Asked) -> bool:
        """Place one instance, of the least loaded with room where fewest of its Func are. False: there is no room."""
        if self._too_large is not None and asked.size >= self._too_large:
            return False
        taken, candidates = [], 0
        while self._heap and candidates < CANDIDATES:
            taken.append(heapq.heappop(self._heap))
            candidates += taken[-1][2].room >= asked.size
        fitting = [entry for entry in taken if entry[2].room >= asked.size]
        if fitting:
            site = min(fitting, key=lambda entry: (entry[2].hosts.get(asked.queue, 0), *entry[:2]))[2]
            site.add(asked)
        else:
            self._too_large = asked.size
        for _, _, site in taken:
            heapq.heappush(self._heap, (site.load(), site.id, site))
        return bool(fitting)


def place(asked: Sequence[Asked], runners: Sequence[RunnerSnapshot], wakers: Mapping[str, str]) -> Placement:
    """Return where instances run. wakers: those of the last decision. The same arguments give the same placement."""
    sizes = {a.queue: a.size for a in asked}
    sites = [_Site(r, sizes) for r in sorted(runners, key=lambda r: r.id) if r.takes_hosts()]
    before = {runner.id: runner.hosts for runner in runners}
    missing = _keep(asked, sites)
    for a in _place_first(asked, missing, sites):
        _make_room(a, sites, sizes, missing)
    _place_more(asked, missing, sites)
    hosts = {site.id: site.hosts for site in sites}
    starts, stops = _changes(before, hosts)
    unplaced = {queue: count for queue, count in missing.items() if count > 0}
    return Placement(hosts, _wakers(asked, sites, before, wakers), unplaced, starts, stops)


def _keep(asked: Sequence[Asked], sites: Sequence[_Site]) -> dict[str, int]:
    """Take away what is too much; return how many are missing, by queue."""
    there: dict[str, list[_Site]] = {}
    for site in sites:
        for queue in site.hosts:
            there.setdefault(queue, []).append(site)
    missing = {}
    for a in asked:
        have = there.get(a.queue, [])
        surplus = sum(site.hosts[a.queue] for site in have) - a.count
        for _ in range(surplus):
            site = max((s for s in have if a.queue in s.hosts), key=lambda s: (s.hosts[a.queue], s.load(), s.id))
            site.remove(a.queue, a.size)
        missing[a.queue] = max(0, -surplus)
    return missing


def _place_first(asked: Sequence[Asked], missing: dict[str, int], sites: Sequence[_Site]) -> list[Asked]:
    """Place one instance of each Func that has none, first where work waits; return those with work and no room."""
    running = {queue for site in sites for queue in site.hosts}
    lacking = [a for a in asked if missing[a.queue] and a.queue not in running]
    by_load = _Sites(sites)
    failed = []
    for a in sorted(lacking, key=lambda a: not a.work):
        if by_load.put(a):
            missing[a.queue] -= 1
        elif a.work:
            failed.append(a)
    return failed


def _make_room(a: Asked, sites: Sequence[_Site], sizes: Mapping[str, int], missing: dict[str, int]) -> None:
    """Wait for room that is coming, or end second instances of others on the Runner where the fewest must go."""
    waiting = [site for site in sites if site.room + site.coming >= a.size]
    if waiting:
        max(waiting, key=lambda site: (site.coming, site.id)).reserve(a.size)
        return
    totals: Counter[str] = Counter()
    for site in sites:
        totals.update(site.hosts)
    options = [(victims, site) for site in sites if (victims := _victims(site, a.size, totals, sizes))]
    if options:
        victims, site = min(options, key=lambda option: (len(option[0]), option[1].id))
        for queue in victims:
            site.remove(queue, sizes[queue])
            missing[queue] += 1
        site.reserve(a.size)


def _victims(site: _Site, size: int, totals: Counter[str], sizes: Mapping[str, int]) -> list[str]:
    """Return the hosts whose end makes room for `size` bytes, of Funcs that keep one somewhere; [] if too few."""
    short = size - site.room - site.coming
    left = {queue: min(count, totals[queue] - 1) for queue, count in site.hosts.items()}
    victims: list[str] = []
    while short > 0:
        options = [queue for queue, count in left.items() if count > 0 and sizes[queue] > 0]
        if not options:
            return []
        queue = max(options, key=lambda q: (totals[q] - victims.count(q), sizes[q], q))
        left[queue] -= 1
        victims.append(queue)
        short -= sizes[queue]
    return victims


def _place_more(asked: Sequence[Asked], missing: dict[str, int], sites: Sequence[_Site]) -> None:
    """Place the further instances in rounds, one of each Func a round, so that room that ends ends for all alike."""
    by_load = _Sites(sites)
    lacking = [a for a in asked if missing[a.queue]]
    while lacking:
        placed = [a for a in lacking if by_load.put(a)]
        for a in placed:
            missing[a.queue] -= 1
        lacking = [a for a in placed if missing[a.queue]]


def _wakers(
    asked: Sequence[Asked],
    sites: Sequence[_Site],
    before: Mapping[str, Mapping[str, int]],
    wakers: Mapping[str, str],
) -> dict[str, str]:
    """Return one Runner for each Func that sleeps: its last waker, or who ran it last, or who has fewest to wake."""
    ids = [site.id for site in sites]
    there = set(ids)
    ran = {queue: runner for runner in reversed(ids) for queue in before[runner]}
    found: dict[str, str] = {}
    new = []
    for a in asked:
        if a.asleep:
            known = wakers.get(a.queue) or ran.get(a.queue)
            if known in there and known is not None:
                found[a.queue] = known
            else:
                new.append(a.queue)
    counts = Counter(found.values())
    heap = [(counts[runner], runner) for runner in ids]
    heapq.heapify(heap)
    for queue in new if heap else []:
        count, runner = heap[0]
        found[queue] = runner
        heapq.heapreplace(heap, (count + 1, runner))
    return found


def _changes(before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]) -> tuple[int, int]:
    """Return how many instances start, and stop, where they were not, or were."""
    starts = stops = 0
    for runner, hosts in before.items():
        wanted = after.get(runner, {})
        for queue in hosts.keys() | wanted.keys():
            change = wanted.get(queue, 0) - hosts.get(queue, 0)
            starts += max(0, change)
            stops += max(0, -change)
    return starts, stops
