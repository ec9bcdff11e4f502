"""The hosts of one Func that are being started, each in a place that was taken for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from funcatron.errors import FuncatronError
from funcatron.hosts import Host
from funcatron.hosts.process import describe_exit
from funcatron.runner.capacity import Capacity
from funcatron.runner.crashes import Crashes
from funcatron.runner.seat import Seat

OnExit = Callable[[Host, int | None], None]
Launch = Callable[[OnExit], Awaitable[Host]]
Ended = Callable[[BaseException | None], None]


class Launching:
    """Starts hosts, each after the pause that earlier deaths ask for.

    The pool is told of each that is there (`on_seat`) or does not start (`on_failed`), of each end of a host
    (`on_lost`), and when a start is over (`on_end`: what went wrong, if that was nothing to be expected).
    """

    def __init__(
        self,
        launch: Launch,
        capacity: Capacity,
        crashes: Crashes,
        *,
        on_seat: Callable[[Seat], None],
        on_failed: Callable[[str], None],
        on_lost: Callable[[Seat, str], None],
        on_end: Ended,
    ) -> None:
        self._launch, self._capacity, self._crashes = launch, capacity, crashes
        self._on_seat, self._on_failed, self._on_lost, self._on_end = on_seat, on_failed, on_lost, on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: set[asyncio.Task[None]] = set()  # those that hold a place and have no host yet

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, *, placed: bool) -> None:
        """Start a host. `placed`: its place is taken already; else it waits for one."""
        task = asyncio.get_running_loop().create_task(self._one(placed))
        self._tasks.add(task)
        if placed:
            self._places.add(task)
        task.add_done_callback(self._done)

    def cancel(self, count: int) -> int:
        """Give up as many starts, if there are so many; returns how many."""
        found = list(self._tasks)[:count]
        for task in found:
            task.cancel()
        return len(found)

    async def close(self) -> None:
        """Give up all starts; returns once they are over."""
        self.cancel(len(self._tasks))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def seat(self) -> Seat:
        """Start a host in a place that was taken, at once; the place is given back if that fails."""
        seat = Seat(time.monotonic())

        def on_exit(host: Host, code: int | None) -> None:
            self._on_lost(seat, "it died" if code is None else f"it {describe_exit(code)}")

        try:
            async with self._capacity.starts:
                seat.host = await self._launch(on_exit)
        except BaseException:
            if not seat.gone:
                seat.gone = True
                self._capacity.give()
            raise
        return seat

    async def _one(self, placed: bool) -> None:
        pause = self._crashes.retry_at - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        if not placed:
            await self._capacity.take()
        task = asyncio.current_task()
        assert task is not None
        self._places.discard(task)
        try:
            seat = await self.seat()
        except FuncatronError as err:
            self._on_failed(f"it does not start: {err}")
        else:
            self._on_seat(seat)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task in self._places:  # it was given up before it came to anything
            self._places.discard(task)
            self._capacity.give()
        self._on_end(None if task.cancelled() else task.exception())
