"""What to do about the instances on record: pure functions of the record and the time.

An instance that ends unasked is started again after a pause that doubles with each failure in a row and is jittered, so
that instances that died together do not start together. One that has lived for a while is forgiven.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from funcatron.substrates.process.proc import Identity
from funcatron.substrates.process.record import NOBODY, Entry, Record, Stage

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
FORGIVEN = 30.0  # a start that lived for so long was none in vain, s
KILL_AGAIN = 5.0  # one that survives SIGKILL (the kernel holds it) is killed again so much later, s
KEPT = 20  # so many that are gone are kept on record, with their logs


@dataclass(frozen=True, slots=True)
class Steps:
    """The instances to start, to ask to end, to kill, and to forget, by id."""

    start: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()


def pause(failures: int, jitter: float) -> float:
    """Return how long to wait before the next start after so many failures in a row, s; `jitter` is from 0 to 1."""
    whole = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 30))
    return whole * (1.0 - jitter / 2)


def ended(entry: Entry, how: str, said: tuple[str, ...], now: float, jitter: float) -> Entry:
    """Return an entry whose process has ended: gone if it was told to, else waiting for its next start."""
    if entry.stage is Stage.LEAVING:
        how = f"{how}: it had not ended within its grace" if entry.killed else how
        return replace(entry, stage=Stage.GONE, since=now, process=NOBODY, reason=f"was told to end and {how}")
    lived = now - entry.since
    failures = 1 if lived >= FORGIVEN else entry.failures + 1
    return replace(
        entry,
        stage=Stage.WAITING,
        since=now,
        process=NOBODY,
        failures=failures,
        retry_at=now + pause(failures, jitter),
        reason=f"{how} after {lived:.1f} s",
        said=said,
    )


def begun(entry: Entry, key: str, argv: tuple[str, ...], epoch: int, now: float, log_from: int) -> Entry:
    """Return an entry that is started now, under a new key; its process is not known yet."""
    return replace(
        entry,
        stage=Stage.RUNNING,
        since=now,
        key=key,
        epoch=epoch,
        argv=argv,
        starts=entry.starts + 1,
        log_from=log_from,
    )


def noted(record: Record, due: Steps, now: float, grace: float) -> Record:
    """Return the record after these steps: with the time of the next kill, and without those to forget."""
    for entry in filter(None, map(record.entry, due.ask)):
        record = record.with_entry(replace(entry, asking=True, deadline=now + grace))
    for entry in filter(None, map(record.entry, due.kill)):
        record = record.with_entry(replace(entry, killed=True, deadline=now + KILL_AGAIN))
    return replace(record, entries=tuple(it for it in record.entries if it.id not in due.forget))


def told(record: Record, due: Steps) -> Record:
    """Return the record when those that were to be asked have been."""
    for entry in filter(None, map(record.entry, due.ask)):
        record = record.with_entry(replace(entry, asked=True))
    return record


def resized(record: Record, wanted: int, now: float, fresh: Callable[[], str]) -> Record:
    """Return the record with another wanted number: with new entries, or with those that are too many sent away."""
    staying = record.staying
    fewer = tuple(sorted(staying, key=_standing, reverse=True)[: max(0, len(staying) - wanted)])
    for entry in fewer:
        record = record.with_entry(sent_away(entry, now))
    more = tuple(Entry(fresh(), Stage.WAITING, now) for _ in range(wanted - len(staying)))
    return replace(record, wanted=wanted, entries=record.entries + more)


def without(record: Record, instance: str, now: float) -> Record:
    """Return the record with a chosen instance sent away and one fewer wanted; the same if it does not stay anyway."""
    entry = record.entry(instance)
    if entry is None or not entry.staying:
        return record
    return replace(record.with_entry(sent_away(entry, now)), wanted=record.wanted - 1)


def sent_away(entry: Entry, now: float) -> Entry:
    """Return the entry of an instance that shall end."""
    if entry.stage is Stage.RUNNING:
        return replace(entry, stage=Stage.LEAVING, since=now)
    why = f"is not wanted any more; before that it {entry.reason}" if entry.reason else "was not wanted any more"
    return replace(entry, stage=Stage.GONE, since=now, reason=why)


def emptied(record: Record, now: float, alive: Callable[[Identity], bool]) -> Record:
    """Return the record when all was stopped: nothing is wanted, and what has ended is gone."""
    gone = (
        it
        if it.stage is Stage.GONE or alive(it.process)
        else replace(it, stage=Stage.GONE, since=now, process=NOBODY, reason="was stopped with the stack")
        for it in record.entries
    )
    return replace(record, wanted=0, entries=tuple(gone))


def steps(record: Record, now: float) -> Steps:
    """Return what is due."""
    leaving = [it for it in record.entries if it.stage is Stage.LEAVING]
    gone = [it for it in record.entries if it.stage is Stage.GONE]
    return Steps(
        start=tuple(it.id for it in record.entries if it.stage is Stage.WAITING and it.retry_at <= now),
        # a second SIGTERM may cut short what the first lets finish: it comes when that would be killed anyway
        ask=tuple(it.id for it in leaving if not it.asked and (not it.asking or it.deadline <= now)),
        kill=tuple(it.id for it in leaving if it.asked and it.deadline <= now),
        forget=tuple(it.id for it in sorted(gone, key=lambda it: it.since)[:-KEPT]),
    )


def wake_at(record: Record) -> float | None:
    """Return when the next step becomes due by itself; None if only an event can bring one."""
    times = [it.retry_at for it in record.entries if it.stage is Stage.WAITING]
    times += [it.deadline if it.asking else 0.0 for it in record.entries if it.stage is Stage.LEAVING]
    return min(times, default=None)


def _standing(entry: Entry) -> tuple[bool, int, float]:
    """Those with most of it go first: not running before running, failing before sound, young before old."""
    return entry.stage is Stage.WAITING, entry.failures, entry.since
