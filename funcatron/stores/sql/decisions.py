"""Scaling decisions: so many of each Func, none too old, a round of all Funcs in one transaction."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from funcatron.stores import rows
from funcatron.stores.scaling import Decision
from funcatron.stores.tables import decisions

KEPT = 100
"""How many decisions are kept of each Func, or a few more."""

AGE = 24 * 3600.0
"""How long a decision is kept, s."""

TURNS = 32
"""Rounds in which everything is looked through once for what is to go: a little in each, rather than much in one."""


def add(db: Connection, made: Sequence[Decision], epoch: int, now: float, turn: int) -> None:
    """Write the decisions of a round, and delete what is too old or too much."""
    if made:
        db.execute(insert(decisions), [rows.decision_row(one, epoch) for one in made])
    if turn % TURNS == 0:
        db.execute(delete(decisions).where(decisions.c.at < now - AGE))
    due = [name for name in {one.name for one in made} if (zlib.crc32(name.encode()) - turn) % TURNS == 0]
    if due:
        mine = decisions.c.name == bindparam("func")
        oldest = select(decisions.c.id).where(mine).order_by(decisions.c.id.desc()).offset(KEPT).limit(1)
        gone = delete(decisions).where(mine, decisions.c.id <= oldest.scalar_subquery())
        db.execute(gone, [{"func": name} for name in due])


def read(db: Connection, name: str | None, limit: int, before: int | None) -> list[Decision]:
    """Return the last decisions, about one Func or all, the newest first; only those before an id if one is given."""
    query = select(decisions).order_by(decisions.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(decisions.c.name == name)
    if before is not None:
        query = query.where(decisions.c.id < before)
    return [Decision(**row) for row in db.execute(query).mappings()]


def after_id(db: Connection, name: str | None, after: int, limit: int) -> list[Decision]:
    """Return the decisions after an id, the oldest first."""
    query = select(decisions).where(decisions.c.id > after).order_by(decisions.c.id).limit(limit)
    if name is not None:
        query = query.where(decisions.c.name == name)
    return [Decision(**row) for row in db.execute(query).mappings()]
