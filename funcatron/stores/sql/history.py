"""The history: what was done to deployments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, insert, select

from funcatron.stores import rows
from funcatron.stores.records import Deployment, Event
from funcatron.stores.tables import history


def add(db: Connection, events: Iterable[Event], who: str, subject: Deployment | None = None) -> None:
    """Write events. What they do not say themselves is taken from `who` and from the deployment they are about."""
    written = [rows.event_row(_filled(event, who, subject)) for event in events]
    if written:
        db.execute(insert(history), written)


def read(db: Connection, name: str | None, limit: int, before: int | None = None) -> list[Event]:
    """Return the last events, of one deployment or of all, the newest first. before: an id that is too new already."""
    query = select(history).order_by(history.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(history.c.name == name)
    if before is not None:
        query = query.where(history.c.id < before)
    return [Event(**row) for row in db.execute(query).mappings()]


def _filled(event: Event, who: str, subject: Deployment | None) -> Event:
    event = replace(event, who=event.who or who)
    if subject is None or subject.name != event.name:
        return event
    version = next((one for one in (subject.wanted, *subject.versions()) if one.sha == event.sha), None)
    if version is None:
        return event
    return replace(
        event,
        environment=version.environment if event.environment is None else event.environment,
        props=version.props if event.props is None else event.props,
        settings=version.settings if event.settings is None else event.settings,
    )
