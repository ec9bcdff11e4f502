"""How a version comes into service, beside which one it is: what was asked for, by whom, and as which part of a split.

The Registry remembers it while a deployment is under way, so that another Tron that takes over brings the same about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from funcatron.errors import Stale
from funcatron.stores.change import TRON
from funcatron.stores.records import Deployment, Split
from funcatron.stores.registry import Registry
from funcatron.tron.lifecycle import UNDER_WAY

FACT = "under-way"
"""The fact that the Registry remembers the ways as."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for a change, and which revisions of the deployment it is for; None for any, also of a new one.

    Revision 0 is that of a deployment that there is not.
    """

    who: str = TRON
    revisions: frozenset[int] | None = None
    existing: bool = False

    def check(self, name: str, current: Deployment | None) -> None:
        """Raise Stale if the change is not for the deployment as it is."""
        revision = current.revision if current is not None else 0
        if self.existing and current is None:
            raise Stale(f"there is no deployment {name!r}, but the change is for one that there is")
        if self.revisions is not None and revision not in self.revisions:
            there = f"{name} is at revision {revision}" if revision else f"there is no deployment {name!r}"
            given = ", ".join(map(str, sorted(self.revisions)))
            raise Stale(f"{there}, and the change is for revision {given or 'none'}: read it again")


@dataclass(frozen=True, slots=True)
class Way:
    """What is brought about: `deploy`, `rollback` or `split`; for whom; with which SHA.

    split: what shall be once the version serves. limit: how long that may take, s; None for as long as usual.
    """

    what: str = "deploy"
    who: str = TRON
    sha: str = ""
    split: Split | None = None
    limit: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON for the Registry."""
        split = self.split.as_json() if self.split else None
        return {"what": self.what, "who": self.who, "sha": self.sha, "split": split, "limit": self.limit}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Way:
        """Return what `as_json` made."""
        split = Split.of_json(value["split"]) if value["split"] else None
        return cls(value["what"], value["who"], value["sha"], split, value["limit"])


class Ways:
    """The ways of all deployments that are under way. `registry` gives the Registry to remember them in."""

    def __init__(self, registry: Callable[[], Registry]) -> None:
        self._registry = registry
        self._ways: dict[str, Way] = {}
        self._writing = asyncio.Lock()  # the fact has all of them: the last write must have the latest

    async def load(self, deployments: Mapping[str, Deployment]) -> None:
        """Take from the Registry what is still under way."""
        kept = await self._registry().fact(FACT) or {}
        found = {name: Way.of_json(value) for name, value in kept.items()}
        self._ways = {
            name: way
            for name, way in found.items()
            if name in deployments and deployments[name].stage in UNDER_WAY and deployments[name].wanted.sha == way.sha
        }

    async def keep(self, name: str, way: Way) -> None:
        """Remember a way, before it is gone. Raises StoreError."""
        async with self._writing:
            ways = {**self._ways, name: way}
            await self._registry().remember(FACT, {name: one.as_json() for name, one in ways.items()})
            self._ways[name] = way

    def drop(self, name: str) -> None:
        """Forget a way that has ended. The Registry forgets it with the next one that it is told."""
        self._ways.pop(name, None)

    def of(self, deployment: Deployment) -> Way:
        """Return the way of a deployment that is under way."""
        way = self._ways.get(deployment.name)
        if way is None or way.sha != deployment.wanted.sha:
            return Way(sha=deployment.wanted.sha)  # begun by a Tron of a release that did not remember it
        return way
