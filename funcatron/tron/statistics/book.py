"""The book of one func queue: what each Runner says of it, and what that comes to. Time is an argument, s."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from funcatron.brokers.base import Depth
from funcatron.message.histogram import quantiles
from funcatron.tron.statistics.figures import FuncFigures, Spread
from funcatron.tron.statistics.sums import ERROR, Sums
from funcatron.tron.statistics.window import Window

UPKEEP = {"cpu-seconds", "starts", "start-seconds"}  # counters that grow though nobody calls
LEAST_COVER = 1.0  # a rate over less is chance, s
SHARES = (0.5, 0.95, 0.99)
GAUGES = ("reason", "in-flight", "at-hosts", "waiting", "hosts", "slots", "rss-bytes", "oldest-wait", "oldest-call")
DEPTH_AGE = 3.0  # a depth that is older is unknown, s
LEAST_STEP = 0.2  # two depths that are closer say nothing about a rate, s


class Share:
    """What one Runner said last, of one life of a Func there."""

    __slots__ = ("entry", "partial", "rate", "runner", "sums", "told")

    def __init__(self, runner: str) -> None:
        self.runner = runner
        self.entry: Mapping[str, Any] = {}  # its gauges
        self.partial = False  # bins from before this Tron's time may come yet
        self.sums = Sums()
        self.rate: float | None = None  # of messages taken, in the time before the last entry, 1/s; None: not known
        self.told = 0.0  # when the last entry came

    @property
    def in_flight(self) -> int:
        """Messages taken and not settled."""
        return int(self.entry.get("in-flight", 0))

    @property
    def waiting(self) -> int:
        """Of these, those that wait for a host."""
        return int(self.entry.get("waiting", 0))

    @property
    def at_hosts(self) -> int:
        """Of these, those that hosts work at."""
        return int(self.entry.get("at-hosts", 0))

    def hosts(self, what: str) -> int:
        """Return how many hosts are `running` or `starting`."""
        return int(self.entry.get("hosts", {}).get(what, 0))

    @property
    def alive(self) -> bool:
        """Whether there is something of the Func there."""
        return bool(self.in_flight or self.entry.get("hosts"))

    @property
    def unaccounted(self) -> int:
        """Messages that were taken, and neither are there nor have got anywhere."""
        s = self.sums
        ended = s.answered + s["discarded"] + s["dead-lettered"] - s["both"] + s["returned"]
        return int(s["arrivals"] - ended) - self.in_flight


class Book:
    """Of one func queue."""

    def __init__(self, queue: str, now: float, span: float) -> None:
        self.queue = queue
        self.name: str | None = None
        self.sha: str | None = None
        self.shares: dict[tuple[str, int], Share] = {}  # by Runner and life
        self.totals = Sums()
        self.window = Window(span, now)
        self.touched = now  # a message came or was settled, or it was heard of for the first time
        self.depth: tuple[float, Depth | None] = (now, None)
        self._arrived: deque[tuple[float, int]] = deque()  # when, and how many altogether
        self._ready: tuple[float, int] | None = None  # when, and how many were in the queue the time before last
        self._filling: float | None = None  # by how many more they were the last time, 1/s

    # ------------------------------------------------------------------ what is written

    def take(
        self,
        runner: str,
        entry: Mapping[str, Any],
        totals: Sums,
        now: float,
        *,
        full: bool,
        known_for: float,
        gap: float,
        since: float | None,
    ) -> Sums:
        """Take an entry of a `stats` message, and its totals; returns by how much they grew.

        `known_for`: for so long this Tron would have heard of it, s; counters that are older began before. `gap`: so
        long ago was the last message before those that were lost, s; 0.0 where none was lost. `since`: so long ago was
        the last message, s; None: there was none, or some were lost.
        """
        key = (runner, int(entry["life"]))
        share = self.shares.get(key)
        if share is None:
            if not self.shares and not self.totals:
                self.window.since = min(self.window.since, now - entry["age"])
            share = self.shares[key] = Share(runner)
            since = entry["age"] if since is None or entry["age"] < since else since
            if entry["age"] > known_for:  # how much of it is new is not known
                share.partial = not full
                share.sums.update(totals)
                self._forget_past(now)
                self._gauge(share, entry, now)
                return Sums()
        grown = share.sums.update(totals, new_bins=not share.partial)
        share.partial = share.partial and not full
        self.totals.add(grown)
        if gap > self.window.span:  # it grew at some time, who knows when
            self._forget_past(now)
        elif grown:
            self.window.add(now, grown)
        if grown.counters.keys() - UPKEEP or entry["in-flight"]:
            self.touched = now
        share.rate = (grown["arrivals"] - grown["returned"]) / since if since else None
        self._gauge(share, entry, now)
        return grown

    def _gauge(self, share: Share, entry: Mapping[str, Any], now: float) -> None:
        share.told = now
        share.entry = {name: entry[name] for name in GAUGES if name in entry}
        self.name, self.sha = entry.get("name", self.name), entry["sha"]
        if entry.get("state") == "retired":
            del self.shares[share.runner, int(entry["life"])]

    def _forget_past(self, now: float) -> None:
        self.window.restart(now)
        self._arrived.clear()

    def leave(self, runner: str, *, for_good: bool) -> None:
        """A Runner is no more: what it had in flight is the broker's again. Unless that is `for_good`, its totals are
        kept: it may come back, and would count on."""
        for key in [key for key in self.shares if key[0] == runner]:
            share = self.shares[key]
            self.totals.counters["returned"] = self.totals["returned"] + share.in_flight
            share.entry = {}
            if for_good:
                del self.shares[key]

    @property
    def served(self) -> bool:
        """Whether some Runner speaks of it."""
        return any(share.entry for share in self.shares.values())

    def measure(self, at: float, depth: Depth | None) -> None:
        """Take the queue's depth at a time; None: it is not known."""
        self.depth = (at, depth)
        if depth is None:
            return
        if depth.ready:
            self.touched = at
        self._fill(at, depth.ready)
        self._arrived.append((at, int(self.totals["arrivals"] - self.totals["returned"]) + depth.ready))
        while at - self._arrived[0][0] > self.window.span:
            self._arrived.popleft()

    def _fill(self, at: float, ready: int) -> None:
        if self._ready is None or at - self._ready[0] > DEPTH_AGE:
            self._ready, self._filling = (at, ready), None
        elif at - self._ready[0] >= LEAST_STEP:
            before, there = self._ready
            self._ready, self._filling = (at, ready), (ready - there) / (at - before)

    # ------------------------------------------------------------------ what is read

    def figures(self, now: float, fresh: Callable[[str], float | None], *, known: bool, exact: bool) -> FuncFigures:
        """Return what it comes to. `fresh` says how old a Runner's figures are, None: too old; `known`: some Runner's
        are not, so that what no such Runner speaks of is nothing. `exact`:
        with quantiles."""
        self.window.advance(now)
        heard = [(share, fresh(share.runner)) for share in self.shares.values()]
        shares = [share for share, age in heard if age is not None]
        silent = sorted({share.runner for share, age in heard if age is None and share.alive})
        covered, ready = self.window.covered(now), self.ready(now)
        in_flight = sum(share.in_flight for share in shares) if known else None
        waiting = sum(share.waiting for share in shares) if known else None
        return FuncFigures(
            queue=self.queue,
            name=self.name,
            sha=self.sha,
            window=round(covered, 3),
            age=max((age for _, age in heard if age is not None), default=None),
            silent=tuple(silent),
            arrival_rate=self._arrival_rate(now),
            arriving=self._arriving(now, [(share, age) for share, age in heard if age is not None]) if known else None,
            arrived=self._arrived[-1][1] if ready is not None else None,
            taken_rate=self._taken_rate(covered) if known else None,
            idle=0.0 if in_flight or ready else now - self.touched,
            ready=ready,
            in_flight=in_flight,
            waiting=waiting,
            at_hosts=sum(share.at_hosts for share in shares) if known else None,
            oldest_wait=_most(shares, "oldest-wait"),
            oldest_call=_most(shares, "oldest-call"),
            unaccounted=sum(share.unaccounted for share in shares) if known else None,
            troubles={share.runner: share.entry["reason"] for share in shares if "reason" in share.entry},
            **self._instances(shares, known=known),
            **self._performance(exact=exact),
        )

    def ready(self, now: float) -> int | None:
        """Return how many messages are in the queue; None: it is not known."""
        at, depth = self.depth
        return None if depth is None or now - at > DEPTH_AGE else depth.ready

    def moved(self, now: float, seconds: float) -> int:
        """Return how many messages come or go in so many seconds, at the latest rates."""
        self.window.advance(now)
        rates = (self._arrival_rate(now), self._taken_rate(self.window.covered(now)))
        return math.ceil(seconds * max((rate for rate in rates if rate is not None), default=0.0))

    def _arrival_rate(self, now: float) -> float | None:
        if len(self._arrived) < 2 or now - self._arrived[-1][0] > DEPTH_AGE:
            return None
        (first, before), (last, after) = self._arrived[0], self._arrived[-1]
        return max(0.0, (after - before) / (last - first)) if last - first >= LEAST_COVER / 2 else None

    def _arriving(self, now: float, heard: Iterable[tuple[Share, float]]) -> float | None:
        """Return the rate of what came in the last second or so: what each Runner took, by its own last two messages,
        and by how much the queue grew. A Runner whose last message says nothing of the Func took nothing."""
        if self._filling is None or self.ready(now) is None:
            return None
        rate = self._filling
        for share, age in heard:
            if share.told < now - age:
                continue
            if share.rate is None:
                return None
            rate += share.rate
        return max(0.0, rate)

    def _taken_rate(self, covered: float) -> float | None:
        if covered < LEAST_COVER:
            return None
        sums = self.window.sums
        return max(0.0, (sums["arrivals"] - sums["returned"]) / covered)

    def _instances(self, shares: Iterable[Share], *, known: bool) -> dict[str, Any]:
        running = sum(share.hosts("running") for share in shares)
        rss = sum(share.entry.get("rss-bytes", 0) for share in shares)
        starts = self.totals["starts"]
        return {
            "running": running if known else None,
            "starting": sum(share.hosts("starting") for share in shares) if known else None,
            "slots": max(
                (share.entry["slots"] for share in self.shares.values() if "slots" in share.entry), default=None
            ),
            "start_up": self.totals["start-seconds"] / starts if starts else None,
            "rss": int(rss / running) if rss and running else None,
        }

    def _performance(self, *, exact: bool) -> dict[str, Any]:
        recent, ever = self.window.sums, self.totals
        calls = recent if recent["service.count"] else ever
        settled = (
            recent.answered + recent["dead-lettered"] - recent["both"] + recent["discarded"] - recent["error:expired"]
        )
        failed = recent["answered:5xx"] + recent["dead-lettered"] - recent["both"]
        return {
            "wait": _spread(recent, "wait", recent.wait if exact else {}),
            "service": _spread(recent, "service", recent.service if exact else {}),
            "service_ever": ever["service.seconds"] / ever["service.count"] if ever["service.count"] else None,
            "cpu_per_call": calls["cpu-seconds"] / calls["service.count"] if calls["service.count"] else None,
            "errors": recent.group(ERROR),
            "failing": failed / settled if settled > 0 else None,
            "skewed": int(recent["skewed"]),
        }


def _most(shares: Iterable[Share], name: str) -> float | None:
    return max((share.entry[name] for share in shares if name in share.entry), default=None)


def _spread(sums: Sums, name: str, bins: Mapping[int, int]) -> Spread | None:
    count = int(sums[f"{name}.count"])
    if not count:
        return None
    mean = sums[f"{name}.seconds"] / count
    return Spread(count, mean, *quantiles(bins, SHARES)) if bins else Spread(count, mean)
