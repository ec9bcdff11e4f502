"""Engines for the Registry's URL: what SQLite and PostgreSQL need to be bounded in time, and alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from funcatron.errors import SettingsError, StoreError

READERS = 4
"""Reads at once, each in a thread and on a connection of its own."""

WRITERS = {"sqlite": 1}
OTHER_WRITERS = 4
"""Changes at once; a SQLite file has one writer at a time, so the others wait in a queue rather than at its lock."""

BUSY_MS = 4000
"""How long a writer waits for another writer of the same SQLite file, ms."""

CONNECT = 2
"""How long PostgreSQL may take to accept a connection, s (libpq's least)."""

POSTGRESQL = {"statement_timeout": 4000, "lock_timeout": 3000, "idle_in_transaction_session_timeout": 2000}
"""Limits that the server keeps, ms. The last frees the locks of a Tron that was paused, or cut off from the network, in
the middle of a transaction: without it nobody could take over from it."""

READ_ONLY = {"funcatron_reads": True}
"""Options of a connection that only reads."""

SQLITE_FULL = 13
DISK_FULL = "53100"


def parse(url: str) -> URL:
    """Return a database URL. Raises SettingsError."""
    try:
        parsed = make_url(url)
    except ArgumentError as err:
        raise SettingsError("FUNCATRON_REGISTRY is not a database URL, e.g. sqlite:///registry.db") from err
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def make_engine(url: URL) -> Engine:
    """Return an engine, not connected yet. Raises SettingsError for a URL that no driver fits, StoreError."""
    options: Mapping[str, Any] = {
        "json_serializer": lambda value: orjson.dumps(value).decode(),
        "json_deserializer": _loads,
    }
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url, options)
        return _postgresql(url, options)
    except NoSuchModuleError as err:
        raise SettingsError(f"FUNCATRON_REGISTRY: no database driver is called {url.drivername}") from err
    except ModuleNotFoundError as err:
        hint = ": pip install 'funcatron[postgresql]'" if url.get_backend_name() == "postgresql" else ""
        raise SettingsError(f"FUNCATRON_REGISTRY: the database driver {err.name} is not installed{hint}") from err


def is_full(err: SQLAlchemyError) -> bool:
    """Tell whether an error says that there is no room left."""
    cause = getattr(err, "orig", None)
    return getattr(cause, "sqlite_errorcode", None) == SQLITE_FULL or getattr(cause, "sqlstate", None) == DISK_FULL


def writers(url: URL) -> int:
    """Return how many changes may go on at once."""
    return WRITERS.get(url.get_backend_name(), OTHER_WRITERS)


def file_of(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for one in memory, or elsewhere."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def _loads(value: Any) -> Any:
    """Return what a JSON column says; SQLite gives a number in one as a number."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value


def _sqlite(url: URL, options: Mapping[str, Any]) -> Engine:
    file = file_of(url)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StoreError(f"the Registry's folder cannot be made: {err}") from err
        options = {**options, "pool_size": READERS + writers(url), "max_overflow": 0, "pool_timeout": BUSY_MS / 1000}
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000}, **options)

    # pysqlite begins transactions late and only for writes; BEGIN IMMEDIATE makes a writer wait for its turn instead of
    # failing half way (https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable)
    @event.listens_for(engine, "connect")
    def connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # who only reads waits for no writer: with a write-ahead log each reader has a snapshot of its own
    @event.listens_for(engine, "begin")
    def begun(db: Connection) -> None:
        reads = db.get_execution_options().get("funcatron_reads")
        db.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL, options: Mapping[str, Any]) -> Engine:
    if url.get_backend_name() != "postgresql":
        return create_engine(url, **options)
    # no ping before each call: one that meets a connection which the server closed is made again on a new one
    engine = create_engine(
        url,
        pool_size=READERS + writers(url),
        max_overflow=0,
        pool_timeout=CONNECT,
        connect_args={"connect_timeout": CONNECT, "application_name": "funcatron"},
        **options,
    )

    @event.listens_for(engine, "connect")
    def connected(raw: Any, _record: Any) -> None:
        raw.autocommit = True
        for name, limit in POSTGRESQL.items():
            raw.execute(f"SET {name} = {limit}")
        raw.autocommit = False

    return engine
