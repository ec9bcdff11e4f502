"""The ASGI application of the admin API."""

from __future__ import annotations

import httpx
from starlette.routing import Router

from funcatron.tron.tron import Tron
from funcatron.tron.web import metrics, pages, v1, v2
from funcatron.tron.web.edge import Edge
from funcatron.tron.web.forward import ToLeader
from funcatron.tron.web.guard import guard_for


def create_app(tron: Tron, transport: httpx.AsyncBaseTransport | None = None) -> Edge:
    """Return the application. Raises SettingsError when it would be open to strangers.

    transport: how other Trons are reached; by the network, unless a test has them in its process.
    """
    guard = guard_for(tron.settings)
    router = Router([*v1.ROUTES, *v2.ROUTES, *metrics.ROUTES, *pages.ROUTES], redirect_slashes=False)
    leading = ToLeader(router, tron, transport)
    app = Edge(leading, guard, leading.close)
    app.state.tron = tron
    return app
