"""Leadership, splits, versions to go back to, scaling and its decisions, idempotency keys, a history with names."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

EMPTY = sa.text("''")
NOTHING = sa.text("'{}'")


def upgrade() -> None:
    """Add them; what is there stays as it is."""
    op.add_column("deployments", sa.Column("environment", sa.String(64), nullable=False, server_default=EMPTY))
    op.add_column("deployments", sa.Column("split", sa.JSON(none_as_null=True)))
    op.add_column("history", sa.Column("who", sa.Text, nullable=False, server_default=sa.text("'tron'")))
    op.add_column("history", sa.Column("environment", sa.String(64), nullable=False, server_default=EMPTY))
    op.add_column("history", sa.Column("props", sa.JSON, nullable=False, server_default=NOTHING))
    op.add_column("history", sa.Column("settings", sa.JSON, nullable=False, server_default=NOTHING))
    _versions()
    _lease()
    _scaling()
    _requests()


def _versions() -> None:
    versions = op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255)),
        sa.Column("base_path", sa.Text, nullable=False),
        sa.Column("props", sa.JSON, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("versions_by_name", "versions", ["name", "id"])
    op.bulk_insert(versions, _serving())


def _serving() -> list[dict[str, Any]]:
    """What serves now is the first version that may be gone back to."""
    deployments = sa.table(
        "deployments",
        sa.column("name", sa.String),
        sa.column("serving", sa.JSON),
        sa.column("updated", sa.Double),
    )
    found = op.get_bind().execute(sa.select(deployments).order_by(deployments.c.updated)).mappings()
    return [
        {"name": row["name"], "since": row["updated"], "environment": "", **row["serving"]}
        for row in found
        if row["serving"]
    ]


def _lease() -> None:
    lease = op.create_table(
        "lease",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(lease, [{"id": 1, "holder": None, "url": None, "epoch": 0, "beat": 0}])


def _scaling() -> None:
    op.create_table(
        "scaling",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("min", sa.Integer),
        sa.Column("max", sa.Integer),
        sa.Column("target_wait", sa.Double),
        sa.Column("warm", sa.Integer),
        sa.Column("idle", sa.Double),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False, index=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("outputs", sa.JSON, nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("decisions_by_name", "decisions", ["name", "id"])


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.LargeBinary),
        sa.Column("created", sa.Double, nullable=False, index=True),
    )
