"""The starts of one Func's hosts: how many are under way, and how long they took."""

from __future__ import annotations

import time
from typing import Any

from funcatron.hosts import Host
from funcatron.runner.pool import Launch, OnExit


class Starts:
    """Counts what goes through the launches that it watches."""

    __slots__ = ("done", "running", "seconds")

    def __init__(self) -> None:
        self.running = 0  # under way
        self.done = 0  # hosts that have loaded their bundle
        self.seconds = 0.0  # that these took

    def watch(self, launch: Launch) -> Launch:
        """Return the same launch, counted here."""

        async def counted(on_exit: OnExit) -> Host:
            self.running += 1
            began = time.monotonic()
            try:
                host = await launch(on_exit)
            finally:
                self.running -= 1
            self.done += 1
            self.seconds += time.monotonic() - began
            return host

        return counted

    def totals(self) -> dict[str, Any]:
        """Return what a `stats` message says of it."""
        return {"starts": self.done, "start-seconds": round(self.seconds, 3)} if self.done else {}
