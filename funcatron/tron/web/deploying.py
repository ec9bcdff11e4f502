"""The calls of `/api/v2` about deployments."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from funcatron.errors import NotFound
from funcatron.stores.nearest import unknown
from funcatron.stores.records import BundleRecord, Deployment, Guard
from funcatron.tron.splits import Wish, unknown_sha
from funcatron.tron.tron import Tron
from funcatron.tron.web import views
from funcatron.tron.web.bodies import checked, field, optional, read_members
from funcatron.tron.web.calls import answer, asked, call, etag, good, limit_of, page, part, tron_of

LONGEST_LIMIT = 3600.0
"""How long a version may take into service at most, s."""

WINDOW = 60.0
"""Over which time errors are counted unless it is said, s."""

STICKY = "header:"
"""Before the name of a header that decides; without it, it is the request id."""

LIMIT = "ready-within"


async def list_deployments(request: Request) -> Response:
    """List the deployments by name."""
    tron = tron_of(request)
    records = {record.sha: record for record in await tron.registry.bundles()}
    found = sorted(tron.deployments.all.values(), key=lambda one: one.name)
    those, cursor = part(request, [one.name for one in found])
    shown = [views.deployment(tron, one, records.get(one.wanted.sha)) for one in found[those]]
    return page(request, "deployments", shown, cursor)


async def get_deployment(request: Request) -> Response:
    """Describe a deployment by its name, or by the beginning of its SHA."""
    return await described(tron_of(request), _found(request))


async def put_deployment(request: Request) -> Response:
    """Begin to bring a SHA into service under a name."""
    tron = tron_of(request)
    body = await read_members(request, {"sha", "props", "settings", LIMIT})
    props, settings = field(body, "props", dict, {}), field(body, "settings", dict, {})
    record = await bundle_of(tron, field(body, "sha", str))
    name, limit = request.path_params["name"], _limit(body)
    return await described(
        tron, await tron.deployments.deploy(name, record.sha, props, settings, asked(request), limit), 202
    )


async def delete_deployment(request: Request) -> Response:
    """Begin to take a deployment out of service."""
    tron = tron_of(request)
    gone = await tron.deployments.undeploy(_found(request).name, asked=asked(request))
    return await described(tron, gone, 202)


async def rollback(request: Request) -> Response:
    """Begin to go back to what served before."""
    tron = tron_of(request)
    body = await read_members(request, {"sha", LIMIT}, needed=False)
    sha, limit = optional(body, "sha", str), _limit(body)
    found = await tron.deployments.rollback(_found(request).name, sha, asked(request), limit)
    return await described(tron, found, 202)


async def put_split(request: Request) -> Response:
    """Begin to let two versions serve side by side."""
    tron = tron_of(request)
    body = await read_members(request, {"shares", "sticky", "rollback-above", "window", LIMIT})
    found = await tron.deployments.split(_found(request).name, _wish(body), asked(request), _limit(body))
    return await described(tron, found, 202)


async def promote(request: Request) -> Response:
    """Give all requests to one version of a split."""
    tron = tron_of(request)
    sha = field(await read_members(request, {"sha"}), "sha", str)
    return await described(tron, await tron.deployments.promote(_found(request).name, sha, asked(request)), 202)


async def deployment_history(request: Request) -> Response:
    """Return the past of a deployment, also of one that is gone."""
    name, tron = request.path_params["name"], tron_of(request)
    cursor = request.query_params.get("cursor")
    found = await good(tron.registry.history_page(name, limit_of(request), cursor))
    if not found.items and cursor is None and name not in tron.deployments.all:
        raise unknown("deployment", name, tron.deployments.all)
    return page(request, "events", [views.event(one) for one in found.items], found.next)


async def deployment_versions(request: Request) -> Response:
    """Return what has served under a name since it was deployed."""
    tron, found = tron_of(request), _found(request)
    serving = found.versions()
    served = await tron.registry.versions(found.name)
    return answer({"versions": [views.served(one, serving=one.version in serving) for one in served]})


ROUTES = [
    call("/api/v2/deployments", list_deployments),
    call("/api/v2/deployments/{name}", get_deployment),
    call("/api/v2/deployments/{name}", put_deployment, "PUT", once=True),
    call("/api/v2/deployments/{name}", delete_deployment, "DELETE", once=True),
    call("/api/v2/deployments/{name}/rollback", rollback, "POST", once=True),
    call("/api/v2/deployments/{name}/split", put_split, "PUT", once=True),
    call("/api/v2/deployments/{name}/promote", promote, "POST", once=True),
    call("/api/v2/deployments/{name}/history", deployment_history),
    call("/api/v2/deployments/{name}/versions", deployment_versions),
]


async def described(tron: Tron, found: Deployment, status: int = 200) -> Response:
    """Return all about a deployment, with its revision as the entity tag."""
    record = await tron.registry.bundle(found.wanted.sha)
    return answer(views.described(tron, found, record), status, etag(found.revision))


async def bundle_of(tron: Tron, sha: str) -> BundleRecord:
    """Return the bundle whose SHA begins so (8 digits or more). Raises NotFound that names the nearest ones."""
    found = await tron.registry.bundles(sha.lower()) if len(sha) >= 8 else []
    if len(found) > 1:
        raise NotFound(f"there are several bundles with a SHA that begins with {sha[:64]!r}")
    if not found:
        raise unknown_sha("there is no bundle", sha, [one.sha for one in await tron.registry.bundles()])
    return found[0]


def _found(request: Request) -> Deployment:
    return tron_of(request).deployments.find(request.path_params["name"])


def _limit(body: dict[str, Any]) -> float | None:
    limit: float | None = optional(body, LIMIT, float)
    if limit is not None and not 0 < limit <= LONGEST_LIMIT:
        raise HTTPException(400, f"{LIMIT!r} must be more than 0 and at most {LONGEST_LIMIT:.0f} s.")
    return limit


def _wish(body: dict[str, Any]) -> Wish:
    shares = []
    for share in field(body, "shares", list):
        if not isinstance(share, dict) or set(share) != {"sha", "percent"}:
            raise HTTPException(400, "Each of 'shares' must be an object with 'sha' and 'percent'.")
        shares.append((checked(share["sha"], "sha", str), checked(share["percent"], "percent", int)))
    sticky = field(body, "sticky", str, "request-id")
    if sticky != "request-id" and not sticky.startswith(STICKY):
        raise HTTPException(400, f"'sticky' must be 'request-id' or '{STICKY}NAME'.")
    rate, window = optional(body, "rollback-above", float), optional(body, "window", float)
    if rate is None and window is not None:
        raise HTTPException(400, "'window' needs 'rollback-above'.")
    guard = Guard(float(rate), float(WINDOW if window is None else window)) if rate is not None else None
    return Wish(tuple(shares), sticky.removeprefix(STICKY) if sticky.startswith(STICKY) else None, guard)
