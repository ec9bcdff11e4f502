"""How rows become values, and values rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping

from funcatron.stores.records import BundleRecord, Deployment, Draining, Event, Served, Split, Stage, Version
from funcatron.stores.redact import redacted
from funcatron.stores.scaling import Decision


def plain(text: str) -> str:
    """Return a text as every database can keep it: PostgreSQL's texts have no NUL."""
    return text.replace("\0", "\ufffd")


def bundle_row(record: BundleRecord) -> dict[str, Any]:
    """Return a bundle as a row."""
    row = {name: getattr(record, name) for name in BundleRecord.__dataclass_fields__}
    row["operations"] = [dict(operation) for operation in record.operations]
    row["title"], row["version"] = plain(record.title), plain(record.version)
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
        "split": deployment.split.as_json() if deployment.split else None,
        "stage": deployment.stage,
        "stages": [[s.stage, s.at, s.sha, s.detail] for s in deployment.stages],
        "error": plain(deployment.error) if deployment.error is not None else None,
        "created": deployment.created,
        "updated": deployment.updated,
        "revision": deployment.revision,
    }


def deployment_of(row: RowMapping) -> Deployment:
    """Return a row as a deployment."""
    return Deployment(
        name=row["name"],
        wanted=version_of(row),
        enabled=row["enabled"],
        serving=Version(**row["serving"]) if row["serving"] else None,
        split=Split.of_json(row["split"]) if row["split"] else None,
        stage=row["stage"],
        stages=tuple(Stage(*stage) for stage in row["stages"]),
        error=row["error"],
        created=row["created"],
        updated=row["updated"],
        revision=row["revision"],
    )


def version_of(row: RowMapping) -> Version:
    """Return the version of a row that has it in columns of its own."""
    return Version(row["sha"], row["host"], row["base_path"], row["props"], row["settings"], row["environment"])


def served_of(row: RowMapping) -> Served:
    """Return a row as a version that served."""
    return Served(version_of(row), row["since"])


def draining_row(queue: Draining) -> dict[str, Any]:
    """Return a queue on its way out as a row."""
    return {"queue": queue.queue, "name": queue.name, "sha": queue.sha, "since": queue.since}


def event_row(event: Event) -> dict[str, Any]:
    """Return an event as a row, without its secrets."""
    return {
        "at": event.at,
        "name": event.name,
        "sha": event.sha,
        "what": event.what,
        "outcome": event.outcome,
        "detail": plain(redacted(event.detail)),
        "who": plain(event.who),
        "environment": event.environment or "",
        "props": redacted(event.props or {}),
        "settings": redacted(event.settings or {}),
    }


def decision_row(decision: Decision, epoch: int) -> dict[str, Any]:
    """Return a decision of the leader with this epoch as a row."""
    return {
        "at": decision.at,
        "name": decision.name,
        "sha": decision.sha,
        "inputs": dict(decision.inputs),
        "outputs": dict(decision.outputs),
        "sentence": plain(decision.sentence),
        "epoch": epoch,
    }
