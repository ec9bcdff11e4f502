"""What is known of one Runner as such: whether it keeps its promise to be heard, what it has and uses. Time is an
argument, s."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from funcatron.tron.statistics.book import Share
from funcatron.tron.statistics.figures import RunnerFigures
from funcatron.tron.statistics.sums import Sums
from funcatron.tron.statistics.window import Window

PATIENCE = 3.5  # how much later than promised a message may come, s
ASK_AGAIN = 5.0  # a Runner that was asked for everything may take so long, s
CLOCKS = 32  # messages by which a clock is judged


class Clock:
    """How far another's clock is ahead of this Tron's, by when its messages say that they were made."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=CLOCKS)

    def heard(self, at: float, now: float) -> None:
        """Take a message that was made `at`, by its own clock, and came `now`, by this one's; s since 1970."""
        self._seen.append(at - now)

    @property
    def ahead(self) -> float | None:
        """How far, s: too little by the time that the fastest of the last messages took; None: nothing was heard."""
        return max(self._seen, default=None)


class Reporter:
    """A Runner that sends `stats` messages."""

    def __init__(self, name: str, now: float, span: float) -> None:
        self.id = name
        self.start = ""
        self.heard = now
        self.machine: Mapping[str, Any] = {}
        self.lost = 0  # messages that never came
        self.left = False  # it said that it goes, or was silent for so long that it is forgotten
        self._seq = -1
        self._next = 0.0
        self._complete = False
        self._asked = float("-inf")
        self._cpu = Sums()  # as told last
        self._used = Window(span, now)

    def take(self, message: Mapping[str, Any], now: float, known_for: float) -> tuple[bool, float, float | None]:
        """Take a message. Returns whether the Runner has been started anew; for how long it was not heard if messages
        were lost, else 0.0; and how long ago the message before it came, s, None if there was none or some were lost.
        `known_for`: for so long it would have been heard, s."""
        self.left = False
        since: float | None = now - self.heard
        start, seq = message["start"], message["seq"]
        anew = start != self.start
        if anew:
            self.start, self._complete, self._cpu = start, False, Sums()
            self._used.restart(now)
            gap, since = known_for if seq else 0.0, None
        else:
            missing = max(0, seq - self._seq - 1)
            gap = now - self.heard if missing else 0.0
            self.lost += missing
            since = None if missing else since
            self._complete = self._complete and not missing
        self._complete = message["full"] or self._complete
        self._seq, self._next, self.heard = seq, message["next"], now
        self.machine = message.get("machine", {})
        return anew, gap, since

    def use(self, hosts: float, now: float) -> None:
        """Note the CPU seconds that its hosts used, by the message just taken."""
        own = Sums()
        own.counters["own"] = self.machine.get("cpu-seconds", 0.0)
        first = "own" not in self._cpu.counters
        grown = self._cpu.update(own)
        if first:
            return
        spent = Sums()
        spent.counters["cpu-seconds"] = grown["own"] + hosts
        self._used.add(now, spent)

    def age(self, now: float) -> float | None:
        """Return how old its figures are, s; None: it is gone, or has not kept its promise, and they count no more."""
        age = now - self.heard
        return None if self.left or age > self._next + PATIENCE else age

    def ask(self, now: float) -> bool:
        """Say whether it should be asked for everything now."""
        if self._complete or now - self._asked < ASK_AGAIN:
            return False
        self._asked = now
        return True

    def figures(self, now: float, shares: Iterable[tuple[str, Share]], ahead: float | None) -> RunnerFigures:
        """Return what is known of it; `shares` are what it says of its Funcs, by queue, `ahead` is its clock."""
        hosts: dict[str, int] = {}
        in_flight = at_hosts = 0
        for queue, share in shares:
            in_flight += share.in_flight
            at_hosts += share.at_hosts
            count = share.hosts("running") + share.hosts("starting")
            if count:
                hosts[queue] = hosts.get(queue, 0) + count
        self._used.advance(now)
        covered = self._used.covered(now)
        machine = self.machine
        return RunnerFigures(
            id=self.id,
            age=now - self.heard,
            silent=self.age(now) is None,
            cores=machine.get("cores"),
            cores_used=self._used.sums["cpu-seconds"] / covered if covered >= 1.0 else None,
            memory=machine.get("memory-bytes"),
            memory_available=machine.get("available-bytes"),
            rss=machine.get("rss-bytes"),
            hosts_limit=machine.get("hosts-limit"),
            leaving=machine.get("leaving-bytes", 0),
            short=machine.get("short-of-memory", False),
            complete=self._complete,
            hosts=hosts,
            in_flight=in_flight,
            at_hosts=at_hosts,
            lost=self.lost,
            clock_ahead=ahead,
        )
