"""Runners that shall go: nothing is placed on them, and once they have nothing in hand they end.

What an operator asked for is remembered by the Registry, so that whoever leads next goes on with it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from funcatron.errors import StoreError
from funcatron.stores.registry import Registry

log = logging.getLogger("funcatron.tron.scaler")

FACT = "draining-runners"


@dataclass(slots=True)
class Retirement:
    """Of one Runner. asked: an operator wants it, not the policy. process: the id of its process, by which one that was
    started in its place is told from it. ending: when it was told to end, s; None: not yet."""

    asked: bool
    process: int | None
    ending: float | None = None


class Retirements:
    """All of them, by the Runner's id."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._all: dict[str, Retirement] = {}

    def __contains__(self, runner: str) -> bool:
        return runner in self._all

    def items(self) -> list[tuple[str, Retirement]]:
        """Return the Runners and their retirements, as they are now."""
        return list(self._all.items())

    @property
    def ids(self) -> frozenset[str]:
        """The Runners that shall go."""
        return frozenset(self._all)

    async def load(self) -> None:
        """Take what an earlier leader was asked for. Raises StoreError."""
        found: Mapping[str, Any] = await self._registry.fact(FACT) or {}
        self._all |= {runner: Retirement(True, process) for runner, process in found.items()}

    async def ask(self, runner: str, process: int | None) -> None:
        """Let a Runner go since an operator wants it. Idempotent. Raises StoreError or NotLeader: then it stays."""
        before = self._all.get(runner)
        if before is not None and before.asked:
            return
        ending = before.ending if before is not None else None
        await self._remember({**self._asked(), runner: process})
        self._all[runner] = Retirement(True, process, ending)

    def propose(self, runner: str, process: int | None) -> None:
        """Let a Runner go since it is not needed."""
        self._all.setdefault(runner, Retirement(False, process))

    def keep(self) -> list[str]:
        """Let those stay that were not needed, and were not told to end yet; returns which."""
        found = [runner for runner, one in self._all.items() if not one.asked and one.ending is None]
        for runner in found:
            del self._all[runner]
        return found

    async def over(self, runner: str) -> None:
        """A Runner is gone."""
        one = self._all.pop(runner, None)
        if one is None or not one.asked:
            return
        try:
            await self._remember(self._asked())
        except StoreError as err:
            log.warning("the end of %s could not be noted: %s", runner, err)

    def _asked(self) -> dict[str, int | None]:
        return {runner: one.process for runner, one in self._all.items() if one.asked}

    async def _remember(self, asked: dict[str, int | None]) -> None:
        await self._registry.remember(FACT, asked)
