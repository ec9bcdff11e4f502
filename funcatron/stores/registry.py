"""The Registry: bundles, deployments with their history, who leads, and what the installation has to remember.

SQLite by default, PostgreSQL by URL. Calls run in threads, so that a slow disk never holds up the event loop, and raise
StoreError when the database fails or does not answer in time; they work again once it does. Every change is one
transaction, which begins by asking whether its epoch is still the lease's.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from funcatron.errors import BadSettings, Conflict, StoreError
from funcatron.stores import lease as leases
from funcatron.stores import schema
from funcatron.stores.change import TRON, Applied, Change
from funcatron.stores.database import Database
from funcatron.stores.engine import parse
from funcatron.stores.idempotency import LONGEST, Answer
from funcatron.stores.lease import Lease, Watch, may_take
from funcatron.stores.nearest import unknown
from funcatron.stores.records import BundleRecord, Deployment, Draining, Event, Page, Served, Version, earlier
from funcatron.stores.scaling import Decision, Scaling
from funcatron.stores.sql import bundles, decisions, deployments, facts, history, idempotency, lease, scaling, versions

__all__ = ["Applied", "Change", "Registry"]

T = TypeVar("T")
Entry = TypeVar("Entry", Event, Decision)


class Registry:
    """The database behind the control plane. `open` before use.

    What changes something is made under an epoch, and raises NotLeader if that is not the lease's (any more). A Tron
    that has acquired the lease makes its changes by `under(lease.epoch)`; a Registry that was told no epoch can change
    only an installation that nobody has led yet.
    """

    def __init__(
        self, url: str, *, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = parse(url)
        self.epoch = 0
        self._database = Database(self.url)
        self._clock = clock
        self._monotonic = monotonic
        self._watch = Watch()
        self._turns = itertools.count()

    async def open(self) -> None:
        """Connect, and make the tables of a new database. Raises StoreError, also for tables of another revision: its
        text names the command that migrates them."""
        self._database.open()
        try:
            if await self._database.read(schema.is_new):
                await self._database.write(schema.prepare)
            schema.check(await self._database.read(schema.revision))
        except StoreError:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._database.close()

    def under(self, epoch: int) -> Registry:
        """Return this Registry, on the same connections, with its changes made under an epoch.

        Whoever acquires the lease works with the one for its epoch, and passes that on to all parts of its work: what
        is left of it in another time, here or elsewhere, is refused.
        """
        made = copy.copy(self)
        made.epoch = epoch
        return made

    # who leads

    async def leader(self) -> Lease:
        """Return the lease as it is: its `holder` is None while nobody leads."""
        return await self._database.read(lease.read, leases.CALL)

    async def acquire(self, holder: str, url: str, ttl: float = leases.TTL) -> Lease | None:
        """Take the lease if nobody has it, or if it was silent for `ttl` seconds; None if another leads.

        To be called every `leases.LOOK` seconds. holder: unique to this process. Raises StoreError.
        """
        asked = self._monotonic()
        seen = await self.leader()
        silent = self._watch.look(seen, asked, self._monotonic(), ttl)
        if not may_take(seen, holder, silent=silent):
            return None
        return await self._database.write(lambda db: lease.take(db, seen, holder, url), leases.CALL)

    async def renew(self, held: Lease) -> Lease:
        """Give a sign of life, every `leases.BEAT` seconds. Raises NotLeader if another leads now, or StoreError."""
        return await self._database.write(lambda db: lease.beat(db, held), leases.CALL)

    async def release(self, held: Lease) -> None:
        """Give the lease up, so that another may take it at once. Idempotent."""
        await self._database.write(lambda db: lease.release(db, held), leases.CALL)

    # bundles

    async def add_bundle(self, record: BundleRecord) -> bool:
        """Remember a bundle; False if it was known already."""
        try:
            return await self._change(lambda db: bundles.add(db, record))
        except Conflict:  # another Tron took the same bytes in at the same moment
            return False

    async def bundle(self, sha: str) -> BundleRecord | None:
        """Return the bundle with this SHA."""
        return await self._database.read(lambda db: bundles.read(db, sha))

    async def bundles(self, prefix: str = "") -> list[BundleRecord]:
        """Return all bundles whose SHA starts with `prefix`, the newest first."""
        return await self._database.read(lambda db: bundles.those(db, prefix))

    # deployments

    async def deployments(self) -> list[Deployment]:
        """Return all deployments by name."""
        return await self._database.read(deployments.everything)

    async def draining(self) -> list[Draining]:
        """Return the func queues on their way out."""
        return await self._database.read(deployments.on_their_way_out)

    async def apply(self, change: Change) -> Applied:
        """Make a change in one transaction.

        Raises Conflict when a host + base path is another deployment's (named in the text), or when the deployment
        was changed by somebody else since it was read; BadSettings for a split that cannot be; NotLeader; StoreError
        when the database fails. Nothing is changed then, but see `Database.write`: the same change made twice is made
        once, so that it may be tried again whatever happened.
        """
        return await self._change(lambda db: deployments.apply(db, change))

    async def versions(self, name: str) -> list[Served]:
        """Return what has served under a name since it was deployed, the newest first."""
        return await self._database.read(lambda db: versions.read(db, name))

    async def earlier(self, name: str, sha: str | None = None) -> Version:
        """Return the version to roll back to: the last that served before the present one, or the last whose SHA begins
        with `sha` (4 digits or more). Raises NotFound that names what there is, Conflict when several fit."""

        def work(db: Connection) -> Version:
            found = _known(db, name)
            return earlier(name, versions.read(db, name), found.serving, sha)

        return await self._database.read(work)

    # history

    async def history(self, name: str | None = None, limit: int = 100) -> list[Event]:
        """Return the last events, of one deployment or of all, the newest first."""
        return await self._database.read(lambda db: history.read(db, name, limit))

    async def history_page(self, name: str | None = None, limit: int = 100, cursor: str | None = None) -> Page[Event]:
        """Return a page of the history, the newest first. cursor: `next` of the page before. Raises BadSettings for
        one that is none."""
        before = _position(cursor)
        return _page(await self._database.read(lambda db: history.read(db, name, limit + 1, before)), limit)

    # scaling

    async def scaling(self, name: str) -> Scaling:
        """Return what was set of a deployment's scaling; its revision is the ETag. Raises NotFound."""

        def work(db: Connection) -> Scaling:
            _known(db, name)
            return scaling.read(db, name)

        return await self._database.read(work)

    async def scalings(self) -> dict[str, Scaling]:
        """Return what was set, by deployment; those of which nothing was set are not in it."""
        return await self._database.read(scaling.read_all)

    async def set_scaling(self, name: str, wanted: Scaling, *, revision: int | None = None, who: str = TRON) -> Scaling:
        """Set a deployment's scaling, all of it, and return it with its new revision.

        Raises NotFound, BadSettings, Stale if `revision` is given and not the present one, NotLeader, StoreError.
        """
        now = self._clock()

        def work(db: Connection) -> Scaling:
            found = _known(db, name)
            made = scaling.write(db, name, wanted, revision)
            told = ", ".join(f"{key} {value:g}" for key, value in made.as_json().items()) or "nothing is set any more"
            event = Event(now, name, found.wanted.sha, "scale", "done", told, settings=made.as_json())
            history.add(db, [event], who, found)
            return made

        return await self._change(work)

    async def add_decisions(self, made: Sequence[Decision]) -> None:
        """Keep the decisions of one round, about any number of Funcs, in one transaction; the oldest of them go.

        To be given those that say something new: of each Func so many are kept, whatever they say. Raises NotLeader.
        """
        now, turn = self._clock(), next(self._turns)
        await self._change(lambda db: decisions.add(db, made, self.epoch, now, turn))

    async def decisions(self, name: str | None = None, limit: int = 100, cursor: str | None = None) -> Page[Decision]:
        """Return a page of the decisions about one Func or all, the newest first. cursor: `next` of the page before."""
        before = _position(cursor)
        return _page(await self._database.read(lambda db: decisions.read(db, name, limit + 1, before)), limit)

    async def decisions_after(self, name: str | None, after: int, limit: int = 100) -> list[Decision]:
        """Return the decisions that came after the one with this id, the oldest first: for who watches."""
        return await self._database.read(lambda db: decisions.after_id(db, name, after, limit))

    # idempotency keys

    async def begin_request(self, key: str, fingerprint: str) -> Answer | None:
        """Return the answer that a request got before, or None: then it is the caller's to do, and to end or forget.

        fingerprint: tells it from other requests, e.g. the SHA-256 of method, path and body; at most 64 characters.
        Raises Conflict when the key was used for another request, or while it is being worked on.
        """
        if not 0 < len(key) <= LONGEST:
            raise BadSettings(f"an idempotency key has 1 to {LONGEST} characters")
        now = self._clock()
        return await self._change(lambda db: idempotency.begin(db, key, fingerprint, self.epoch, now))

    async def end_request(self, key: str, answer: Answer) -> None:
        """Keep the answer that is given to a request; it is remembered for a day."""
        await self._change(lambda db: idempotency.end(db, key, self.epoch, answer))

    async def forget_request(self, key: str) -> None:
        """Forget a request that came to nothing, so that it can be sent again. Idempotent."""
        await self._change(lambda db: idempotency.forget(db, key, self.epoch))

    # facts

    async def fact(self, name: str) -> Any:
        """Return a remembered fact, or None."""
        return await self._database.read(lambda db: facts.read(db, name))

    async def remember(self, name: str, value: Any) -> None:
        """Keep a fact (a JSON value)."""
        await self._change(lambda db: facts.write(db, name, value))

    async def routes_state(self) -> tuple[str, int]:
        """Return the route table's epoch (made with the database) and version."""
        return await self._database.read(facts.routes_state)

    # inside

    async def _change(self, work: Callable[[Connection], T]) -> T:
        """Run a change, fenced: there is no other way to make one."""

        def fenced(db: Connection) -> T:
            lease.fence(db, self.epoch)
            return work(db)

        return await self._database.write(fenced)


def _known(db: Connection, name: str) -> Deployment:
    found = deployments.read(db, name)
    if found is None:
        raise unknown("deployment", name, deployments.names(db))
    return found


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 18:
        raise BadSettings(f"{cursor[:40]!r} is no cursor: take it from `next` of the page before")
    return int(cursor)


def _page(found: Sequence[Entry], limit: int) -> Page[Entry]:
    more = len(found) > limit
    return Page(tuple(found[:limit]), str(found[limit - 1].id) if more else None)
