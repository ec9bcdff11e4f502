"""What has served under each name: written by itself whenever something else begins to serve."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from funcatron.stores import rows
from funcatron.stores.records import Deployment, Served
from funcatron.stores.tables import versions

KEPT = 50
"""How many versions are kept of a deployment."""


def note(db: Connection, before: Deployment | None, after: Deployment) -> None:
    """Write down what serves now and did not before."""
    known = before.versions() if before is not None else ()
    new = [version for version in after.versions() if version not in known]
    if not new:
        return
    for version in reversed(new):  # what `serving` says is the newest
        db.execute(insert(versions), {"name": after.name, "since": after.updated, **version.as_json()})
    mine = versions.c.name == after.name
    oldest = select(versions.c.id).where(mine).order_by(versions.c.id.desc()).offset(KEPT).limit(1)
    db.execute(delete(versions).where(mine, versions.c.id <= oldest.scalar_subquery()))


def read(db: Connection, name: str) -> list[Served]:
    """Return what has served under a name, the newest first."""
    query = select(versions).where(versions.c.name == name).order_by(versions.c.id.desc())
    return [rows.served_of(row) for row in db.execute(query).mappings()]


def forget(db: Connection, name: str) -> None:
    """Forget what has served under a name: the properties are in it."""
    db.execute(delete(versions).where(versions.c.name == name))
