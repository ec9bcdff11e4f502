"""The Substrate seam: what everything that can run N instances of a component must be able to do for Funcatron.

A driver is a file or folder here and a name in `funcatron.substrates.DRIVERS`; the suite in `tests/conformance` says
what holds for all of them. What only some can do is a further small interface: ask by `isinstance`.

Numbers are asked for by the Tron that leads, under its epoch. What a substrate does, it does in its own time: `scale`
says what became of the asking, `look` how far it is, `explain` why it gets no further. What is not known raises or is
a value of its own; it is never 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from funcatron.errors import SubstrateAway


class State(StrEnum):
    """Where an instance is in its life."""

    PENDING = "pending"  # it is asked for and not up yet: it waits for room, starts, or has just been started again
    RUNNING = "running"
    DRAINING = "draining"  # told to end; it finishes what it has begun
    FAILED = "failed"  # its last start ended unasked, or could not be made; it is tried again, later and later
    GONE = "gone"  # for good; listed for a while, so that one can see what became of it
    UNKNOWN = "unknown"  # the substrate cannot say, e.g. since its machine does not answer


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a component.

    `id` is how it calls itself in its messages, and never names another one later. `start` names this start of it: a
    restarted instance has another. `since` is the Unix time at which its state began. `reason` says why it is not
    running, with the last lines that it wrote where they are known.
    """

    id: str
    state: State
    since: float
    start: str = ""
    restarts: int = 0
    reason: str = ""
    machine: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What a substrate has of a component: the number on record, and its instances, oldest first."""

    component: str
    wanted: int
    instances: tuple[Instance, ...]

    def of(self, *states: State) -> tuple[Instance, ...]:
        """Return the instances in any of these states."""
        return tuple(it for it in self.instances if it.state in states)

    @property
    def settled(self) -> bool:
        """Whether it is as wanted: so many run, and there are no others."""
        there = [it for it in self.instances if it.state != State.GONE]
        return len(there) == self.wanted and all(it.state == State.RUNNING for it in there)


class Result(StrEnum):
    """What became of a change that was asked for."""

    DONE = "done"  # it is on record already; nothing was changed
    TAKEN = "taken"  # on record; the substrate works on it, and may be late
    BUSY = "busy"  # not taken: another change is under way; ask again later
    UNKNOWN = "unknown"  # the answer was lost, so it may be taken or not: look before asking again


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result, with a sentence about it where it is not plain."""

    result: Result
    why: str = ""


class Substrate(ABC):
    """Runs so many instances of each component, replaces those that die, and says how they are.

    Methods that take a component raise NotFound for one that the substrate does not know, and SubstrateAway when it
    cannot be reached or read.
    """

    @abstractmethod
    async def open(self) -> None:
        """Get ready. Raises SubstrateError only for what does not come right by waiting."""

    @abstractmethod
    async def close(self) -> None:
        """Let go; what runs goes on running. Idempotent."""

    @abstractmethod
    async def scale(self, component: str, instances: int, epoch: int) -> Outcome:
        """Ask for so many instances; returns when that is on record, not when they run.

        Draining ones do not count. Those that are too many are told to end and may finish; those that do not run go
        first. Idempotent. A new leader scales each component once, to the number that is on record (to the one that it
        decides itself, if `look` cannot tell): that shuts out its predecessor where the substrate can (`Fences`), and
        makes it the one who looks after the instances where the substrate is not a service of its own.

        Raises ValueError for a number below 0, NotLeader for an epoch that is too low, SubstrateError when refused.
        """

    @abstractmethod
    async def look(self, component: str) -> View:
        """Return what is there now. Raises SubstrateAway when that is not known as a whole."""

    @abstractmethod
    async def explain(self, component: str) -> tuple[str, ...]:
        """Say in a sentence each what keeps it from being as wanted, or did a moment ago; empty when all is well."""


class Drains(Substrate):
    """Can take away a chosen instance."""

    @abstractmethod
    async def drain(self, component: str, instance: str, epoch: int) -> Outcome:
        """Tell this one to end and lower the wanted number by one, in one step; it finishes what it has begun.

        It is killed when its grace is over. DONE, and nothing changes, for one that is draining or not there (any
        more), so repeating it takes away no second one. Raises as `scale` does.
        """


class Fences(Substrate):
    """Refuses changes under a lower epoch than it has seen."""

    @abstractmethod
    async def epoch(self, component: str) -> int:
        """Return the highest epoch under which a change was taken; 0 before the first one."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What an instance uses, with all that it has started. `cpu_seconds` only grows while `start` stays the same."""

    start: str
    cpu_seconds: float
    resident_bytes: int
    limit_bytes: int | None
    """Most memory that it may use; None where only the machine limits it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has, and what everything on it uses. `cpu_seconds` counts all cores since it booted."""

    cores: float
    cpu_seconds: float
    memory_bytes: int
    available_bytes: int


class Usage(Substrate):
    """Knows what instances and machines use."""

    @abstractmethod
    async def usage(self, component: str) -> Mapping[str, Figures]:
        """Return the figures of each instance, by its id. One whose figures are not known is not in it."""

    @abstractmethod
    async def machines(self) -> Mapping[str, Machine]:
        """Return the machines by the name that `Instance.machine` has."""


async def ensure(substrate: Substrate, component: str, instances: int, epoch: int) -> Outcome:
    """Bring the wanted number to `instances`: look first, ask only for what is not on record.

    After an unknown outcome it looks again, and asks a second and last time only if the first was not taken. Raises
    as `scale` does.
    """
    if await _on_record(substrate, component, instances, epoch):
        return Outcome(Result.DONE)
    outcome = await substrate.scale(component, instances, epoch)
    if outcome.result is not Result.UNKNOWN:
        return outcome
    try:
        taken = await _on_record(substrate, component, instances, epoch)
    except SubstrateAway as err:
        return Outcome(Result.UNKNOWN, f"{outcome.why}; and it cannot be looked up: {err}")
    return Outcome(Result.TAKEN) if taken else await substrate.scale(component, instances, epoch)


async def ensure_drained(substrate: Drains, component: str, instance: str, epoch: int) -> Outcome:
    """Take away a chosen instance; an unknown outcome is looked up before it is asked for once more.

    Raises as `drain` does.
    """
    outcome = await substrate.drain(component, instance, epoch)
    if outcome.result is not Result.UNKNOWN:
        return outcome
    try:
        view = await substrate.look(component)
    except SubstrateAway as err:
        return Outcome(Result.UNKNOWN, f"{outcome.why}; and it cannot be looked up: {err}")
    staying = {it.id for it in view.instances if it.state not in (State.DRAINING, State.GONE)}
    return await substrate.drain(component, instance, epoch) if instance in staying else Outcome(Result.TAKEN)


async def _on_record(substrate: Substrate, component: str, instances: int, epoch: int) -> bool:
    view = await substrate.look(component)
    fenced = not isinstance(substrate, Fences) or await substrate.epoch(component) >= epoch
    return view.wanted == instances and fenced
