"""Substrates to test with: a world for each driver, with instances of a small component that can be troubled."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from funcatron.substrates.base import Instance, State, Substrate, View
from funcatron.substrates.process import Launch, ProcessSubstrate
from funcatron.substrates.process import folder as process_folder
from funcatron.substrates.process.record import Entry
from funcatron.substrates.process.store import Unsure

PATIENCE = 20.0  # s that anything awaited may take, on a loaded machine
RUNNER, BROKEN = "runner", "broken"
# Says that it is up; told to end, finishes its work (there while NAME.busy is) and ends in good order.
COMPONENT = """
import os, signal, sys, time
folder, name = sys.argv[1:]

def note(what):
    with open(f"{folder}/{name}.{what}", "a") as stream:
        stream.write(f"{os.getpid()}\\n")

def end(number, frame):
    note("asked")
    while os.path.exists(f"{folder}/{name}.busy"):
        time.sleep(0.005)
    note("finished")
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
print("is up", flush=True)
note("up")
while True:
    signal.pause()
"""


class World(ABC):
    """A substrate of one kind, clients of it, and ways to make trouble.

    It runs two components: instances of RUNNER work, those of BROKEN say "no such luck" and end at once with code 7.
    """

    driver: type[Substrate]

    def __init__(self) -> None:
        self.clients: list[Substrate] = []
        self.changes = 0
        """Changes that clients have asked for, whatever became of them."""

    async def client(self) -> Any:
        """Return one more opened client of the substrate."""
        made = self._make()
        await made.open()
        self.clients.append(made)
        return made

    @abstractmethod
    def _make(self) -> Substrate: ...

    @abstractmethod
    async def up(self, instance: Instance) -> None:
        """Wait until an instance can be told to end."""

    @abstractmethod
    async def kill(self, instance: Instance) -> None:
        """Kill an instance, as an accident would."""

    @abstractmethod
    def hold(self, instance: Instance) -> None:
        """Give an instance work that it must finish before it ends."""

    @abstractmethod
    def release(self, instance: Instance) -> None:
        """Let it finish that."""

    @abstractmethod
    def finished(self, instance: Instance) -> bool:
        """Say whether an instance finished its work and ended in good order."""

    @abstractmethod
    def lose_answer(self, client: Substrate, *, taken: bool) -> None:
        """Let the answer to the next change of this client be lost, after or before the substrate has taken it."""

    @abstractmethod
    def jam(self) -> None:
        """Let nothing be started for now, e.g. as there is no room; what runs goes on."""

    @abstractmethod
    def free(self) -> None:
        """Let instances be started again."""

    @abstractmethod
    def blind(self) -> None:
        """Let nobody read what the substrate has of RUNNER."""

    @abstractmethod
    def see(self) -> None:
        """Let everybody read it again."""

    async def close(self) -> None:
        """End everything."""
        for client in self.clients:
            await client.close()


class ProcessWorld(World):
    """Processes of this machine."""

    driver = ProcessSubstrate

    def __init__(self, data: Path, **options: Any) -> None:
        super().__init__()
        self.data, self.options = data, options
        self.notes = data / "notes"
        self.notes.mkdir()
        self.script = data / "component.py"
        self.script.write_text(COMPONENT)
        self.grace = 60.0

    @property
    def launches(self) -> dict[str, Launch]:
        """How the components are started."""
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        python = (sys.executable, "-I", "-S")
        broken = "print('no such luck'); raise SystemExit(7)"
        return {
            RUNNER: Launch((*python, str(self.script), str(self.notes), "{id}"), env, self.data, self.grace),
            BROKEN: Launch((*python, "-c", broken), env, self.data, self.grace),
        }

    @property
    def record(self) -> Path:
        """The file of RUNNER's record."""
        return self.data / "run" / "substrate" / f"{RUNNER}.json"

    def _make(self) -> ProcessSubstrate:
        made = ProcessSubstrate(self.record.parent, self.launches, self.data / "log", **self.options)
        take = made._tending.take

        def counted(*args: Any) -> Any:
            self.changes += 1
            return take(*args)

        made._tending.take = counted  # type: ignore[method-assign]
        return made

    def entry(self, instance: str, client: int = 0) -> Entry:
        """Return what is on record of an instance."""
        made = self.clients[client]
        assert isinstance(made, ProcessSubstrate)
        found = made._store.read(RUNNER).entry(instance)
        assert found is not None
        return found

    async def up(self, instance: Instance) -> None:
        pid = self.entry(instance.id).process.pid
        await until(lambda: str(pid) in self.noted(instance, "up"))

    def noted(self, instance: Instance, what: str) -> list[str]:
        """Return the ids of the processes that noted something."""
        file = self.notes / f"{instance.id}.{what}"
        return file.read_text().split() if file.exists() else []

    async def kill(self, instance: Instance) -> None:
        os.kill(self.entry(instance.id).process.pid, signal.SIGKILL)

    def hold(self, instance: Instance) -> None:
        (self.notes / f"{instance.id}.busy").touch()

    def release(self, instance: Instance) -> None:
        (self.notes / f"{instance.id}.busy").unlink()

    def finished(self, instance: Instance) -> bool:
        return bool(self.noted(instance, "finished"))

    def lose_answer(self, client: Substrate, *, taken: bool) -> None:
        assert isinstance(client, ProcessSubstrate)
        tending = client._tending
        take = tending.take

        def lost(*args: Any) -> Any:
            tending.take = take  # type: ignore[method-assign]
            if taken:
                take(*args)
            else:
                self.changes += 1
            raise Unsure("the answer was lost")

        tending.take = lost  # type: ignore[method-assign]

    def jam(self) -> None:
        logs = self.data / "log"
        if logs.exists():
            logs.rename(self.data / "log.aside")
        logs.touch()  # a file, so that no log can be opened there

    def free(self) -> None:
        (self.data / "log").unlink()
        if (self.data / "log.aside").exists():
            (self.data / "log.aside").rename(self.data / "log")

    def blind(self) -> None:
        self.record.rename(self.record.with_suffix(".aside"))
        self.record.mkdir()

    def see(self) -> None:
        self.record.rmdir()
        self.record.with_suffix(".aside").rename(self.record)

    async def close(self) -> None:
        assert await asyncio.to_thread(process_folder.stop_all, self.data, 0.5) == []
        await super().close()


WORLDS: dict[str, type[Any]] = {"process": ProcessWorld}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # of things that give no event
            await asyncio.sleep(0.01)


async def seen(substrate: Substrate, component: str, condition: Callable[[View], bool]) -> View:
    """Look until the view is so, and return it; fails with what was seen last, and why."""
    view: View | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while view is None or not condition(view):
                if view is not None:
                    await asyncio.sleep(0.02)
                view = await substrate.look(component)
    except TimeoutError:
        raise AssertionError(f"in vain, it is {view} since {await substrate.explain(component)}") from None
    return view


async def settled(substrate: Substrate, count: int, component: str = RUNNER) -> View:
    """Wait until so many are wanted and run, and no others."""
    return await seen(substrate, component, lambda view: view.settled and view.wanted == count)


def starts(view: View, *states: State) -> set[tuple[str, str]]:
    """Return which starts of which instances are in these states (by default: run)."""
    return {(it.id, it.start) for it in view.of(*(states or (State.RUNNING,)))}
