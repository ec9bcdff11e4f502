"""The fuller REST API, which the command line uses. Its document is openapi.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from funcatron.errors import NotFound
from funcatron.stores.records import BundleRecord, Deployment
from funcatron.tron.tron import Tron
from funcatron.tron.web import views
from funcatron.tron.web.bodies import field, read_json

HISTORY = 100
MOST = 1000
"""How many entries a list has unless asked otherwise, and at most."""


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


async def post_bundle(request: Request) -> Response:
    """Store the bundle that is the body."""
    taken = await _tron(request).intake.take(request.stream())
    record = taken.record
    location = {"location": f"/api/v2/bundles/{record.sha}"}
    return answer(views.bundle(record), 201 if taken.new else 200, location)


async def list_bundles(request: Request) -> Response:
    """List all stored bundles."""
    return answer({"bundles": [views.bundle(one) for one in await _tron(request).registry.bundles()]})


async def get_bundle(request: Request) -> Response:
    """Show a bundle by its SHA, or by the beginning of it."""
    return answer(views.bundle(await _bundle(_tron(request), request.path_params["sha"])))


async def list_deployments(request: Request) -> Response:
    """List all deployments."""
    tron = _tron(request)
    records = {record.sha: record for record in await tron.registry.bundles()}
    found = sorted(tron.deployments.all.values(), key=lambda one: one.name)
    return answer({"deployments": [views.deployment(tron, one, records.get(one.wanted.sha)) for one in found]})


async def get_deployment(request: Request) -> Response:
    """Describe a deployment by its name, or by the beginning of its SHA."""
    tron = _tron(request)
    return await _described(tron, tron.deployments.find(request.path_params["name"]))


async def put_deployment(request: Request) -> Response:
    """Begin to bring a SHA into service under a name."""
    tron = _tron(request)
    body = await read_json(request)
    unknown = sorted(set(body) - {"sha", "props", "settings"})
    if unknown:
        raise HTTPException(400, f"The body has unknown members: {', '.join(unknown)}.")
    props, settings = field(body, "props", dict, {}), field(body, "settings", dict, {})
    record = await _bundle(tron, field(body, "sha", str))
    found = await tron.deployments.deploy(request.path_params["name"], record.sha, props, settings)
    return await _described(tron, found, 202)


async def delete_deployment(request: Request) -> Response:
    """Begin to take a deployment out of service."""
    tron = _tron(request)
    found = tron.deployments.find(request.path_params["name"])
    return await _described(tron, await tron.deployments.undeploy(found.name), 202)


async def deployment_history(request: Request) -> Response:
    """Return the past of a deployment, also of one that is gone."""
    name = request.path_params["name"]
    events = await _tron(request).registry.history(name, _limit(request, HISTORY))
    if not events and name not in _tron(request).deployments.all:
        raise NotFound(f"there is and was no deployment {name!r}")
    return answer({"events": [views.event(one) for one in events]})


async def history(request: Request) -> Response:
    """Return the past of all deployments."""
    events = await _tron(request).registry.history(None, _limit(request, HISTORY))
    return answer({"events": [views.event(one) for one in events]})


async def routes(request: Request) -> Response:
    """Return the route table, in the order to try."""
    table = _tron(request).deployments.table
    listed = [route.as_json() for route in table.ordered]
    return answer({"version": table.version, "epoch": table.epoch, "routes": listed})


async def status(request: Request) -> Response:
    """Show the whole installation."""
    return answer(await views.status(_tron(request)))


async def list_dead_letters(request: Request) -> Response:
    """List the first dead letters; they stay where they are."""
    letters = await _tron(request).dead_letters.first(_limit(request, HISTORY))
    return answer({"dead-letters": [one.as_json() for one in letters]})


async def retry_dead_letter(request: Request) -> Response:
    """Send a dead letter again."""
    letter = await _tron(request).dead_letters.retry(request.path_params["id"], MOST)
    return answer(letter.as_json(), 202)


async def drop_dead_letter(request: Request) -> Response:
    """Throw a dead letter away."""
    await _tron(request).dead_letters.drop(request.path_params["id"], MOST)
    return Response(status_code=204)


ROUTES = [
    Route("/api/v2/bundles", list_bundles),
    Route("/api/v2/bundles", post_bundle, methods=["POST"]),
    Route("/api/v2/bundles/{sha}", get_bundle),
    Route("/api/v2/deployments", list_deployments),
    Route("/api/v2/deployments/{name}", get_deployment),
    Route("/api/v2/deployments/{name}", put_deployment, methods=["PUT"]),
    Route("/api/v2/deployments/{name}", delete_deployment, methods=["DELETE"]),
    Route("/api/v2/deployments/{name}/history", deployment_history),
    Route("/api/v2/history", history),
    Route("/api/v2/routes", routes),
    Route("/api/v2/status", status),
    Route("/api/v2/dead-letters", list_dead_letters),
    Route("/api/v2/dead-letters/{id}", drop_dead_letter, methods=["DELETE"]),
    Route("/api/v2/dead-letters/{id}/retry", retry_dead_letter, methods=["POST"]),
]


def _tron(request: Request) -> Tron:
    tron: Tron = request.app.state.tron
    return tron


async def _bundle(tron: Tron, sha: str) -> BundleRecord:
    """Return the bundle whose SHA begins so (8 digits or more)."""
    found = await tron.registry.bundles(sha.lower()) if len(sha) >= 8 else []
    if len(found) != 1:
        what = "several bundles" if found else "no bundle"
        raise NotFound(f"there is {what} with a SHA that begins with {sha[:64]!r}")
    return found[0]


async def _described(tron: Tron, found: Deployment, status: int = 200) -> Response:
    record = await tron.registry.bundle(found.wanted.sha)
    return answer(views.described(tron, found, record), status)


def _limit(request: Request, default: int) -> int:
    given = request.query_params.get("limit", str(default))
    if not given.isdecimal() or not 0 < int(given) <= MOST:
        raise HTTPException(400, f"limit must be a number between 1 and {MOST}.")
    return int(given)
