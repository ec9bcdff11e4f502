"""Small facts of the installation: the routes' version and epoch, the StatsD switch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

from funcatron.stores.tables import facts

ROUTES_VERSION = "routes-version"
ROUTES_EPOCH = "epoch"


def read(db: Connection, name: str) -> Any:
    """Return a fact, or None."""
    return db.scalar(select(facts.c.value).where(facts.c.name == name))


def write(db: Connection, name: str, value: Any) -> None:
    """Keep a fact."""
    same = update(facts).where(facts.c.name == name)
    if db.execute(same, {"value": value}).rowcount == 0:
        db.execute(insert(facts), {"name": name, "value": value})


def lock_routes(db: Connection) -> int:
    """Return the routes' version, and let no other change of deployments happen until this transaction ends.

    Changes come one after another: this row is their lock (SQLite locks the whole file by itself).
    """
    row = select(facts.c.value).where(facts.c.name == ROUTES_VERSION).with_for_update()
    version: int = db.scalars(row).one()
    return version


def routes_state(db: Connection) -> tuple[str, int]:
    """Return the routes' epoch and version."""
    wanted = select(facts.c.name, facts.c.value).where(facts.c.name.in_([ROUTES_EPOCH, ROUTES_VERSION]))
    found = {row.name: row.value for row in db.execute(wanted)}
    return str(found[ROUTES_EPOCH]), int(found[ROUTES_VERSION])
