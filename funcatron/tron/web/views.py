"""What the API shows, as JSON values. Times are RFC 3339 in UTC."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import funcatron
from funcatron.errors import BrokerError
from funcatron.message import topology
from funcatron.settings import Settings
from funcatron.stores.records import BundleRecord, Deployment, Event, Served, Version
from funcatron.stores.scaling import Decision
from funcatron.tron.fellows import Fellow
from funcatron.tron.lifecycle import UNDER_WAY
from funcatron.tron.peers import Loaded, Peer
from funcatron.tron.statistics import RunnerFigures
from funcatron.tron.tron import Tron

CRASHING = "crashing"
"""What Runners say of a Func whose hosts die again and again."""

DEPTHS_AT_ONCE = 8
DEPTH_TIME = 3.0
"""How long reading a queue's depth may take until it counts as unknown, s."""


def iso(at: float) -> str:
    """Return a time as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def url_of(settings: Settings, version: Version) -> str:
    """Return where the Frontend of this installation serves a version."""
    base = f"http://{version.host}:{settings.http_port}" if version.host else settings.frontend
    return base + version.base_path


def bundle(record: BundleRecord) -> dict[str, Any]:
    """Show a bundle."""
    return {
        "sha": record.sha,
        "name": record.name,
        "kind": record.kind,
        "host": record.host,
        "path": record.base_path,
        "size": record.size,
        "title": record.title,
        "version": record.version,
        "operations": [dict(one) for one in record.operations],
        "created": iso(record.created),
    }


def deployment(tron: Tron, one: Deployment, record: BundleRecord | None) -> dict[str, Any]:
    """Show a deployment as lists have it."""
    serving = one.serving
    return {
        "name": one.name,
        "sha": one.wanted.sha,
        "host": one.wanted.host,
        "path": one.wanted.base_path,
        "url": url_of(tron.settings, serving or one.wanted),
        "enabled": one.enabled,
        "stage": one.stage,
        "error": one.error,
        "serving": serving.sha if serving else None,
        "split": split(one),
        "parked": parked(tron, one),
        "kind": record.kind if record else None,
        "title": record.title if record else None,
        "version": record.version if record else None,
        "operations": [dict(operation) for operation in record.operations] if record else [],
        "runners": _runners(tron, one),
        "created": iso(one.created),
        "updated": iso(one.updated),
        "revision": one.revision,
    }


def described(tron: Tron, one: Deployment, record: BundleRecord | None) -> dict[str, Any]:
    """Show everything about a deployment."""
    verdict = tron.deployments.rollouts.verdict(one.name) if one.stage in UNDER_WAY else None
    return {
        **deployment(tron, one, record),
        "queue": one.wanted.queue(one.name),
        "detail": verdict.detail if verdict else (_no_runner(tron, one) or None),
        "stages": [{"stage": s.stage, "at": iso(s.at), "sha": s.sha, "detail": s.detail or None} for s in one.stages],
        "props": dict(one.wanted.props),
        "settings": dict(one.wanted.settings),
        "draining": [
            {"queue": d.queue, "sha": d.sha, "since": iso(d.since)}
            for d in tron.deployments.draining.values()
            if d.name == one.name
        ],
    }


def split(one: Deployment) -> dict[str, Any] | None:
    """Show how a deployment's requests are split, if they are."""
    if one.split is None:
        return None
    guard = one.split.guard
    return {
        "shares": [
            {"sha": share.version.sha, "percent": share.percent, "queue": share.version.queue(one.name)}
            for share in one.split.shares
        ],
        "sticky": f"header:{one.split.sticky}" if one.split.sticky else "request-id",
        "rollback-above": guard.error_rate if guard else None,
        "window": guard.window if guard else None,
    }


def parked(tron: Tron, one: Deployment) -> str | None:
    """Return why a deployment's hosts are not started any more for now, where Runners say so."""
    reasons: dict[str, list[str]] = {}
    for runner, loaded in _loaded(tron, one):
        if loaded.stage == CRASHING or (loaded.stage == "serving" and loaded.error):
            reason = loaded.error or "its hosts end again and again; the Runner's log says why"
            reasons.setdefault(reason, []).append(runner.id)
    return "; ".join(f"{reason} (on {', '.join(runners)})" for reason, runners in reasons.items()) or None


def event(one: Event) -> dict[str, Any]:
    """Show a line of the history."""
    return {
        "id": one.id,
        "at": iso(one.at),
        "name": one.name,
        "sha": one.sha,
        "what": one.what,
        "outcome": one.outcome,
        "detail": one.detail or None,
        "who": one.who,
        "environment": one.environment or None,
        "props": dict(one.props or {}),
        "settings": dict(one.settings or {}),
    }


