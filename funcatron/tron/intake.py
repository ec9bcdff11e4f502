"""Takes bundles in: spool, inspect, keep, remember. What is no bundle never reaches the Blob store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from funcatron.stores.blobs import Blobs
from funcatron.stores.records import BundleRecord
from funcatron.stores.registry import Registry
from funcatron.tron.inspection import Inspection, Inspector

AT_ONCE = 2
"""Inspections that run at the same time: each takes a core and much memory."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A bundle that is stored; `new` if it was not before."""

    record: BundleRecord
    inspection: Inspection
    new: bool


class Intake:
    """Where bundles come in. `limit`: bytes of the largest."""

    def __init__(self, blobs: Blobs, registry: Registry, inspector: Inspector, limit: int) -> None:
        self.blobs = blobs
        self.registry = registry
        self.inspector = inspector
        self.limit = limit
        self._inspecting = asyncio.Semaphore(AT_ONCE)

    async def take(self, chunks: AsyncIterator[bytes]) -> Taken:
        """Store a bundle. Raises TooLarge, BadBundle, BadSpec or StoreError; nothing is kept then."""
        spooled = await self.blobs.receive(chunks, self.limit)
        try:
            async with self._inspecting:
                inspection = await self.inspector(spooled.path)
            await self.blobs.keep(spooled)
        finally:
            await self.blobs.discard(spooled)
        record = BundleRecord(
            sha=spooled.sha,
            kind=inspection.kind,
            name=inspection.name,
            host=inspection.host,
            base_path=inspection.base_path,
            size=spooled.size,
            title=inspection.title,
            version=inspection.version,
            operations=inspection.operations,
            created=time.time(),
        )
        new = await self.registry.add_bundle(record)
        return Taken(record, inspection, new)
