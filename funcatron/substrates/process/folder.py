"""What runs by a data folder's state folder, for the stack of one machine: list it, stop all of it, let it run again.

All of it blocks, and works whether a Tron is there or not.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from funcatron.substrates.base import State
from funcatron.substrates.process import figures, plan, proc, view
from funcatron.substrates.process.driver import FOLDER, now
from funcatron.substrates.process.proc import Identity, Mark
from funcatron.substrates.process.store import Store

KILL_PATIENCE = 5.0  # until the kernel has removed what was killed, s


@dataclass(frozen=True, slots=True)
class Row:
    """One instance, as `status` shows it. Pid 0: it has no process now. `up_for` in seconds."""

    component: str
    id: str
    state: State
    pid: int
    up_for: float
    memory_bytes: int
    note: str


def listing(data: Path) -> list[Row]:
    """Return the instances of a data folder's substrate, but not those that are gone.

    Raises SubstrateAway if a record cannot be read.
    """
    store, moment = Store(data / FOLDER), now()
    entries = [(name, it) for name in store.components() for it in store.read(name).entries]
    memory = _memory(it.process.pid for _, it in entries if it.process.pid)
    rows = []
    for component, it in entries:
        state, note = view.standing(it, moment)
        if state is not State.GONE:
            pid = it.process.pid if proc.alive(it.process) else 0
            up_for = moment.boot - it.since if pid else 0.0
            rows.append(Row(component, it.id, state, pid, up_for, memory.get(pid, 0), note))
    return rows


def stop_all(data: Path, grace: float) -> list[str]:
    """Stop everything for good: ask all to end, kill what does not within `grace` seconds.

    Nothing is started in that folder until `reopen`, by no Tron. Found are also processes that are not on record.
    Returns those that remain even so: id and process. Raises SubstrateError if the folder's lock cannot be had.
    """
    store = Store(data / FOLDER)
    if not store.folder.is_dir() and not proc.marked(store.folder):
        return []
    store.make()
    with store.locked():
        store.close()
        found, asked = _on_record(store)
    found |= proc.marked(store.folder)
    for mark, identity in found.items():
        if mark.key not in asked:  # a second one would cut short what the first lets finish
            proc.send(identity, signal.SIGTERM)
    _await_end(found.values(), grace)
    for mark, identity in found.items():
        proc.kill(identity, proc.marker(mark, store.folder))
    _await_end(found.values(), KILL_PATIENCE)
    found = {mark: it for mark, it in found.items() if proc.alive(it)} | proc.marked(store.folder)
    remaining = [f"{mark.id} (process {it.pid})" for mark, it in found.items()]
    with store.locked():
        for component in store.components():
            store.write(plan.emptied(store.repaired(component), proc.now(), proc.alive))
    return remaining


def reopen(data: Path) -> None:
    """Let instances be started again. Idempotent."""
    Store(data / FOLDER).reopen()


def _on_record(store: Store) -> tuple[dict[Mark, Identity], set[str]]:
    """Return what runs by the records, and the keys of those that have been asked to end."""
    entries = [(name, it) for name in store.components() for it in store.repaired(name).entries]
    alive = {Mark(name, it.id, it.key, it.epoch): it.process for name, it in entries if proc.alive(it.process)}
    return alive, {it.key for _, it in entries if it.asked}


def _await_end(processes: Iterable[Identity], timeout: float) -> None:
    """Wait until these processes have ended, at most `timeout` seconds."""
    end, poll = time.monotonic() + timeout, select.poll()
    with ExitStack() as open_ones:
        waiting = set()
        for descriptor in map(proc.open_fd, processes):
            if descriptor is None:
                continue
            open_ones.callback(os.close, descriptor)
            poll.register(descriptor, select.POLLIN)
            waiting.add(descriptor)
        while waiting and (left := end - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                waiting.discard(descriptor)


def _memory(pids: Iterable[int]) -> dict[int, int]:
    families = figures.families(pids, proc.stats())
    return {pid: sum(it.resident_bytes for it in family) for pid, family in families.items()}
