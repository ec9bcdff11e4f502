"""The lease's row, and the fence that it is for all changes."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from funcatron.errors import NotLeader
from funcatron.stores.lease import Lease
from funcatron.stores.tables import lease as row

COLUMNS = (row.c.holder, row.c.url, row.c.epoch, row.c.beat)


def fence(db: Connection, epoch: int) -> None:
    """Raise NotLeader unless `epoch` is the lease's; it stays so until this transaction ends.

    The row is locked against its writers: a take-over waits for what the old leader has begun, and comes before all
    that it begins later. Epoch 0 is that of an installation that nobody has led yet.
    """
    found = db.execute(select(row.c.epoch, row.c.holder, row.c.url).with_for_update(read=True)).one()
    if found.epoch != epoch:
        leader = f"{found.holder} leads ({found.url})" if found.holder is not None else "nobody leads"
        mine = f"this Tron's epoch {epoch} is over" if epoch else "this Tron does not lead"
        raise NotLeader(f"{mine}: {leader} now, epoch {found.epoch}; nothing was changed")


def read(db: Connection) -> Lease:
    """Return the lease."""
    return Lease(*db.execute(select(*COLUMNS)).one())


def take(db: Connection, seen: Lease, holder: str, url: str) -> Lease | None:
    """Take the lease as it was seen; None if it is another by now. Of several who try, one alone succeeds."""
    same = update(row).where(row.c.epoch == seen.epoch, row.c.beat == seen.beat)
    made = Lease(holder, url, seen.epoch + 1, 0)
    values = {"holder": holder, "url": url, "epoch": made.epoch, "beat": made.beat}
    return made if db.execute(same, values).rowcount == 1 else None


def beat(db: Connection, lease: Lease) -> Lease:
    """Count the beat up. Raises NotLeader if the lease is another's by now."""
    mine = update(row).where(row.c.epoch == lease.epoch, row.c.holder == lease.holder)
    made = db.execute(mine.values(beat=row.c.beat + 1).returning(*COLUMNS)).first()
    if made is None:
        raise NotLeader(f"the leadership of epoch {lease.epoch} is over: another Tron has taken it")
    return Lease(*made)


def release(db: Connection, lease: Lease) -> None:
    """Give the lease up, if it is still the caller's."""
    mine = update(row).where(row.c.epoch == lease.epoch, row.c.holder == lease.holder)
    db.execute(mine, {"holder": None, "url": None})
