"""A change of deployments: what shall be true afterwards, all of it or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from funcatron.stores.records import Deployment, Draining, Event

TRON = "tron"
"""Who did what nobody asked for."""


@dataclass(frozen=True, slots=True)
class Change:
    """What shall be true afterwards, all of it or nothing.

    save, remove: the deployment to write, or the name of the one to delete. drain, drained: func queues that began or
    ended to be on their way out. routes: count the route table's version up, since it changes. who: asked for it, as
    events have it that name nobody themselves.
    """

    save: Deployment | None = None
    remove: str | None = None
    drain: tuple[Draining, ...] = ()
    drained: tuple[str, ...] = ()
    events: tuple[Event, ...] = field(default=())
    routes: bool = False
    who: str = TRON


@dataclass(frozen=True, slots=True)
class Applied:
    """A change that was made: the deployment with its new revision, and the route table's version."""

    deployment: Deployment | None
    routes_version: int