def served(one: Served, *, serving: bool) -> dict[str, Any]:
    """Show a version that has served."""
    version = one.version
    return {
        "sha": version.sha,
        "host": version.host,
        "path": version.base_path,
        "since": iso(one.since),
        "serving": serving,
        "props": dict(version.props),
        "settings": dict(version.settings),
    }


def decision(one: Decision) -> dict[str, Any]:
    """Show a scaling decision."""
    return {
        "id": one.id,
        "at": iso(one.at),
        "name": one.name,
        "sha": one.sha,
        "inputs": dict(one.inputs),
        "outputs": dict(one.outputs),
        "why": one.sentence,
        "epoch": one.epoch,
    }


def peer(one: Peer) -> dict[str, Any]:
    """Show a Frontend or a Runner."""
    return {**one.as_json(), "since": iso(one.since), "seen": iso(one.seen)}


def runner(one: Peer, figures: RunnerFigures | None) -> dict[str, Any]:
    """Show a Runner with its figures; null where they are not known."""
    known = None if figures is None or figures.silent else figures
    shown = {name.replace("_", "-"): value for name, value in asdict(known).items()} if known else None
    return {**peer(one), "figures": shown}


def fellow(one: Fellow) -> dict[str, Any]:
    """Show a Tron."""
    return {**one.as_json(), "since": iso(one.since), "seen": iso(one.seen)}


async def status(tron: Tron) -> dict[str, Any]:
    """Show the whole installation."""
    names = [topology.FIREHOSE, tron.settings.control_queue, topology.DEAD_LETTER]
    names += [queue for route in tron.deployments.table.ordered for queue in route.queues]
    names += list(tron.deployments.draining)
    table = tron.deployments.table
    return {
        "tron": {
            "id": tron.id,
            "version": funcatron.__version__,
            "pid": os.getpid(),
            "started": iso(tron.started),
            "ready": tron.ready,
            "rss-bytes": rss_bytes(),
        },
        "broker": {
            "driver": tron.settings.broker,
            "connected": tron.broker.connected,
            "blocked": tron.broker.blocked,
        },
        "queues": await depths(tron, names),
        "frontends": [peer(one) for one in tron.peers.of("frontend")],
        "runners": [peer(one) for one in tron.peers.of("runner")],
        "routes": {"version": table.version, "epoch": table.epoch, "count": len(table)},
        "deployments": _stages(tron.deployments.all.values()),
        "counters": tron.counters.as_json(),
        "statsd": {"host": tron.statsd.target[0], "port": tron.statsd.target[1]} if tron.statsd.target else None,
        "urls": {"frontend": tron.settings.frontend, "admin": tron.settings.tron, "docs": tron.settings.tron + "/docs"},
    }


async def depths(tron: Tron, names: Iterable[str]) -> list[dict[str, Any]]:
    """Show queues with their depth; what is unknown is null and has a reason, it is never 0."""
    gate = asyncio.Semaphore(DEPTHS_AT_ONCE)

    async def one(name: str) -> dict[str, Any]:
        try:
            async with gate:
                depth = await asyncio.wait_for(tron.broker.depth(name), DEPTH_TIME)
        except TimeoutError:
            return _unknown(name, "the broker did not say in time")
        except BrokerError as err:
            return _unknown(name, str(err))
        return {"name": name, "ready": depth.ready, "unacked": depth.unacked}

    return list(await asyncio.gather(*(one(name) for name in dict.fromkeys(names))))


def rss_bytes() -> int | None:
    """Return the memory of this process that is in RAM."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _unknown(name: str, reason: str) -> dict[str, Any]:
    return {"name": name, "ready": None, "unacked": None, "unknown": reason}


def _runners(tron: Tron, one: Deployment) -> list[dict[str, Any]]:
    return [
        {"id": runner.id, "sha": loaded.sha, "stage": loaded.stage, "error": loaded.error}
        for runner, loaded in _loaded(tron, one)
    ]


def _loaded(tron: Tron, one: Deployment) -> list[tuple[Peer, Loaded]]:
    """Return what Runners said last about the versions of a deployment."""
    queues = sorted({version.queue(one.name) for version in (one.wanted, *one.versions())})
    return [
        (runner, runner.loaded[queue])
        for runner in tron.peers.of("runner")
        for queue in queues
        if queue in runner.loaded
    ]


def _no_runner(tron: Tron, one: Deployment) -> str:
    if one.serving is None or _runners(tron, one):
        return ""
    return "no Runner serves it now: requests wait in its queue until one comes"


def _stages(deployments: Iterable[Deployment]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for one in deployments:
        counts[one.stage] = counts.get(one.stage, 0) + 1
    return counts
