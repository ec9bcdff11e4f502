"""Makes what runs on this machine agree with the record. All of it blocks; the event loop runs it in a thread."""

from __future__ import annotations

import logging
import random
import secrets
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from funcatron.errors import NotFound, NotLeader, SubstrateError
from funcatron.substrates.process import launch, logs, plan, proc
from funcatron.substrates.process.launch import Launch, Started
from funcatron.substrates.process.proc import Mark
from funcatron.substrates.process.record import Entry, Keeper, Record, Stage
from funcatron.substrates.process.store import PATIENCE, Damaged, Store

log = logging.getLogger("funcatron.substrates.process")

CLOSED = "the stack is stopped; `funcatron up` lets it run again"


class Tending:
    """The instances of one state folder, as one client sees and changes them."""

    def __init__(
        self,
        store: Store,
        launches: Mapping[str, Launch],
        log_folder: Path,
        *,
        log_limit: int = logs.LIMIT,
        patience: float = PATIENCE,
    ) -> None:
        self.store, self.launches, self.log_folder = store, launches, log_folder
        self.log_limit, self.patience = log_limit, patience

    def log_of(self, instance: str) -> Path:
        """Return the log of an instance."""
        return self.log_folder / f"{instance}.log"

    def known(self, component: str) -> Launch:
        """Return how a component is started. Raises NotFound that names those that there are."""
        found = self.launches.get(component)
        if found is None:
            raise NotFound(f"there is no component {component!r} here; there are: {', '.join(sorted(self.launches))}")
        return found

    # -- changing what is wanted ---------------------------------------------------------------------------------

    def take(
        self, component: str, epoch: int, keeper: Keeper, change: Callable[[Record, float], Record]
    ) -> tuple[Record, Record]:
        """Put a change on record, under an epoch, and make `keeper` the one who looks after the component.

        Returns the record before and after. Raises NotLeader for an epoch that is too low, Busy, SubstrateError if
        it cannot be written, Unsure if nobody knows.
        """
        self.known(component)
        with self.store.locked(self.patience):
            if self.store.closed:
                raise SubstrateError(f"nothing can be changed: {CLOSED}")
            found = self.store.repaired(component)
            if epoch < found.epoch:
                raise NotLeader(
                    f"{component} is under epoch {found.epoch}; this was asked under epoch {epoch}: another Tron leads"
                )
            changed = replace(change(self._observed(found), proc.now()), epoch=epoch, keeper=keeper)
            self.store.write(changed)
        return found, changed

    # -- doing what is due ---------------------------------------------------------------------------------------

    def tend(self, component: str, keeper: Keeper, last: Record | None) -> Record | None:
        """Replace what has ended; start, ask and kill what is due. Returns the record; None if there is nothing to look
        after for `keeper`: another does, or all is stopped.

        `last` is the record as the keeper saw it last, in case that it was damaged since. Raises as `take` does.
        """
        with self.store.locked(self.patience):
            found = self._read(component, last)
            if found.keeper != keeper or self.store.closed:
                return None
            now = proc.now()
            observed = self._observed(found)
            due = plan.steps(observed, now)
            started: list[Started] = []
            try:
                record = self._started(observed, due.start, started)
                record = plan.noted(record, due, now, self.known(component).grace)
                if record != found or found is last:
                    self.store.write(record)
            except BaseException:
                for process in started:
                    process.drop()
                raise
            for process in started:
                process.go()
            self._signal(record, due)
            if due.ask:
                record = plan.told(record, due)
                self.store.write(record)
        self._tidy(record, due)
        return record

    def _read(self, component: str, last: Record | None) -> Record:
        try:
            if last is None or self.store.file(component).exists():
                return self.store.read(component)
            log.warning("%s has gone; it is written again as it was", self.store.file(component))
        except Damaged as err:
            if last is None:
                raise
            log.warning("%s: it is written again as it was", err)
        return last

    def _observed(self, record: Record) -> Record:
        """Return the record with what has ended meanwhile; what that left of its own is killed."""
        for entry in record.entries:
            if entry.process.pid and not proc.alive(entry.process):
                record = record.with_entry(self._ended(record, entry))
        return record

    def _ended(self, record: Record, entry: Entry) -> Entry:
        proc.kill(entry.process, self._marker(record, entry))  # before it is buried and its number given to another
        how = proc.describe(proc.bury(entry.process))
        said = logs.tail(self.log_of(entry.id), entry.log_from)
        after = plan.ended(entry, how, said, proc.now(), random.random())
        if after.stage is Stage.WAITING:
            log.warning("%s %s", entry.id, after.reason, extra={"said": list(said), "failures": after.failures})
        else:
            log.info("%s %s", entry.id, after.reason)
        return after

    def _started(self, record: Record, due: tuple[str, ...], started: list[Started]) -> Record:
        """Return the record with processes for these instances; they are added to `started` and wait there."""
        how = self.known(record.component)
        for entry in filter(None, map(record.entry, due)):
            file = self.log_of(entry.id)
            begun = plan.begun(
                entry, secrets.token_hex(4), how.command(entry.id), record.epoch, proc.now(), logs.size(file)
            )
            env = {**how.env, proc.MARKER: self._marker(record, begun)}
            try:
                self.log_folder.mkdir(parents=True, exist_ok=True)
                process = launch.start(how, begun.argv, env, file)
            except OSError as err:
                failed = plan.ended(begun, f"cannot be started: {err},", (), begun.since, random.random())
                record = record.with_entry(failed)
                log.warning("%s cannot be started: %s", entry.id, err)
                continue
            started.append(process)
            record = record.with_entry(replace(begun, process=process.identity))
            log.info("%s is started as process %d", entry.id, process.identity.pid)
        return record

    def _signal(self, record: Record, due: plan.Steps) -> None:
        for entry in filter(None, map(record.entry, due.ask)):
            log.info("%s is told to end", entry.id)
            proc.send(entry.process, signal.SIGTERM)
        for entry in filter(None, map(record.entry, due.kill)):
            log.warning("%s has not ended within its grace and is killed", entry.id)
            proc.kill(entry.process, self._marker(record, entry))

    def _tidy(self, record: Record, due: plan.Steps) -> None:
        """Delete the logs of the forgotten, set full ones aside."""
        try:
            for instance in due.forget:
                logs.remove(self.log_of(instance))
            for entry in record.entries:
                if entry.process.pid and logs.rotate(self.log_of(entry.id), self.log_limit):
                    log.info("the log of %s was full and is set aside", entry.id)
        except OSError as err:
            log.warning("logs cannot be set aside: %s", err)

    def _marker(self, record: Record, entry: Entry) -> str:
        return proc.marker(Mark(record.component, entry.id, entry.key, entry.epoch), self.store.folder)
