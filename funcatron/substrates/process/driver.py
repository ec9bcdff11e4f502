"""The `process` substrate: instances are processes of this machine, detached from the Tron that has started them.

What is wanted and what runs is on record in a state folder (`store`), so that the next Tron finds the instances as they
are. The client that changed a component last looks after it: it is its *keeper* (`keeping`, `tending`). Everything that
blocks runs in a thread, and no two clients do anything at once (the store's lock).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from funcatron.errors import SubstrateAway
from funcatron.settings import Settings
from funcatron.substrates.base import Drains, Fences, Figures, Machine, Outcome, Result, Usage, View
from funcatron.substrates.process import figures, logs, plan, proc, view
from funcatron.substrates.process.keeping import WATCHING, Keeping
from funcatron.substrates.process.launch import Launch, launches
from funcatron.substrates.process.proc import Identity
from funcatron.substrates.process.record import Keeper, Record
from funcatron.substrates.process.store import PATIENCE, Busy, Store, Unsure
from funcatron.substrates.process.tending import CLOSED, Tending

FOLDER = Path("run", "substrate")
"""Of the state, below the data folder."""


class ProcessSubstrate(Drains, Fences, Usage):
    """One client of a state folder. Used from one event loop."""

    def __init__(
        self,
        folder: Path,
        components: Mapping[str, Launch],
        log_folder: Path,
        *,
        log_limit: int = logs.LIMIT,
        patience: float = PATIENCE,
    ) -> None:
        self._store = Store(folder)
        self._tending = Tending(self._store, components, log_folder, log_limit=log_limit, patience=patience)
        self._machine = socket.gethostname()
        self._me = Keeper(_myself(), secrets.token_hex(8))
        self._keeping = Keeping(self._tending, self._me)

    async def open(self) -> None:
        """See Substrate."""
        await asyncio.to_thread(self._store.make)
        self._keeping.begin()

    async def close(self) -> None:
        """See Substrate."""
        await self._keeping.end()

    async def scale(self, component: str, instances: int, epoch: int) -> Outcome:
        """See Substrate."""
        if instances < 0:
            raise ValueError(f"there cannot be {instances} instances of {component}")

        def fresh() -> str:
            return f"{component}-{secrets.token_hex(4)}"

        return await self._change(component, epoch, lambda record, now: plan.resized(record, instances, now, fresh))

    async def drain(self, component: str, instance: str, epoch: int) -> Outcome:
        """See Drains."""
        return await self._change(component, epoch, lambda record, now: plan.without(record, instance, now))

    async def look(self, component: str) -> View:
        """See Substrate."""
        return view.view(await self._read(component), now(), self._machine)

    async def epoch(self, component: str) -> int:
        """See Fences."""
        return (await self._read(component)).epoch

    async def explain(self, component: str) -> tuple[str, ...]:
        """See Substrate."""
        try:
            record = await self._read(component)
        except SubstrateAway as err:
            return (str(err),)
        said = view.sentences(record, now(), self._tending.log_of)
        if self._store.closed:
            return (CLOSED, *said)
        return (*self._about_keeper(record), *said)

    async def usage(self, component: str) -> Mapping[str, Figures]:
        """See Usage."""
        return await asyncio.to_thread(_usage, await self._read(component))

    async def machines(self) -> Mapping[str, Machine]:
        """See Usage."""
        return {self._machine: await asyncio.to_thread(figures.machine)}

    async def _read(self, component: str) -> Record:
        self._tending.known(component)
        return await asyncio.to_thread(self._store.read, component)

    async def _change(self, component: str, epoch: int, change: Callable[[Record, float], Record]) -> Outcome:
        change_made = asyncio.ensure_future(asyncio.to_thread(self._tending.take, component, epoch, self._me, change))

        def look_after(future: asyncio.Future[tuple[Record, Record]]) -> None:
            """Also when the caller was cancelled, and when nobody knows whether it is on record."""
            if not future.cancelled() and (future.exception() is None or isinstance(future.exception(), Unsure)):
                self._keeping.look_after(component)

        change_made.add_done_callback(look_after)
        try:
            before, after = await asyncio.shield(change_made)
        except Busy as err:
            return Outcome(Result.BUSY, str(err))
        except Unsure as err:
            return Outcome(Result.UNKNOWN, str(err))
        return Outcome(Result.DONE if before.wanted == after.wanted else Result.TAKEN)

    def _about_keeper(self, record: Record) -> tuple[str, ...]:
        """Say what is wrong with the one who looks after the instances."""
        component, keeper = record.component, record.keeper.process
        trouble = self._keeping.troubles.get(component) or self._keeping.troubles.get(WATCHING)
        if trouble is not None:
            return (trouble,)
        if not record.entries:
            return ()
        if not proc.alive(keeper):
            return (f"nobody looks after {component}: the Tron that did has ended; the next one to lead will",)
        if proc.stopped(keeper):
            return (f"the Tron that looks after {component} (process {keeper.pid}) is stopped by a signal",)
        return ()


def now() -> view.Now:
    """Return what views are made of, as it is now."""
    return view.Now(proc.now(), time.time(), proc.alive)


def from_settings(settings: Settings) -> ProcessSubstrate:
    """Make the driver that the settings describe."""
    return ProcessSubstrate(settings.data / FOLDER, launches(settings), (settings.data / "log").absolute())


def _myself() -> Identity:
    found = proc.stat(os.getpid())
    assert found is not None
    return found.identity


def _usage(record: Record) -> dict[str, Figures]:
    there = {it.process.pid: it for it in record.entries if it.process.pid and proc.alive(it.process)}
    families = figures.families(there, proc.stats())
    return {
        there[pid].id: Figures(
            start=there[pid].key,
            cpu_seconds=sum(it.cpu_seconds for it in family),
            resident_bytes=sum(it.resident_bytes for it in family),
            limit_bytes=figures.memory_limit(pid),
        )
        for pid, family in families.items()
    }
