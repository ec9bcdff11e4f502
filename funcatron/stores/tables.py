"""The Registry's tables, and how rows become values.

SQLAlchemy Core only: the ORM would cost memory and give nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
)

from funcatron.stores.records import BundleRecord, Deployment, Draining, Event, Stage, Version

MIGRATION = "0001"
"""The revision of these tables, kept where Alembic looks for it."""

metadata = MetaData()

migrations = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))

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
    Index("history_by_name", "name", "id"),
)

# small facts of the installation as a whole: the routes' version and epoch, the StatsD switch
facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
)


def bundle_row(record: BundleRecord) -> dict[str, Any]:
    """Return a bundle as a row."""
    row = {name: getattr(record, name) for name in BundleRecord.__dataclass_fields__}
    row["operations"] = [dict(operation) for operation in record.operations]
    return row


def bundle_of(row: RowMapping) -> BundleRecord:
    """Return a row as a bundle."""
    return BundleRecord(**{**row, "operations": tuple(row["operations"])})


def deployment_row(deployment: Deployment) -> dict[str, Any]:
    """Return a deployment as a row."""
    return {
        "name": deployment.name,
        **deployment.wanted.as_json(),
        "enabled": deployment.enabled,
        "serving": deployment.serving.as_json() if deployment.serving else None,
        "stage": deployment.stage,
        "stages": [[s.stage, s.at, s.sha, s.detail] for s in deployment.stages],
        "error": deployment.error,
        "created": deployment.created,
        "updated": deployment.updated,
        "revision": deployment.revision,
    }


def deployment_of(row: RowMapping) -> Deployment:
    """Return a row as a deployment."""
    return Deployment(
        name=row["name"],
        wanted=Version(row["sha"], row["host"], row["base_path"], row["props"], row["settings"]),
        enabled=row["enabled"],
        serving=Version(**row["serving"]) if row["serving"] else None,
        stage=row["stage"],
        stages=tuple(Stage(*stage) for stage in row["stages"]),
        error=row["error"],
        created=row["created"],
        updated=row["updated"],
        revision=row["revision"],
    )


def draining_row(queue: Draining) -> dict[str, Any]:
    """Return a queue on its way out as a row."""
    return {"queue": queue.queue, "name": queue.name, "sha": queue.sha, "since": queue.since}


def event_row(event: Event) -> dict[str, Any]:
    """Return an event as a row."""
    return {name: getattr(event, name) for name in Event.__dataclass_fields__}
