"""The depths of the func queues and of the firehose, read once a period."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from funcatron.brokers.base import Depth
from funcatron.brokers.gauge import Gauge
from funcatron.errors import UnknownDepth
from funcatron.message.topology import FIREHOSE

log = logging.getLogger("funcatron.tron.depths")

Take = Callable[[Mapping[str, Depth | None]], None]


class Depths:
    """Reads by a gauge and hands on what it read: `take` gets a depth, or None for unknown, for each queue."""

    def __init__(self, gauge: Gauge, take: Take, clock: Callable[[], float] = time.monotonic) -> None:
        self.gauge = gauge
        self.unknown = ""  # why nothing could be read the last time
        self.seconds: float | None = None  # that the last reading took
        self._take, self._clock = take, clock
        self._reading = False
        self._settled = asyncio.Event()  # no reading runs
        self._settled.set()

    async def collect(self, queues: Iterable[str]) -> None:
        """Read the depths of these func queues and of the firehose. Does nothing while the last reading still runs."""
        if self._reading:
            return
        self._reading = True
        self._settled.clear()
        began = self._clock()
        names = [FIREHOSE, *queues]
        try:
            self._take(await self.gauge.depths(names))
        except UnknownDepth as err:
            self._say(str(err))
            self._take(dict.fromkeys(names))
        else:
            self._say("")
        finally:
            self._reading = False
            self._settled.set()
            self.seconds = self._clock() - began

    async def settled(self) -> None:
        """Return once what is being read has been handed on."""
        await self._settled.wait()

    async def close(self) -> None:
        """Let go of the gauge."""
        await self.gauge.close()

    def _say(self, unknown: str) -> None:
        """Log a change, not each second of it."""
        if unknown and not self.unknown:
            log.warning("the depths of queues are not known: %s", unknown)
        elif self.unknown and not unknown:
            log.info("the depths of queues are known again")
        self.unknown = unknown
