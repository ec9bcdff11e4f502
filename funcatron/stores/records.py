"""What the Registry keeps, as values. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from funcatron.message.topology import func_queue

STAGES = ("stored", "validated", "loading", "serving", "routed", "draining", "failed", "disabled")
"""The stages of a deployment, in the order of a life; `routed` is the steady state, the last two are ends.
The list of its past stages also has `drained`, when a version that served before is gone."""

KEPT_STAGES = 40
"""How many past stages a deployment keeps; its whole past is in the history."""


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """A Func bundle in the Blob store, and what its spec says. `base_path` is "/" or "/x/y"."""

    sha: str
    kind: str
    name: str
    host: str | None
    base_path: str
    size: int
    title: str = ""
    version: str = ""
    operations: tuple[Mapping[str, Any], ...] = ()
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """One SHA of a deployment with the properties and settings that it is run with."""

    sha: str
    host: str | None
    base_path: str
    props: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def queue(self, name: str) -> str:
        """Return the func queue of this version in deployment `name`."""
        return func_queue(name, self.sha)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON for the Registry."""
        return {
            "sha": self.sha,
            "host": self.host,
            "base_path": self.base_path,
            "props": dict(self.props),
            "settings": dict(self.settings),
        }


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that a deployment reached, when, with which SHA, and a sentence if there is more to say."""

    stage: str
    at: float
    sha: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A bundle bound to a name. `wanted` is what shall serve; `serving` what the routes lead to now, if anything."""

    name: str
    wanted: Version
    enabled: bool = True
    serving: Version | None = None
    stage: str = "stored"
    stages: tuple[Stage, ...] = ()
    error: str | None = None
    created: float = 0.0
    updated: float = 0.0
    revision: int = 0

    def at(self, stage: str, now: float, detail: str = "", error: str | None = None) -> Deployment:
        """Return the deployment as it is once `stage` is reached."""
        stages = (*self.stages, Stage(stage, now, self.wanted.sha, detail))[-KEPT_STAGES:]
        return replace(self, stage=stage, stages=stages, error=error, updated=now)

    def claims(self) -> set[tuple[str, str]]:
        """Return each (host or "", base path) that nobody else may have."""
        held = {(self.serving.host or "", self.serving.base_path)} if self.serving else set()
        if self.enabled and self.stage != "failed":
            held.add((self.wanted.host or "", self.wanted.base_path))
        return held


@dataclass(frozen=True, slots=True)
class Draining:
    """A func queue on its way out: no route leads to it any more, and it goes once it is empty."""

    queue: str
    name: str
    sha: str
    since: float


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a deployment's history."""

    at: float
    name: str
    sha: str
    what: str
    outcome: str
    detail: str = ""
