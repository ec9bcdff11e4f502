"""The fuller REST API, which the command line uses. Its document is openapi.yaml."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from funcatron.tron.web import deploying, scaling, views
from funcatron.tron.web.calls import MOST, answer, call, good, limit_of, page, part, tron_of


async def post_bundle(request: Request) -> Response:
    """Store the bundle that is the body."""
    taken = await tron_of(request).intake.take(request.stream())
    record = taken.record
    location = {"location": f"/api/v2/bundles/{record.sha}"}
    return answer(views.bundle(record), 201 if taken.new else 200, location)


async def list_bundles(request: Request) -> Response:
    """List the stored bundles."""
    found = await tron_of(request).registry.bundles()
    those, cursor = part(request, [one.sha for one in found])
    return page(request, "bundles", [views.bundle(one) for one in found[those]], cursor)


async def get_bundle(request: Request) -> Response:
    """Show a bundle by its SHA, or by the beginning of it."""
    return answer(views.bundle(await deploying.bundle_of(tron_of(request), request.path_params["sha"])))


async def history(request: Request) -> Response:
    """Return the past of all deployments."""
    cursor = request.query_params.get("cursor")
    found = await good(tron_of(request).registry.history_page(None, limit_of(request), cursor))
    return page(request, "events", [views.event(one) for one in found.items], found.next)


async def routes(request: Request) -> Response:
    """Return the route table, in the order to try."""
    table = tron_of(request).deployments.table
    listed = [route.as_json() for route in table.ordered]
    return answer({"version": table.version, "epoch": table.epoch, "routes": listed})


async def status(request: Request) -> Response:
    """Show the whole installation."""
    return answer(await views.status(tron_of(request)))


async def list_dead_letters(request: Request) -> Response:
    """List the first dead letters; they stay where they are."""
    letters = await tron_of(request).dead_letters.first(limit_of(request))
    return answer({"dead-letters": [one.as_json() for one in letters]})


async def retry_dead_letter(request: Request) -> Response:
    """Send a dead letter again."""
    letter = await tron_of(request).dead_letters.retry(request.path_params["id"], MOST)
    return answer(letter.as_json(), 202)


async def drop_dead_letter(request: Request) -> Response:
    """Throw a dead letter away."""
    await tron_of(request).dead_letters.drop(request.path_params["id"], MOST)
    return Response(status_code=204)


ROUTES = [
    call("/api/v2/bundles", list_bundles),
    call("/api/v2/bundles", post_bundle, "POST"),
    call("/api/v2/bundles/{sha}", get_bundle),
    *deploying.ROUTES,
    *scaling.ROUTES,
    call("/api/v2/history", history),
    call("/api/v2/routes", routes),
    call("/api/v2/status", status),
    call("/api/v2/dead-letters", list_dead_letters),
    call("/api/v2/dead-letters/{id}", drop_dead_letter, "DELETE", once=True),
    call("/api/v2/dead-letters/{id}/retry", retry_dead_letter, "POST", once=True),
]
