"""Scaling settings of deployments."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from funcatron.errors import Stale
from funcatron.stores.scaling import Scaling
from funcatron.stores.tables import scaling


def read(db: Connection, name: str) -> Scaling:
    """Return the settings of a deployment; those of one that has none are empty."""
    return read_all(db, name).get(name, Scaling())


def read_all(db: Connection, name: str | None = None) -> dict[str, Scaling]:
    """Return the settings by deployment, of those that have any."""
    query = select(scaling) if name is None else select(scaling).where(scaling.c.name == name)
    fields = Scaling.__dataclass_fields__
    return {row["name"]: Scaling(**{field: row[field] for field in fields}) for row in db.execute(query).mappings()}


def write(db: Connection, name: str, wanted: Scaling, revision: int | None) -> Scaling:
    """Keep settings; returns them with their new revision. Raises Stale if they are not at `revision` any more."""
    wanted.check()
    now = read(db, name).revision
    if revision is not None and revision != now:
        raise Stale(f"the scaling settings of {name} are at revision {now}, not {revision}: read them again")
    made = replace(wanted, revision=now + 1)
    values = {field: getattr(made, field) for field in Scaling.__dataclass_fields__}
    if now:
        db.execute(update(scaling).where(scaling.c.name == name), values)
    else:
        db.execute(insert(scaling), {"name": name, **values})
    return made


def forget(db: Connection, name: str) -> None:
    """Forget the settings of a deployment."""
    db.execute(delete(scaling).where(scaling.c.name == name))
