"""What owners and operators say of how their Funcs are run, as the Registry has it; read now and then."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from funcatron.errors import StoreError
from funcatron.settings import Settings
from funcatron.stores.records import BundleRecord, Version
from funcatron.stores.registry import Registry
from funcatron.stores.scaling import Scaling
from funcatron.tron.traits import Traits, traits

log = logging.getLogger("funcatron.tron.scaler")

LOOK = 3.0
"""Between two looks at what was set, s."""

FEW = 5
"""So many records of bundles are read one by one."""


class Owners:
    """Keeps what was read; while the Registry cannot be read, that is what counts."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry, self._settings = registry, settings
        self._scalings: dict[str, Scaling] = {}
        self._records: dict[str, BundleRecord] = {}
        self._looked = float("-inf")
        self._sought: dict[str, float] = {}  # when a bundle's record was looked for, that was not there

    async def refresh(self, bundles: Iterable[tuple[str, Version]], now: float) -> None:
        """Read what was set if that is due, and the records of bundles that were not known yet."""
        try:
            if now - self._looked >= LOOK:
                self._scalings = await self._registry.scalings()
                self._looked = now
            await self._find({version.sha for _, version in bundles}, now)
        except StoreError as err:
            log.debug("the scaling settings cannot be read: %s", err)  # the campaign says so once

    async def _find(self, shas: set[str], now: float) -> None:
        """Read the records of these bundles, few one by one, many at once."""
        missing = [sha for sha in shas - self._records.keys() if now - self._sought.get(sha, float("-inf")) >= LOOK]
        self._sought = {sha: at for sha, at in self._sought.items() if sha in shas}
        self._sought |= dict.fromkeys(missing, now)
        if len(missing) > FEW:
            self._records |= {record.sha: record for record in await self._registry.bundles() if record.sha in shas}
            return
        for sha in missing:
            record = await self._registry.bundle(sha)
            if record is not None:
                self._records[sha] = record

    def traits(self, bundles: Iterable[tuple[str, Version]]) -> dict[str, Traits]:
        """Return how each version is to be run, by queue."""
        found = {}
        for name, version in bundles:
            one = traits(name, version, self._records.get(version.sha), self._scalings.get(name), self._settings)
            found[one.queue] = one
        return found
