"""The database under the Registry: SQLite or PostgreSQL, transactions in threads, and a bound on how long each takes.

A call that is not answered in time raises StoreError, and its transaction is cut off, so that it neither goes on unseen
nor keeps a thread. The libraries' errors become ours here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from funcatron.errors import Conflict, StoreError
from funcatron.stores.blobs import Full
from funcatron.stores.call import Call, GivenUp
from funcatron.stores.engine import READ_ONLY, READERS, is_full, make_engine, writers

LIMIT = 5.0
"""How long a call may take, s."""

COMMIT = 2.0
"""How much longer it may take once its commit is on the way, which cannot be taken back, s."""

UNKNOWN = "the Registry was lost while it committed: whether the change was made is not known"

T = TypeVar("T")


class Database:
    """Runs functions of a connection, each in a transaction. Used on one event loop."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._engine: Engine | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._writers: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Be ready to connect. Raises SettingsError for a URL that no driver fits, StoreError."""
        self._engine = make_engine(self.url)
        # two pools: changes that wait for a lock keep no reader waiting
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="registry-read")
        self._writers = ThreadPoolExecutor(writers(self.url), thread_name_prefix="registry-write")

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        engine, pools = self._engine, (self._readers, self._writers)
        self._engine = self._readers = self._writers = None
        for pool in pools:
            if pool is not None:
                await asyncio.to_thread(pool.shutdown)  # each call ends in its time
        if engine is not None:
            await asyncio.to_thread(engine.dispose)

    async def read(self, work: Callable[[Connection], T], limit: float = LIMIT) -> T:
        """Run what only reads. Raises StoreError after `limit` seconds at the latest."""
        return await self._run(work, limit, writes=False)

    async def write(self, work: Callable[[Connection], T], limit: float = LIMIT) -> T:
        """Run what changes something: all of it is done, or nothing.

        Raises StoreError after `limit` seconds at the latest, or `COMMIT` later when the database was lost in the very
        moment of the commit; only then it is not known whether the change was made, and the error says so.
        """
        return await self._run(work, limit, writes=True)

    async def _run(self, work: Callable[[Connection], T], limit: float, *, writes: bool) -> T:
        threads = self._writers if writes else self._readers
        if self._engine is None or threads is None:
            raise StoreError("the Registry is not open")
        call = Call()
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(threads, transact, self._engine, work, writes, call)
        job.add_done_callback(_looked_at)
        try:
            await asyncio.wait({job}, timeout=limit)
            if not job.done() and not call.give_up():
                await asyncio.wait({job}, timeout=COMMIT)
        except asyncio.CancelledError:
            call.give_up()
            raise
        if job.done():
            return job.result()
        if call.give_up(late=True):
            raise StoreError(f"the Registry did not answer within {limit:g} s")
        raise StoreError(UNKNOWN)


def _looked_at(job: asyncio.Future[Any]) -> None:
    """Nobody waits for a call that was given up."""
    if not job.cancelled():
        job.exception()


def transact(engine: Engine, work: Callable[[Connection], T], writes: bool, call: Call) -> T:
    """Run `work` in one transaction; the library's errors become ours here."""
    try:
        return _tried(engine, work, writes, call)
    except GivenUp as err:
        raise StoreError("the Registry did not answer in time; nothing was changed") from err
    except IntegrityError as err:
        raise Conflict("the Registry was changed by somebody else at the same moment; try again") from err
    except SQLAlchemyError as err:
        if is_full(err):
            raise Full("the Registry's disk is full: free some room on it; nothing was changed") from err
        if call.committing and isinstance(err, DBAPIError) and err.connection_invalidated:
            raise StoreError(UNKNOWN) from err
        raise StoreError(f"the Registry failed: {_told(err)}") from err


def _tried(engine: Engine, work: Callable[[Connection], T], writes: bool, call: Call) -> T:
    """Try it on a connection of the pool, and on a new one if the server has closed that while it lay there."""
    try:
        return _once(engine, work, writes, call)
    except DBAPIError as err:
        if not err.connection_invalidated or call.committing:
            raise
    return _once(engine, work, writes, call)


def _once(engine: Engine, work: Callable[[Connection], T], writes: bool, call: Call) -> T:
    call.check()
    with engine.connect().execution_options(**({} if writes else READ_ONLY)) as db:
        with call.on(db.connection.driver_connection), db.begin():
            result = work(db)
            if writes:
                call.commit()
        return result


def _told(err: SQLAlchemyError) -> str:
    text = str(getattr(err, "orig", None) or err).strip()
    return " ".join(text.split())
