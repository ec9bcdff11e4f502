"""The depths of many queues at once, which some brokers tell far cheaper than queue by queue.

A driver's gauge is a name in `GAUGES`; any other broker is asked by its `depth`, a few queues at a time.
"""

from __future__ import annotations

import asyncio
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import cast

from funcatron.brokers.base import Broker, Depth
from funcatron.errors import BrokerError, UnknownDepth
from funcatron.settings import Settings

# name of the broker's driver → "module:function" that makes its gauge from the settings
GAUGES = {"rabbitmq": "funcatron.brokers.amqp.totals:from_settings"}

AT_ONCE = 8  # queues that are asked for at the same time
TIME = 3.0  # s that an answer may take


class Gauge(ABC):
    """Reads depths."""

    @abstractmethod
    async def depths(self, queues: Iterable[str]) -> dict[str, Depth | None]:
        """Read the depths of these queues, by name; None: this one is not known, or there is no such queue.

        Raises UnknownDepth when none can be read.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of what it holds. Idempotent."""


class EachQueue(Gauge):
    """Asks a Broker for one queue after the other."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def depths(self, queues: Iterable[str]) -> dict[str, Depth | None]:
        """Ask for each."""
        names = list(dict.fromkeys(queues))
        if not self._broker.connected:
            raise UnknownDepth("the broker is away")
        return dict(zip(names, await asyncio.gather(*map(self._one, names)), strict=True))

    async def close(self) -> None:
        """Nothing is held."""

    async def _one(self, queue: str) -> Depth | None:
        async with self._gate:
            try:
                return await asyncio.wait_for(self._broker.depth(queue), TIME)
            except (BrokerError, TimeoutError):
                return None


def open_gauge(settings: Settings, broker: Broker) -> Gauge:
    """Make the gauge of the broker that the settings choose."""
    target = GAUGES.get(settings.broker)
    if target is None:
        return EachQueue(broker)
    module, _, function = target.partition(":")
    return cast(Gauge, getattr(importlib.import_module(module), function)(settings))
