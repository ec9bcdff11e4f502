"""The ASGI application of the admin API."""

from __future__ import annotations

from starlette.routing import Router

from funcatron.tron.tron import Tron
from funcatron.tron.web import pages, v1, v2
from funcatron.tron.web.edge import Edge
from funcatron.tron.web.guard import guard_for


def create_app(tron: Tron) -> Edge:
    """Return the application. Raises SettingsError when it would be open to strangers."""
    guard = guard_for(tron.settings)
    app = Edge(Router([*v1.ROUTES, *v2.ROUTES, *pages.ROUTES], redirect_slashes=False), guard)
    app.state.tron = tron
    return app
