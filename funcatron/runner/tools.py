"""What all Funcs of a Runner share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from funcatron.brokers.base import Broker
from funcatron.runner.bodies import Bodies
from funcatron.runner.cache import Cache
from funcatron.runner.capacity import Capacity
from funcatron.runner.deadlines import Deadlines
from funcatron.runner.hostlog import LogPump
from funcatron.runner.orphans import Orphans
from funcatron.runner.outbox import Outbox
from funcatron.settings import Settings


@dataclass(frozen=True)
class Tools:
    """The Runner's parts."""

    runner: str
    settings: Settings
    broker: Broker
    outbox: Outbox
    cache: Cache
    capacity: Capacity
    deadlines: Deadlines
    orphans: Orphans
    pump: LogPump
    run: Path  # where hosts' private folders are made
    bodies: Bodies
