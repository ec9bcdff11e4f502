"""The Registry's tables as they are at the newest revision (`migrations/` brings older ones there).

SQLAlchemy Core only: the ORM would cost memory and give nothing.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

bookkeeping = MetaData()
"""Alembic's own table, which no migration touches."""

migrations = Table("alembic_version", bookkeeping, Column("version_num", String(32), primary_key=True))

bundles = Table(
    "bundles",
    metadata,
    Column("sha", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("name", String(100), nullable=False),
    Column("host", String(255)),
    Column("base_path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("operations", JSON, nullable=False),
    Column("created", Double, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("sha", String(64), ForeignKey("bundles.sha"), nullable=False),
    Column("host", String(255)),
    Column("base_path", Text, nullable=False),
    Column("props", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("serving", JSON(none_as_null=True)),
    Column("stage", String(32), nullable=False),
    Column("stages", JSON, nullable=False),
    Column("error", Text),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("environment", String(64), nullable=False, server_default=text("''")),
    Column("split", JSON(none_as_null=True)),
)

# one row for each host + base path that is taken: its primary key is what makes a collision impossible
claims = Table(
    "claims",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("base_path", String(1024), primary_key=True),
    Column("name", String(100), nullable=False, index=True),
)

draining = Table(
    "draining",
    metadata,
    Column("queue", String(255), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("since", Double, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("name", String(100), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("what", String(32), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("who", Text, nullable=False, server_default=text("'tron'")),
    Column("environment", String(64), nullable=False, server_default=text("''")),
    Column("props", JSON, nullable=False, server_default=text("'{}'")),
    Column("settings", JSON, nullable=False, server_default=text("'{}'")),
    Index("history_by_name", "name", "id"),
)

# small facts of the installation as a whole: the routes' version and epoch, the StatsD switch
facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
)

# what has served under a name, with the properties that the history masks: where `rollback` goes back to
versions = Table(
    "versions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(100), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("host", String(255)),
    Column("base_path", Text, nullable=False),
    Column("props", JSON, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("environment", String(64), nullable=False),
    Column("since", Double, nullable=False),
    Index("versions_by_name", "name", "id"),
    sqlite_autoincrement=True,
)

# the one row (id 1) that says who leads
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", Text),
    Column("url", Text),
    Column("epoch", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
)

# apart from the deployments, so that they change without a redeploy and while one goes on
scaling = Table(
    "scaling",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("min", Integer),
    Column("max", Integer),
    Column("target_wait", Double),
    Column("warm", Integer),
    Column("idle", Double),
    Column("revision", Integer, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False, index=True),
    Column("name", String(100), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Index("decisions_by_name", "name", "id"),
    sqlite_autoincrement=True,  # ids grow for ever, also after the newest rows were deleted: readers go on from one
)

# requests that were made under an idempotency key; without a status while they are worked on
requests = Table(
    "requests",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("status", Integer),
    Column("body", LargeBinary),
    Column("created", Double, nullable=False, index=True),
)
