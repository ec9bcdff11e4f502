"""The ASGI application of the admin API."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from funcatron.errors import FuncatronError
from funcatron.tron.tron import Tron
from funcatron.tron.web import pages, v1, v2
from funcatron.tron.web.edge import Edge, error_response
from funcatron.tron.web.guard import guard_for


def create_app(tron: Tron) -> ASGIApp:
    """Return the application. Raises SettingsError when it would be open to strangers."""
    guard = guard_for(tron.settings)
    routes = [*v1.ROUTES, *v2.ROUTES, *pages.ROUTES]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _error, FuncatronError: _error})
    app.state.tron = tron
    app.router.redirect_slashes = False
    return Edge(app, guard)


async def _error(request: Request, err: Exception) -> Response:
    return error_response(err, request.scope["state"]["request_id"])
