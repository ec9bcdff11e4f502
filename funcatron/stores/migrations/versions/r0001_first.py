"""The first tables: bundles, deployments, claims, draining queues, history and facts."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    _bundles_and_deployments()
    _around_them()
    facts = op.create_table(
        "facts", sa.Column("name", sa.String(64), primary_key=True), sa.Column("value", sa.JSON, nullable=False)
    )
    first = {"epoch": uuid.uuid4().hex, "routes-version": 0}
    op.bulk_insert(facts, [{"name": name, "value": value} for name, value in first.items()])


def _bundles_and_deployments() -> None:
    op.create_table(
        "bundles",
        sa.Column("sha", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("host", sa.String(255)),
        sa.Column("base_path", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("operations", sa.JSON, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_table(
        "deployments",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("sha", sa.String(64), sa.ForeignKey("bundles.sha"), nullable=False),
        sa.Column("host", sa.String(255)),
        sa.Column("base_path", sa.Text, nullable=False),
        sa.Column("props", sa.JSON, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("serving", sa.JSON(none_as_null=True)),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("stages", sa.JSON, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )


def _around_them() -> None:
    op.create_table(
        "claims",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("base_path", sa.String(1024), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, index=True),
    )
    op.create_table(
        "draining",
        sa.Column("queue", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
    )
    op.create_table(
        "history",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("history_by_name", "history", ["name", "id"])
