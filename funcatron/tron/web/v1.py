"""The original's admin API, call by call: the same JSON and the same status codes."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from funcatron.errors import FuncatronError, NotFound, NotLeader, StoreError
from funcatron.stores.records import Deployment
from funcatron.tron.lifecycle import UNDER_WAY
from funcatron.tron.tron import Tron
from funcatron.tron.ways import Asked
from funcatron.tron.web.bodies import field, read_json
from funcatron.tron.web.calls import who

ENABLE_WAIT = 25.0
"""How long `enable` waits until the Func serves, s. The original's scripts call it right afterwards."""


def answer(value: Any, status: int = 200) -> Response:
    """Return a JSON answer, indented as the original's."""
    return Response(orjson.dumps(value, option=orjson.OPT_INDENT_2), status, media_type="application/json")


async def add_func(request: Request) -> Response:
    """Store the bundle that is the body."""
    try:
        taken = await _tron(request).intake.take(request.stream())
    except StoreError as err:
        return answer({"accepted": False, "error": str(err)}, 413 if "limit" in str(err) else 503)
    except NotLeader as err:
        return answer({"accepted": False, "error": str(err)}, 503)
    except FuncatronError as err:
        return answer({"accepted": False, "error": str(err)}, 400)
    record = taken.record
    stored = {
        "accepted": True,
        "type": record.kind,
        "host": record.host,
        "route": record.base_path,
        "swagger": taken.inspection.document,
        "sha": record.sha,
    }
    return answer(stored)


async def enable(request: Request) -> Response:
    """Bring a stored bundle into service, and wait for that as long as a client would."""
    tron = _tron(request)
    try:
        body = await read_json(request)
        sha, props = field(body, "sha", str), field(body, "props", dict, {})
        bundle = await tron.registry.bundle(sha)
        if bundle is None:
            raise NotFound(f"Could not find Func bundle with SHA: {sha}")
        deployment = await tron.deployments.deploy(bundle.name, sha, props, {}, Asked(who(request)))
        if tron.peers.of("runner"):
            deployment = await tron.deployments.settled(deployment.name, sha, ENABLE_WAIT)
    except (FuncatronError, HTTPException) as err:
        return _failed(err)
    if deployment.stage == "failed":
        return answer({"success": False, "error": deployment.error}, 400)
    return answer({"success": True, "msg": _enabled(deployment)})


async def disable(request: Request) -> Response:
    """Take a bundle out of service; it stays stored."""
    tron = _tron(request)
    try:
        sha = field(await read_json(request), "sha", str)
        bundle = await tron.registry.bundle(sha)
        if bundle is None:
            raise NotFound(f"Could not find Func bundle with SHA: {sha}")
        deployment = tron.deployments.of_sha(sha)
        if deployment is None or not deployment.enabled:
            return answer({"success": True, "msg": f"Func bundle sha {sha} is not enabled"})
        await tron.deployments.undeploy(deployment.name, keep=True, asked=Asked(who(request)))
    except (FuncatronError, HTTPException) as err:
        return _failed(err)
    where = f"host: {bundle.host} basePath {bundle.base_path} sha {sha}"
    return answer({"success": True, "msg": f"Disabled Func bundle {where}"})


async def known_funcs(request: Request) -> Response:
    """List all stored bundles."""
    bundles = await _tron(request).registry.bundles()
    return answer({"func-bundles": [{"sha": one.sha, "host": one.host, "path": one.base_path} for one in bundles]})


async def routes(request: Request) -> Response:
    """Return the route table in the order to try."""
    return answer(_routes(_tron(request)))


async def get_stats(request: Request) -> Response:
    """Return who is there, and the route table."""
    tron = _tron(request)
    network = {
        peer.id: {
            "type": peer.kind,
            "instance-id": peer.id,
            "from": peer.queue,
            "host_info": peer.info,
            "last-seen": int(peer.seen * 1000),
        }
        for peer in tron.peers
    }
    target = tron.statsd.target
    statsd = {
        "enable": target is not None,
        "host": target[0] if target else None,
        "port": target[1] if target else None,
    }
    stats = {"network": network, "route-map": _routes(tron), "statsd": statsd, "counters": tron.counters.as_json()}
    return answer(stats)


async def post_stats(request: Request) -> Response:
    """Switch StatsD on or off; it stays so over a restart."""
    tron = _tron(request)
    try:
        body = await read_json(request)
        switch = None
        if field(body, "enable", bool):
            switch = {"host": field(body, "host", str, "127.0.0.1"), "port": field(body, "port", int, 8125)}
            if not 0 < switch["port"] < 65536:
                raise HTTPException(400, "'port' must be between 1 and 65535.")
            await tron.statsd.switch_on(switch["host"], switch["port"])
        else:
            tron.statsd.switch_off()
        await tron.registry.remember("statsd", switch)
    except (FuncatronError, HTTPException) as err:
        return _failed(err)
    return answer({"success": True, "msg": f"StatsD is {'on' if switch else 'off'}"})


async def bundle_bytes(request: Request) -> Response:
    """Return the bytes of a bundle."""
    blobs, sha = _tron(request).blobs, request.path_params["sha"]
    size = await blobs.size(sha)
    headers = {"content-length": str(size), "etag": f'"{sha}"', "cache-control": "private, max-age=31536000, immutable"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/octet-stream")
    return StreamingResponse(blobs.stream(sha), headers=headers, media_type="application/octet-stream")


ROUTES = [
    Route("/api/v1/add_func", add_func, methods=["POST"]),
    Route("/api/v1/enable", enable, methods=["POST"]),
    Route("/api/v1/disable", disable, methods=["POST"]),
    Route("/api/v1/known_funcs", known_funcs),
    Route("/api/v1/routes", routes),
    Route("/api/v1/stats", get_stats),
    Route("/api/v1/stats", post_stats, methods=["POST"]),
    Route("/api/v1/bundle/{sha}", bundle_bytes),
]


def _tron(request: Request) -> Tron:
    tron: Tron = request.app.state.tron
    return tron


def _routes(tron: Tron) -> list[dict[str, Any]]:
    return [route.as_json() for route in tron.deployments.table.ordered]


def _enabled(deployment: Deployment) -> str:
    wanted = deployment.wanted
    where = f"host: {wanted.host} basePath {wanted.base_path} sha {wanted.sha}"
    if deployment.stage in UNDER_WAY:
        return f"Deploying Func bundle {where}: it will serve once a Runner has loaded it"
    return f"Deployed Func bundle {where}"


def _failed(err: FuncatronError | HTTPException) -> Response:
    if isinstance(err, NotFound):
        return answer({"success": False, "error": str(err)}, 404)
    if isinstance(err, HTTPException):
        return answer({"success": False, "error": err.detail}, err.status_code)
    return answer({"success": False, "error": str(err)}, 503 if isinstance(err, StoreError | NotLeader) else 400)
