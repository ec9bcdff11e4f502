"""Looking after the instances of the components whose keeper we are, on the event loop.

It sleeps until a process ends (a descriptor of the kernel's says so), until a pause or a grace is over, or until logs
are to be looked at. What is to be done is decided and done in `tending`, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os

from funcatron.errors import FuncatronError
from funcatron.substrates.process import plan, proc
from funcatron.substrates.process.proc import Identity
from funcatron.substrates.process.record import Keeper, Record
from funcatron.substrates.process.tending import Tending

log = logging.getLogger("funcatron.substrates.process")

ROUND = 10.0  # between two looks at the logs, s
AGAIN = 1.0  # so much later is tried again what failed, s
WATCHING = "watching"  # the trouble of all components
SLACK = 0.002  # clocks differ by a little, s


class Keeping:
    """The keeper's loop: `begin`, then `look_after` components, then `end`."""

    def __init__(self, tending: Tending, keeper: Keeper) -> None:
        self.troubles: dict[str, str] = {}
        """Why a component cannot be looked after now."""
        self._tending, self._keeper = tending, keeper
        self._kept: dict[str, Record | None] = {}  # as they were last
        self._watched: dict[Identity, int] = {}
        self._stir = asyncio.Event()
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="process substrate")

    async def end(self) -> None:
        """Stop; a step that is under way is finished first."""
        self._ending = True
        self._stir.set()
        if self._task is not None:
            await self._task
        for identity in list(self._watched):
            self._unwatch(identity)

    def look_after(self, component: str) -> None:
        """Look at a component soon, and go on as long as we are its keeper."""
        self._kept.setdefault(component, None)
        self._stir.set()

    async def _run(self) -> None:
        while not self._ending:
            self._stir.clear()
            for component in list(self._kept):
                await self._step(component)
            self._watch_all()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._stir.wait()
            except TimeoutError:
                continue

    async def _step(self, component: str) -> None:
        try:
            record = await asyncio.to_thread(self._tending.tend, component, self._keeper, self._kept[component])
        except (FuncatronError, OSError) as err:
            if self.troubles.get(component) != str(err):
                log.error("%s cannot be looked after, it is tried again: %s", component, err)
            self.troubles[component] = str(err)
            return
        except Exception as err:  # the others must be looked after all the same
            log.exception("looking after %s failed", component)
            self.troubles[component] = repr(err)
            return
        self.troubles.pop(component, None)
        if record is not None:
            self._kept[component] = record
        else:
            del self._kept[component]
            log.info("%s is not looked after by this process any more", component)

    def _pause(self) -> float | None:
        """Return how long there is nothing to do, s; None if only an event can change that."""
        if self.troubles:
            return AGAIN
        records = [it for it in self._kept.values() if it is not None]
        due = [at - proc.now() for it in records if (at := plan.wake_at(it)) is not None]
        if any(entry.process.pid for it in records for entry in it.entries):
            due.append(ROUND)
        return max(0.0, min(due)) + SLACK if due else None

    def _watch_all(self) -> None:
        try:
            self._watch()
        except OSError as err:  # no descriptor is left
            self.troubles[WATCHING] = f"the ends of processes cannot be seen: {err}"
            log.error("%s", self.troubles[WATCHING])
        else:
            self.troubles.pop(WATCHING, None)

    def _watch(self) -> None:
        """Wait for the end of each process; those of components that we lost may be children of ours still."""
        records = (it for it in self._kept.values() if it is not None)
        there = {entry.process for it in records for entry in it.entries if entry.process.pid}
        for identity in [it for it in self._watched if it not in there and not proc.alive(it)]:
            self._unwatch(identity)
        for identity in there - self._watched.keys():
            descriptor = proc.open_fd(identity)
            if descriptor is None:
                if not self.troubles:  # else it is tried again anyway, but not at once
                    self._stir.set()
                continue
            self._watched[identity] = descriptor
            self._loop.add_reader(descriptor, self._ended, identity)

    def _unwatch(self, identity: Identity) -> None:
        descriptor = self._watched.pop(identity)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)

    def _ended(self, identity: Identity) -> None:
        self._unwatch(identity)
        self._stir.set()
        # another keeper that looks after it now can read how it ended before we bury it
        self._loop.call_later(AGAIN, proc.bury, identity)
