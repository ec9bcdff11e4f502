"""The Registry: bundles, deployments with their history, and what the installation has to remember.

SQLite by default, PostgreSQL by URL. Calls run in threads, so that a slow disk never holds up the event loop, and raise
StoreError when the database fails. Every change of a deployment is one transaction (`apply`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, Engine, Select, create_engine, delete, event, insert, inspect, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from funcatron.errors import Conflict, SettingsError, StoreError
from funcatron.stores import tables
from funcatron.stores.records import BundleRecord, Deployment, Draining, Event

BUSY_MS = 5000
"""How long a writer waits for another writer of the same SQLite file, ms."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """What shall be true afterwards, all of it or nothing.

    save, remove: the deployment to write, or the name of the one to delete. drain, drained: func queues that began or
    ended to be on their way out. routes: count the route table's version up, since it changes.
    """

    save: Deployment | None = None
    remove: str | None = None
    drain: tuple[Draining, ...] = ()
    drained: tuple[str, ...] = ()
    events: tuple[Event, ...] = field(default=())
    routes: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """A change that was made: the deployment with its new revision, and the route table's version."""

    deployment: Deployment | None
    routes_version: int


class Registry:
    """The database behind the control plane. `open` before use."""

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self._engine: Engine | None = None

    async def open(self) -> None:
        """Connect, and make the tables of a new database. Raises StoreError, also for tables of another version."""
        self._engine = _engine(self.url)
        try:
            await self._run(_prepare)
        except StoreError:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)
            self._engine = None

    # bundles

    async def add_bundle(self, record: BundleRecord) -> bool:
        """Remember a bundle; False if it was known already."""

        def work(db: Connection) -> bool:
            if db.scalar(select(tables.bundles.c.sha).where(tables.bundles.c.sha == record.sha)) is not None:
                return False
            db.execute(insert(tables.bundles), tables.bundle_row(record))
            return True

        try:
            return await self._run(work)
        except Conflict:  # another Tron took the same bytes in at the same moment
            return False

    async def bundle(self, sha: str) -> BundleRecord | None:
        """Return the bundle with this SHA."""
        found = await self._rows(select(tables.bundles).where(tables.bundles.c.sha == sha), tables.bundle_of)
        return found[0] if found else None

    async def bundles(self, prefix: str = "") -> list[BundleRecord]:
        """Return all bundles whose SHA starts with `prefix`, the newest first."""
        query = select(tables.bundles).order_by(tables.bundles.c.created.desc())
        if prefix:
            query = query.where(tables.bundles.c.sha.startswith(prefix, autoescape=True))
        return await self._rows(query, tables.bundle_of)

    # deployments

    async def deployments(self) -> list[Deployment]:
        """Return all deployments by name."""
        return await self._rows(select(tables.deployments).order_by(tables.deployments.c.name), tables.deployment_of)

    async def draining(self) -> list[Draining]:
        """Return the func queues on their way out."""
        return await self._rows(select(tables.draining), lambda row: Draining(**row))

    async def history(self, name: str | None = None, limit: int = 100) -> list[Event]:
        """Return the last events, of one deployment or of all, the newest first."""
        columns = [column for column in tables.history.c if column.name != "id"]
        query = select(*columns).order_by(tables.history.c.id.desc()).limit(limit)
        if name is not None:
            query = query.where(tables.history.c.name == name)
        return await self._rows(query, lambda row: Event(**row))

    async def apply(self, change: Change) -> Applied:
        """Make a change in one transaction.

        Raises Conflict when a host + base path is another deployment's (named in the text), or when the deployment
        was changed by somebody else since it was read; StoreError when the database fails. Nothing is changed then.
        """
        return await self._run(lambda db: _apply(db, change))

    # facts

    async def fact(self, name: str) -> Any:
        """Return a remembered fact, or None."""
        return await self._run(lambda db: db.scalar(select(tables.facts.c.value).where(tables.facts.c.name == name)))

    async def remember(self, name: str, value: Any) -> None:
        """Keep a fact (a JSON value)."""
        await self._run(lambda db: _remember(db, name, value))

    async def routes_state(self) -> tuple[str, int]:
        """Return the route table's epoch (made with the database) and version."""
        facts = await self._run(lambda db: dict(db.execute(select(tables.facts.c.name, tables.facts.c.value)).all()))
        return str(facts["epoch"]), int(facts["routes-version"])

    # inside

    async def _rows(self, query: Select[Any], make: Callable[[Any], T]) -> list[T]:
        return await self._run(lambda db: [make(row) for row in db.execute(query).mappings()])

    async def _run(self, work: Callable[[Connection], T]) -> T:
        engine = self._engine
        if engine is None:
            raise StoreError("the Registry is not open")
        return await asyncio.to_thread(_transaction, engine, work)


