"""The state folder: a file a component, read at any time, changed by one process at a time.

Files are replaced as a whole, so a reader sees the old one or the new one. Whoever changes one holds the folder's lock,
which the kernel frees when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from funcatron.errors import SubstrateAway, SubstrateError
from funcatron.substrates.process import plan, proc
from funcatron.substrates.process.record import Entry, Record, Stage, from_json, to_json

PATIENCE = 5.0  # the lock is held for milliseconds, unless its holder has been stopped, s


class Busy(SubstrateError):
    """Another process holds the state folder's lock."""


class Unsure(SubstrateError):
    """The record may or may not have been written."""


class Damaged(SubstrateAway):
    """A record is damaged or has gone, while instances may run."""


class Store:
    """The state folder of the instances of one data folder. All methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._lock = self.folder / "lock"
        self._closed = self.folder / "closed"

    def make(self) -> None:
        """Make the folder, for its owner only. Raises SubstrateError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as err:
            raise SubstrateError(f"the state folder {self.folder} cannot be made: {err}") from err

    def components(self) -> list[str]:
        """Return the components that have a record."""
        return sorted(it.stem for it in self.folder.glob("*.json"))

    def file(self, component: str) -> Path:
        """Return the file of a component's record."""
        return self.folder / f"{component}.json"

    def read(self, component: str) -> Record:
        """Return the record. Raises SubstrateAway if it cannot be read, Damaged if it is, or if it is missing while
        instances run.
        """
        file = self.file(component)
        try:
            record = from_json(file.read_bytes())
        except FileNotFoundError:
            record = self.rebuilt(component)
            if record.entries:
                raise Damaged(f"{file} is missing, but there are {_running(record)}; {REPAIR}") from None
        except OSError as err:
            raise SubstrateAway(f"{file} cannot be read: {err}") from err
        except ValueError as err:
            found = _running(self.rebuilt(component))
            raise Damaged(f"{file} is damaged: {err}; there are {found}; {REPAIR}") from err
        return record if record.boot == proc.boot() else _of_this_boot(record)

    def repaired(self, component: str) -> Record:
        """Return the record, made anew from what runs if it is damaged or missing."""
        try:
            return self.read(component)
        except Damaged:
            return self.rebuilt(component)

    def rebuilt(self, component: str) -> Record:
        """Return a record of what runs by the markers of processes."""
        found = {mark: it for mark, it in proc.marked(self.folder).items() if mark.component == component}
        entries = tuple(
            Entry(mark.id, Stage.RUNNING, it.started / proc.TICKS, it, mark.key, mark.epoch, starts=1)
            for mark, it in found.items()
        )
        epoch = max((it.epoch for it in entries), default=0)
        return Record(component, proc.boot(), len(entries), epoch, entries=entries)

    def write(self, record: Record) -> None:
        """Replace the record. Raises SubstrateError if it was not, Unsure if nobody knows."""
        file = self.file(record.component)
        new = file.with_suffix(".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(to_json(record))
                stream.flush()
                os.fsync(descriptor)
        except OSError as err:
            raise SubstrateError(f"{file} cannot be written: {err}") from err
        try:
            new.replace(file)
        except OSError as err:
            raise Unsure(f"nobody knows whether {file} was written: {err}") from err

    @contextmanager
    def locked(self, patience: float = PATIENCE) -> Iterator[None]:
        """Hold the lock. Raises Busy, naming the holder, if it cannot be had within `patience` seconds."""
        try:
            stream = self._lock.open("a")
        except OSError as err:
            raise SubstrateError(f"the lock {self._lock} cannot be opened: {err}") from err
        with stream:
            end, every = time.monotonic() + patience, 0.001
            while not _take(stream.fileno()):
                if time.monotonic() >= end:
                    holder = proc.names(proc.holders(self._lock))
                    raise Busy(f"another process holds {self._lock} for more than {patience:g} s: {holder}")
                time.sleep(every)  # flock(2) itself has no time limit
                every = min(0.05, every * 2)
            yield

    @property
    def closed(self) -> bool:
        """Whether nothing may be started: the stack is stopped."""
        return self._closed.exists()

    def close(self) -> None:
        """Let nothing be started any more."""
        self._closed.touch()

    def reopen(self) -> None:
        """Let instances be started again."""
        self._closed.unlink(missing_ok=True)


REPAIR = "the next change by the Tron that leads makes it anew from them"


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _running(record: Record) -> str:
    names = ", ".join(it.id for it in record.entries)
    return f"{len(record.entries)} running ({names})" if names else "none running"


def _of_this_boot(record: Record) -> Record:
    """Return a record of an earlier boot as it is now: its processes have ended with that, and none is to blame."""
    now = proc.now()
    entries = []
    for it in record.entries:
        fresh = replace(it, since=now, retry_at=0.0)
        if it.stage in (Stage.RUNNING, Stage.LEAVING):
            fresh = replace(
                plan.ended(replace(fresh, failures=0), "ended with the machine", (), now, 1.0), retry_at=0.0
            )
        entries.append(fresh)
    return replace(record, boot=proc.boot(), entries=tuple(entries))
