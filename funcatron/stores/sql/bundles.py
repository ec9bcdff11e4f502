"""Bundles: what their specs say, by SHA."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from funcatron.stores import rows
from funcatron.stores.records import BundleRecord
from funcatron.stores.tables import bundles


def add(db: Connection, record: BundleRecord) -> bool:
    """Add a bundle; False if it is there already."""
    if db.scalar(select(bundles.c.sha).where(bundles.c.sha == record.sha)) is not None:
        return False
    db.execute(insert(bundles), rows.bundle_row(record))
    return True


def read(db: Connection, sha: str) -> BundleRecord | None:
    """Return the bundle with this SHA."""
    found = db.execute(select(bundles).where(bundles.c.sha == sha)).mappings().first()
    return rows.bundle_of(found) if found is not None else None


def those(db: Connection, prefix: str) -> list[BundleRecord]:
    """Return the bundles whose SHA starts with `prefix`, the newest first."""
    query = select(bundles).order_by(bundles.c.created.desc(), bundles.c.sha)
    if prefix:
        query = query.where(bundles.c.sha.startswith(prefix, autoescape=True))
    return [rows.bundle_of(row) for row in db.execute(query).mappings()]
