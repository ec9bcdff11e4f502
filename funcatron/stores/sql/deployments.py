"""Deployments, the host + base paths that they own, and the func queues on their way out."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from funcatron.errors import Conflict
from funcatron.stores import rows
from funcatron.stores.change import Applied, Change
from funcatron.stores.records import Deployment, Draining
from funcatron.stores.sql import facts, history, scaling, versions
from funcatron.stores.tables import claims, deployments, draining


def everything(db: Connection) -> list[Deployment]:
    """Return all deployments by name."""
    return [rows.deployment_of(row) for row in db.execute(select(deployments).order_by(deployments.c.name)).mappings()]


def read(db: Connection, name: str) -> Deployment | None:
    """Return a deployment."""
    found = db.execute(select(deployments).where(deployments.c.name == name)).mappings().first()
    return rows.deployment_of(found) if found is not None else None


def names(db: Connection) -> list[str]:
    """Return the names of all deployments."""
    return list(db.scalars(select(deployments.c.name).order_by(deployments.c.name)))


def on_their_way_out(db: Connection) -> list[Draining]:
    """Return the func queues on their way out."""
    return [Draining(**row) for row in db.execute(select(draining)).mappings()]


def apply(db: Connection, change: Change) -> Applied:
    """Make a change. One that was made already, of which the caller was not told, is not made again."""
    version = facts.lock_routes(db)
    saved: Deployment | None = None
    if change.save is not None:
        before = read(db, change.save.name)
        saved = replace(change.save, revision=change.save.revision + 1)
        if before == saved:
            return Applied(saved, version)
        _save(db, before, change.save, saved)
    if change.remove is not None and not _remove(db, change.remove):
        return Applied(saved, version)
    gone = [*change.drained, *(queue.queue for queue in change.drain)]
    if gone:
        db.execute(delete(draining).where(draining.c.queue.in_(gone)))
    if change.drain:
        db.execute(insert(draining), [rows.draining_row(queue) for queue in change.drain])
    history.add(db, change.events, change.who, saved)
    if change.routes:
        version += 1
        facts.write(db, facts.ROUTES_VERSION, version)
    return Applied(saved, version)


def _save(db: Connection, before: Deployment | None, wanted: Deployment, saved: Deployment) -> None:
    wanted.check()
    if (before.revision if before is not None else 0) != wanted.revision:
        stage = f"; its stage is {before.stage}, with {before.wanted.sha[:8]}" if before is not None else ""
        raise Conflict(
            f"the deployment {wanted.name} was changed by somebody else at the same moment; try again{stage}"
        )
    _claim(db, wanted)
    if before is None:
        db.execute(insert(deployments), rows.deployment_row(saved))
    else:
        db.execute(update(deployments).where(deployments.c.name == saved.name), rows.deployment_row(saved))
    versions.note(db, before, saved)


def _claim(db: Connection, deployment: Deployment) -> None:
    db.execute(delete(claims).where(claims.c.name == deployment.name))
    for host, path in sorted(deployment.claims()):
        taken = select(claims.c.name).where(claims.c.host == host, claims.c.base_path == path)
        owner = db.scalar(taken)
        if owner is not None:
            where = f"{host or 'any host'}{path}"
            raise Conflict(f"{where} belongs to the deployment {owner}; undeploy it, or change host or basePath")
        db.execute(insert(claims), {"host": host, "base_path": path, "name": deployment.name})


def _remove(db: Connection, name: str) -> bool:
    db.execute(delete(claims).where(claims.c.name == name))
    versions.forget(db, name)
    scaling.forget(db, name)
    return db.execute(delete(deployments).where(deployments.c.name == name)).rowcount > 0
