"""The calls of `/api/v2` about how deployments are scaled, and about who runs them."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from funcatron.errors import Stale
from funcatron.stores.nearest import unknown
from funcatron.stores.scaling import Scaling
from funcatron.tron.journal import RUNNERS, TRONS
from funcatron.tron.peers import Peer
from funcatron.tron.web import views
from funcatron.tron.web.bodies import optional, read_members
from funcatron.tron.web.calls import answer, call, etag, good, if_match, limit_of, page, tron_of, who

KINDS: dict[str, type] = {"min": int, "max": int, "target-wait": float, "warm": int, "idle": float}
"""What can be set."""


async def get_scaling(request: Request) -> Response:
    """Return what was set of a deployment's scaling."""
    tron = tron_of(request)
    found = await tron.registry.scaling(tron.deployments.find(request.path_params["name"]).name)
    return _scaling(found)


async def put_scaling(request: Request) -> Response:
    """Set a deployment's scaling: all of it."""
    tron = tron_of(request)
    body = await read_members(request, KINDS)
    given = {name.replace("-", "_"): optional(body, name, kind) for name, kind in KINDS.items()}
    name, revisions = tron.deployments.find(request.path_params["name"]).name, if_match(request)
    revision = None
    if revisions is not None:
        revision = (await tron.registry.scaling(name)).revision
        if revision not in revisions:
            raise Stale(f"the scaling settings of {name} are at revision {revision}: read them again")
    return _scaling(await tron.registry.set_scaling(name, Scaling(**given), revision=revision, who=who(request)))


async def deployment_decisions(request: Request) -> Response:
    """Return the scaling decisions about a deployment, or about the numbers of Runners and Trons."""
    name = request.path_params["name"]
    if name not in (RUNNERS, TRONS):
        name = tron_of(request).deployments.find(name).name
    return await _decisions(request, name)


async def decisions(request: Request) -> Response:
    """Return the scaling decisions about all deployments."""
    return await _decisions(request, None)


async def list_trons(request: Request) -> Response:
    """List the Trons of the installation."""
    return answer({"trons": [views.fellow(one) for one in tron_of(request).trons()]})


async def list_runners(request: Request) -> Response:
    """List the Runners, with the figures of each that are known."""
    tron = tron_of(request)
    figures = tron.control.statistics.picture(exact=False).runners
    return answer({"runners": [views.runner(one, figures.get(one.id)) for one in tron.peers.of("runner")]})


async def get_runner(request: Request) -> Response:
    """Show a Runner."""
    found = _runner(request)
    figures = tron_of(request).control.statistics.picture(exact=False).runners
    return answer(views.runner(found, figures.get(found.id)))


async def drain_runner(request: Request) -> Response:
    """Begin to take a Runner out of service: others take over what it runs, then it ends."""
    found, tron = _runner(request), tron_of(request)
    await tron.drain_runner(found.id)
    return answer(views.runner(found, None), 202)


ROUTES = [
    call("/api/v2/deployments/{name}/scaling", get_scaling),
    call("/api/v2/deployments/{name}/scaling", put_scaling, "PUT", once=True),
    call("/api/v2/deployments/{name}/decisions", deployment_decisions),
    call("/api/v2/decisions", decisions),
    call("/api/v2/trons", list_trons),
    call("/api/v2/runners", list_runners),
    call("/api/v2/runners/{id}", get_runner),
    call("/api/v2/runners/{id}/drain", drain_runner, "POST", once=True),
]


def _scaling(found: Scaling) -> Response:
    return answer({**dict.fromkeys(KINDS), **found.as_json(), "revision": found.revision}, headers=etag(found.revision))


async def _decisions(request: Request, name: str | None) -> Response:
    """Return a page of decisions, the newest first; or, for who watches, those after one, the oldest first."""
    registry, limit = tron_of(request).registry, limit_of(request)
    after = request.query_params.get("after")
    if after is None:
        found = await good(registry.decisions(name, limit, request.query_params.get("cursor")))
        return page(request, "decisions", [views.decision(one) for one in found.items], found.next)
    if not after.isascii() or not after.isdecimal() or len(after) > 18:
        raise HTTPException(400, "after must be the id of a decision, or 0.")
    came = await registry.decisions_after(name, int(after), limit)
    return answer({"decisions": [views.decision(one) for one in came]})


def _runner(request: Request) -> Peer:
    wanted, peers = request.path_params["id"], tron_of(request).peers
    found = peers.get(wanted)
    if found is None or found.kind != "runner":
        raise unknown("runner", wanted, [one.id for one in peers.of("runner")])
    return found
