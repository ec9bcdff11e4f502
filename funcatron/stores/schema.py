"""The revision of a Registry's tables: makes those of a new database, and refuses those of another revision.

Alembic is not imported here, since it would stay in the memory of every Tron: `migrate` uses it.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, insert, inspect, select, text

from funcatron.errors import WrongTables
from funcatron.stores import tables
from funcatron.stores.sql import facts

REVISIONS = ("0001", "0002")
"""All that there have been, in order. The last one is that of `tables`."""

HEAD = REVISIONS[-1]

COMMAND = "funcatron migrate"

TURN = 0x66756E63
"""The number of PostgreSQL's advisory lock under which tables are made and migrated."""


def prepare(db: Connection) -> None:
    """Make the tables of a new database. Raises WrongTables for those of another revision."""
    wait_for_turn(db)
    if is_new(db):
        make(db)
    else:
        check(revision(db))


def is_new(db: Connection) -> bool:
    """Tell whether nobody has made tables yet."""
    return not set(inspect(db).get_table_names()) & {tables.migrations.name, tables.deployments.name}


def revision(db: Connection) -> str | None:
    """Return the revision of the tables; None if nothing says it."""
    if not inspect(db).has_table(tables.migrations.name):
        return None
    return db.scalar(select(tables.migrations.c.version_num))


def check(found: str | None) -> None:
    """Raise WrongTables, saying what to do, unless the tables are of the newest revision."""
    if found == HEAD:
        return
    if found in REVISIONS:
        raise WrongTables(
            f"the Registry's tables are of revision {found}, this Funcatron needs {HEAD}: run `{COMMAND}`, "
            "which keeps everything"
        )
    raise not_ours(found)


def not_ours(found: str | None) -> WrongTables:
    """Return the error for tables that no revision of this Funcatron has."""
    if found is not None and found.isdecimal() and found > HEAD:
        what = f"of revision {found}, newer than {HEAD}, the newest that this Funcatron knows"
    else:
        what = f"of an unknown revision ({found or 'none is noted'}), this Funcatron needs {HEAD}"
    return WrongTables(f"the Registry's tables are {what}: run the Funcatron that wrote them, or name another database")


def make(db: Connection) -> None:
    """Make the tables at the newest revision, with the rows that are always there."""
    tables.bookkeeping.create_all(db)
    tables.metadata.create_all(db)
    db.execute(insert(tables.migrations), {"version_num": HEAD})
    db.execute(insert(tables.lease), {"id": 1, "epoch": 0, "beat": 0})
    facts.write(db, facts.ROUTES_EPOCH, uuid.uuid4().hex)
    facts.write(db, facts.ROUTES_VERSION, 0)


def wait_for_turn(db: Connection) -> None:
    """Let one at a time make tables (a writer of SQLite has the whole file by itself)."""
    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": TURN})