def _transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction; the library's errors become ours here."""
    try:
        with engine.begin() as db:
            return work(db)
    except IntegrityError as err:
        raise Conflict("the Registry was changed by somebody else at the same moment; try again") from err
    except SQLAlchemyError as err:
        raise StoreError(f"the Registry failed: {getattr(err, 'orig', None) or err}") from err


def _apply(db: Connection, change: Change) -> Applied:
    # changes come one after another: this row is their lock (SQLite locks the whole file by itself)
    counter = select(tables.facts.c.value).where(tables.facts.c.name == "routes-version").with_for_update()
    version: int = db.scalars(counter).one()
    saved = _save(db, change.save) if change.save is not None else None
    if change.remove is not None:
        db.execute(delete(tables.claims).where(tables.claims.c.name == change.remove))
        db.execute(delete(tables.deployments).where(tables.deployments.c.name == change.remove))
    gone = [*change.drained, *(queue.queue for queue in change.drain)]
    if gone:
        db.execute(delete(tables.draining).where(tables.draining.c.queue.in_(gone)))
    if change.drain:
        db.execute(insert(tables.draining), [tables.draining_row(queue) for queue in change.drain])
    if change.events:
        db.execute(insert(tables.history), [tables.event_row(one) for one in change.events])
    if change.routes:
        version += 1
        _remember(db, "routes-version", version)
    return Applied(saved, version)


def _save(db: Connection, deployment: Deployment) -> Deployment:
    _claim(db, deployment)
    row = tables.deployment_row(replace(deployment, revision=deployment.revision + 1))
    if deployment.revision == 0:
        db.execute(insert(tables.deployments), row)
        return replace(deployment, revision=1)
    same = (tables.deployments.c.name == deployment.name, tables.deployments.c.revision == deployment.revision)
    if db.execute(update(tables.deployments).where(*same), row).rowcount != 1:
        raise Conflict(f"the deployment {deployment.name} was changed by somebody else at the same moment; try again")
    return replace(deployment, revision=deployment.revision + 1)


def _claim(db: Connection, deployment: Deployment) -> None:
    db.execute(delete(tables.claims).where(tables.claims.c.name == deployment.name))
    for host, path in sorted(deployment.claims()):
        taken = select(tables.claims.c.name).where(tables.claims.c.host == host, tables.claims.c.base_path == path)
        owner = db.scalar(taken)
        if owner is not None:
            where = f"{host or 'any host'}{path}"
            raise Conflict(f"{where} belongs to the deployment {owner}; undeploy it, or change host or basePath")
        db.execute(insert(tables.claims), {"host": host, "base_path": path, "name": deployment.name})


def _remember(db: Connection, name: str, value: Any) -> None:
    same = update(tables.facts).where(tables.facts.c.name == name)
    if db.execute(same, {"value": value}).rowcount == 0:
        db.execute(insert(tables.facts), {"name": name, "value": value})


def _prepare(db: Connection) -> None:
    """Make the tables of a new database, and refuse those of another version."""
    names = set(inspect(db).get_table_names())
    if not names & {"alembic_version", "deployments"}:
        tables.metadata.create_all(db)
        db.execute(insert(tables.migrations), {"version_num": tables.MIGRATION})
        _remember(db, "epoch", uuid.uuid4().hex)
        _remember(db, "routes-version", 0)
        return
    found = db.scalar(select(tables.migrations.c.version_num)) if "alembic_version" in names else None
    if found != tables.MIGRATION:
        raise StoreError(
            f"the Registry's tables are of version {found or 'unknown'}, this Funcatron needs {tables.MIGRATION}; "
            "run the Funcatron that wrote them, or move the database away"
        )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as err:
        raise SettingsError("FUNCATRON_REGISTRY is not a database URL, e.g. sqlite:///registry.db") from err
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def _engine(url: URL) -> Engine:
    options: Mapping[str, Any] = {"json_serializer": lambda value: orjson.dumps(value).decode()}
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite(url, options)
        return create_engine(url, pool_pre_ping=True, pool_size=4, max_overflow=4, pool_timeout=5, **options)
    except NoSuchModuleError as err:
        raise SettingsError(f"FUNCATRON_REGISTRY: no database driver is called {url.drivername}") from err
    except ModuleNotFoundError as err:
        hint = ": pip install 'funcatron[postgresql]'" if url.get_backend_name() == "postgresql" else ""
        raise SettingsError(f"FUNCATRON_REGISTRY: the database driver {err.name} is not installed{hint}") from err


def _sqlite(url: URL, options: Mapping[str, Any]) -> Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise StoreError(f"the Registry's folder cannot be made: {err}") from err
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000}, **options)

    # pysqlite begins transactions late and only for writes; BEGIN IMMEDIATE makes a writer wait for its turn instead of
    # failing half way (https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable)
    @event.listens_for(engine, "connect")
    def connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(db: Connection) -> None:
        db.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
