"""What is known at one moment, merged over all Runners: plain values. What is not known is None, never 0.

Times are in seconds, sizes in bytes, rates in 1/s. Messages that Runners took are *in flight* until they are settled:
*at hosts*, or *waiting* in the Runner for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """How durations are spread: mean exact, quantiles within 2 %; None where they were not asked for."""

    count: int
    mean: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """Where messages went. published = answered + discarded + dead-lettered - both + ended + waiting, if none is lost.

    `drift` is what has got lost since the books were opened (negative: what is too much): None while somebody does not
    tell, `why` says who. Within ± `doubt` it says nothing, for the figures are not of the same instant. What the broker
    drops when its time is over shows as drift: it tells nobody.
    """

    answered: int
    discarded: int
    dead_lettered: int
    both: int  # answered and dead-lettered
    ended: int = 0  # by Trons themselves
    published: int | None = None
    waiting: int | None = None  # in the queue or in flight
    drift: int | None = None
    doubt: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class FuncFigures:
    """One func queue. Rates and spreads are of the last `window` seconds: as many as are known of it."""

    queue: str
    name: str | None = None
    sha: str | None = None
    window: float = 0.0
    age: float | None = None  # of the oldest Runner's report in this
    silent: tuple[str, ...] = ()  # Runners that had hosts or messages of it, and were not heard in time: left out here

    # what comes
    arrival_rate: float | None = None  # messages that came to the queue, whether taken or not
    arriving: float | None = None  # the same over the last second or so
    arrived: int | None = None  # the same as a total: only differences have a meaning
    taken_rate: float | None = None  # messages that Runners took, without those that they put back
    idle: float | None = None  # since a message came or was settled, at most

    # where it is
    ready: int | None = None  # in the queue
    in_flight: int | None = None
    at_hosts: int | None = None
    waiting: int | None = None
    oldest_wait: float | None = None  # of what waits in a Runner; what is in the queue is older
    oldest_call: float | None = None

    # what serves it
    running: int | None = None
    starting: int | None = None
    slots: int | None = None  # calls at once in one instance
    start_up: float | None = None  # mean of all starts
    rss: int | None = None  # of an instance, mean

    # how it fares
    wait: Spread | None = None  # None: no call in the window
    service: Spread | None = None
    service_ever: float | None = None  # mean of all calls that are known
    cpu_per_call: float | None = None  # of the window, else of all calls that are known
    errors: Mapping[str, int] = field(default_factory=dict)  # in the window, by kind
    failing: float | None = (
        None  # share of the messages settled in the window that failed (5xx); None: none was settled
    )
    skewed: int = 0  # waits that came out negative in the window
    troubles: Mapping[str, str] = field(
        default_factory=dict
    )  # by Runner: why its hosts die again and again there, or it cannot be loaded
    unaccounted: int | None = None  # messages that Runners took and neither settled nor have; should be 0

    @property
    def backlog(self) -> int | None:
        """Messages that no host works at yet: in the queue, or taken by a Runner."""
        return None if self.ready is None or self.waiting is None else self.ready + self.waiting


@dataclass(frozen=True, slots=True)
class RunnerFigures:
    """One Runner."""

    id: str
    age: float  # since it was heard
    silent: bool  # not heard in time: nothing that it said counts
    cores: float | None = None
    cores_used: float | None = None  # by it and its hosts, lately
    memory: int | None = None
    memory_available: int | None = None
    rss: int | None = None  # of itself
    hosts_limit: int | None = None
    leaving: int = 0  # memory of hosts that were told to end
    short: bool = False  # of memory: it starts no hosts
    complete: bool = False  # whether it has told of everything since it started, or this Tron asked
    hosts: Mapping[str, int] = field(default_factory=dict)  # that run or start, by func queue
    in_flight: int = 0
    at_hosts: int = 0
    lost: int = 0  # messages of it that never came
    clock_ahead: float | None = None  # of this Tron's clock; right to the time that its fastest message took


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of one Func over all Runners since this Tron knows it; they only grow. Bins as in messages."""

    counters: Mapping[str, float]
    wait: Mapping[int, int]
    service: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything, at the time `at` of the Tron's steady clock."""

    at: float
    funcs: Mapping[str, FuncFigures]  # by queue
    runners: Mapping[str, RunnerFigures]  # by id
    firehose_ready: int | None = None
    clocks: Mapping[str, float] = field(
        default_factory=dict
    )  # of whoever sends control messages: s ahead of this Tron's
