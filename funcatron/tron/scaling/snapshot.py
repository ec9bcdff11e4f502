"""What is known at one moment: per Func, per Runner, and in total.

Times are in seconds, sizes in bytes, rates in 1/s. What could not be measured is None, never 0: unknown is not zero.
`at` is of any clock that only goes forward; nothing here reads one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from funcatron.errors import SettingsError

HOST_BYTES = 64 * 1024 * 1024  # what a host is taken to need until one was measured
SILENT = 15.0  # a Runner that was not heard for so long gets no instances, s


class Basis(StrEnum):
    """How a service time is known."""

    MEASURED = "measured"  # mean of calls that ended lately
    REMEMBERED = "remembered"  # mean of earlier calls: none ended lately
    AT_LEAST = "at-least"  # no call ended yet; those in flight have taken so long already


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Mean time of a call at its host, s, without waiting."""

    seconds: float
    basis: Basis = Basis.MEASURED


@dataclass(frozen=True, slots=True)
class FuncPolicy:
    """What the owner of a Func wants. Raises SettingsError for values that contradict each other."""

    min: int = 0  # never fewer instances
    max: int | None = None  # never more; None: no bound of its own
    warm: int = 1  # never fewer while the Func is in use
    target_wait: float = 1.0  # what waits should be served in so long, s
    utilisation: float = 0.9  # largest share of the slots that should be busy
    spare: float = 1.0  # slots for chance, times the square root of the busy ones
    window: float = 15.0  # fewer instances only when no decision of that time wanted more, s
    cooldown: float = 3.0  # what a backlog called for stays at least so long after its start, s
    idle: float = 60.0  # without a call for so long: no instances, if `min` allows, s
    weight: float = 1.0  # share of a capped total, relative to the others

    def __post_init__(self) -> None:
        if self.min < 0 or self.warm < 0:
            raise SettingsError(f"min and warm must not be negative, but are {self.min} and {self.warm}")
        if self.max is not None and self.max < self.min:
            raise SettingsError(f"min {self.min} is more than max {self.max}")
        if not 0 < self.utilisation <= 1:
            raise SettingsError(f"utilisation must be above 0 and at most 1, but is {self.utilisation}")
        if not self.target_wait > 0 or not self.weight > 0:
            raise SettingsError("target_wait and weight must be above 0")
        if min(self.spare, self.window, self.cooldown, self.idle) < 0:
            raise SettingsError("spare, window, cooldown and idle must not be negative")


@dataclass(frozen=True, slots=True)
class FuncSnapshot:
    """One Func: what it is asked for, what it has, and what its owner wants."""

    queue: str
    name: str
    slots: int  # calls at once in one instance
    arrival_rate: float | None = None  # messages that came to its queue, 1/s, since the last decision
    service_time: ServiceTime | None = None
    ready: int | None = None  # messages in the queue
    unacked: int | None = None  # messages that Runners took and have not settled
    in_flight: int | None = None  # of these, calls at hosts
    running: int = 0  # instances that take calls
    starting: int = 0  # instances on their way
    start_up: float | None = None  # from the decision to the first call, s
    cpu_per_call: float | None = None  # CPU seconds of a call
    cores_per_instance: float | None = None  # how many cores one instance can use at most; None: as many as there are
    rss: int | None = None  # memory of an instance, bytes
    oldest_wait: float | None = None  # of the message that waits for longest, s; for readers, nothing follows from it
    idle: float | None = None  # since the last message came or was settled, s
    policy: FuncPolicy = field(default_factory=FuncPolicy)

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise SettingsError(f"an instance of {self.name} must have at least one slot, not {self.slots}")
        if self.cores_per_instance is not None and not self.cores_per_instance > 0:
            raise SettingsError(f"an instance of {self.name} must be able to use some of a core")

    @property
    def instances(self) -> int:
        """Instances that are there or on their way."""
        return self.running + self.starting

    @property
    def waiting(self) -> int | None:
        """Messages that no host works at yet: in the queue, or taken by a Runner ahead of time."""
        if self.ready is None or self.unacked is None or self.in_flight is None:
            return None
        return self.ready + max(0, self.unacked - self.in_flight)

    @property
    def has_work(self) -> bool:
        """Whether some message is known to wait or to be in flight."""
        return bool(self.ready) or bool(self.unacked) or bool(self.in_flight)


@dataclass(frozen=True, slots=True)
class RunnerSnapshot:
    """One Runner and its machine's share for Func hosts."""

    id: str
    hosts: Mapping[str, int] = field(default_factory=dict)  # hosts by func queue, those that start included
    memory_free: int | None = None  # bytes that further hosts may take
    memory_total: int | None = None  # bytes that hosts may take in all
    cores_free: float | None = None
    cores_total: float | None = None
    leaving_bytes: int = 0  # memory of hosts that were told to end and are not gone yet
    in_flight: int | None = None  # calls at its hosts
    draining: bool = False
    heard: float | None = 0.0  # since its last message, s

    def takes_hosts(self) -> bool:
        """Whether instances may be placed on it: neither draining nor silent."""
        return not self.draining and self.heard is not None and self.heard <= SILENT


@dataclass(frozen=True, slots=True)
class Firehose:
    """What the Trons have to dispatch."""

    trons: int | None = None  # that run
    arrival_rate: float | None = None  # 1/s
    ready: int | None = None
    seconds_per_message: float | None = None  # CPU seconds of a Tron for a message


@dataclass(frozen=True, slots=True)
class Totals:
    """Bounds of the whole, and how the substrate's counts are decided. None: no bound."""

    max_instances: int | None = None
    cores: float | None = None  # for hosts; None: those of all Runners
    runners: int | None = None  # that the substrate was last told to run; None: it is not scaled
    min_runners: int = 1
    max_runners: int | None = None
    min_trons: int = 1
    max_trons: int | None = None
    fill: float = 0.85  # share of the Runners' memory and cores that should be used
    runner_window: float = 300.0  # fewer Runners or Trons only when no decision of that time wanted more, s
    tron_utilisation: float = 0.6  # share of a core that a Tron should use
    tron_target_wait: float = 1.0  # the firehose's backlog should be dispatched in so long, s
    host_bytes: int = HOST_BYTES

    def __post_init__(self) -> None:
        for least, most, what in (
            (self.min_runners, self.max_runners, "runners"),
            (self.min_trons, self.max_trons, "trons"),
        ):
            if most is not None and most < least:
                raise SettingsError(f"min_{what} {least} is more than max_{what} {most}")
        if not 0 < self.fill <= 1 or not 0 < self.tron_utilisation <= 1 or not self.tron_target_wait > 0:
            raise SettingsError("fill and tron_utilisation must be above 0 and at most 1, tron_target_wait above 0")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision depends on, apart from what earlier decisions left behind."""

    at: float
    funcs: tuple[FuncSnapshot, ...] = ()
    runners: tuple[RunnerSnapshot, ...] = ()
    totals: Totals = field(default_factory=Totals)
    firehose: Firehose = field(default_factory=Firehose)
    period: float = 1.0  # between two decisions, s
