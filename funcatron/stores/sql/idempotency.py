"""Idempotency keys."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, update

from funcatron.stores.idempotency import AGE, Answer, Kept, verdict
from funcatron.stores.tables import requests


def begin(db: Connection, key: str, fingerprint: str, epoch: int, now: float) -> Answer | None:
    """Return the answer that the request got before, or None: then it is the caller's to do. Raises Conflict."""
    db.execute(delete(requests).where(requests.c.created < now - AGE))
    row = db.execute(select(requests).where(requests.c.key == key).with_for_update()).first()
    mine = {"fingerprint": fingerprint, "epoch": epoch, "created": now, "status": None, "body": None}
    if row is None:
        db.execute(insert(requests), {"key": key, **mine})
        return None
    answer = Answer(row.status, row.body) if row.status is not None else None
    found = verdict(key, Kept(row.fingerprint, row.epoch, answer, row.created), fingerprint, epoch, now)
    if isinstance(found, Answer):
        return found
    db.execute(update(requests).where(requests.c.key == key), mine)
    return None


def end(db: Connection, key: str, epoch: int, answer: Answer) -> None:
    """Keep the answer of a request that was begun under the same epoch."""
    mine = update(requests).where(requests.c.key == key, requests.c.epoch == epoch)
    db.execute(mine, {"status": answer.status, "body": answer.body})


def forget(db: Connection, key: str, epoch: int) -> None:
    """Forget a request that was begun and came to nothing, so that it can be sent again."""
    unanswered = (requests.c.key == key, requests.c.epoch == epoch, requests.c.status.is_(None))
    db.execute(delete(requests).where(*unanswered))
