"""What the record says, as people and the seam see it: pure functions of the record and of what is alive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from funcatron.substrates.base import Instance, State, View
from funcatron.substrates.process.plan import FORGIVEN
from funcatron.substrates.process.proc import Identity
from funcatron.substrates.process.record import Entry, Record, Stage

STEADY = 1.0  # one that failed counts as running again when it has lived for so long, s
SHOWN = 300.0  # one that is gone is listed for so long, s
LOOP = 3  # so many failures in a row are a crash loop


@dataclass(frozen=True, slots=True)
class Now:
    """The time since boot and since 1970, and which processes are alive."""

    boot: float
    unix: float
    alive: Callable[[Identity], bool]


def view(record: Record, now: Now, machine: str) -> View:
    """Return what the seam shows of a record."""
    shown = (it for it in record.entries if it.stage is not Stage.GONE or now.boot - it.since <= SHOWN)
    return View(record.component, record.wanted, tuple(instance(it, now, machine) for it in shown))


def instance(entry: Entry, now: Now, machine: str) -> Instance:
    """Return an entry as an instance."""
    state, reason = standing(entry, now)
    said = "".join(f"\n  {line}" for line in entry.said) if reason else ""
    return Instance(
        id=entry.id,
        state=state,
        since=now.unix - (now.boot - entry.since),
        start=entry.key,
        restarts=max(0, entry.starts - 1),
        reason=f"{reason}; it wrote last:{said}" if said else reason,
        machine=machine,
    )


def standing(entry: Entry, now: Now) -> tuple[State, str]:
    """Return an entry's state and its reason."""
    match entry.stage:
        case Stage.GONE:
            return State.GONE, entry.reason
        case Stage.WAITING:
            return (State.FAILED, failing(entry, now)) if entry.reason else (State.PENDING, "is about to be started")
        case Stage.LEAVING:
            there = now.alive(entry.process)
            return (State.DRAINING, "finishes what it has begun") if there else (State.GONE, "was told to end and did")
    lived = now.boot - entry.since
    if not now.alive(entry.process):
        earlier = f"; before that it {entry.reason}" if entry.reason else ""
        return State.FAILED, f"has ended after {lived:.1f} s at most, and is not started again yet{earlier}"
    if entry.failures and lived < STEADY:
        return State.PENDING, f"has just been started again; before that it {entry.reason}"
    return State.RUNNING, ""


def failing(entry: Entry, now: Now) -> str:
    """Say what a waiting entry's trouble is."""
    soon = max(0.0, entry.retry_at - now.boot)
    often = f", {entry.failures} times in a row" if entry.failures > 1 else ""
    return f"{entry.reason}{often}; it is started again in {soon:.1f} s"


def sentences(record: Record, now: Now, log_of: Callable[[str], object]) -> list[str]:
    """Say what keeps each instance from being as wanted."""
    said = []
    for entry in record.entries:
        state, reason = standing(entry, now)
        if state in (State.FAILED, State.PENDING) or recovering(entry, now):
            loop = "crashes in a loop: it " if entry.failures >= LOOP else ""
            reason = reason or f"runs again since {now.boot - entry.since:.1f} s; before that it {entry.reason}"
            lines = "".join(f"\n  {line}" for line in entry.said)
            said.append(f"{entry.id} {loop}{reason} (log: {log_of(entry.id)}){lines}")
        elif state is State.DRAINING:
            then = "is killed" if entry.asked else "is asked again, as nobody knows whether it was,"
            left = f"; it {then} in {max(0.0, entry.deadline - now.boot):.0f} s" if entry.asking else ""
            said.append(f"{entry.id} {reason} since {now.boot - entry.since:.0f} s{left}")
    return said


def recovering(entry: Entry, now: Now) -> bool:
    """Say whether an instance runs that has failed a moment ago."""
    return entry.stage is Stage.RUNNING and entry.failures > 0 and now.boot - entry.since < FORGIVEN
