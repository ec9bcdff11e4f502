"""Brings the Registry's tables to the newest revision, by Alembic. Imported when somebody asks for it only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from funcatron.stores import schema
from funcatron.stores.call import Call
from funcatron.stores.database import transact
from funcatron.stores.engine import file_of, make_engine, parse

SCRIPTS = Path(__file__).parent / "migrations"

T = TypeVar("T")


def migrate(url: str) -> tuple[str | None, str]:
    """Bring the tables to the newest revision, in one transaction; returns the revision before and after.

    Before is None for a new database, whose tables are made. Raises StoreError for tables that are newer or of unknown
    revision, and when the database fails; nothing is changed then.
    """

    def work(db: Connection) -> str | None:
        schema.wait_for_turn(db)
        if schema.is_new(db):
            schema.make(db)
            return None
        if db.dialect.name == "postgresql":
            db.execute(text("SET LOCAL statement_timeout = 0"))  # a large history takes its time
        found = schema.revision(db)
        if found not in schema.REVISIONS:
            raise schema.not_ours(found)
        command.upgrade(_config(db), schema.HEAD)
        return found

    return _run(url, work, writes=True), schema.HEAD


def revision_of(url: str) -> str | None:
    """Return the revision of the tables; None if there are none yet. Raises StoreError as `migrate`."""
    file = file_of(parse(url))
    if file is not None and not file.exists():
        return None  # to connect would make it

    def work(db: Connection) -> str | None:
        if schema.is_new(db):
            return None
        found = schema.revision(db)
        if found not in schema.REVISIONS:
            raise schema.not_ours(found)
        return found

    return _run(url, work, writes=False)


def _config(db: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = db
    return config


def _run(url: str, work: Callable[[Connection], T], *, writes: bool) -> T:
    engine = make_engine(parse(url))
    try:
        return transact(engine, work, writes, Call())
    finally:
        engine.dispose()
