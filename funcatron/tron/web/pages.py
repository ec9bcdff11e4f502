"""Pages for people, the API's own document, and the probes. All assets are in the package: no network is needed."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from funcatron import problem

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


async def dashboard(_: Request) -> Response:
    """The landing page."""
    return _asset("dashboard.html")


async def docs(_: Request) -> Response:
    """The API's documentation."""
    return _asset("docs.html")


async def static(request: Request) -> Response:
    """A file that the pages use."""
    return _asset(request.path_params["file"])


async def openapi_yaml(_: Request) -> Response:
    """The API's OpenAPI document."""
    return Response(_document(), media_type="application/yaml")


async def openapi_json(_: Request) -> Response:
    """The same document as JSON, which the documentation page reads."""
    import yaml  # only who looks at the documentation pays for it

    return Response(orjson.dumps(yaml.safe_load(_document())), media_type="application/json")


async def health(_: Request) -> Response:
    """Whether the process lives."""
    return Response(b'{"status":"ok"}', media_type="application/json")


async def ready(request: Request) -> Response:
    """Whether it dispatches."""
    tron = request.app.state.tron
    if tron.ready:
        return Response(b'{"status":"ready"}', media_type="application/json")
    why = "the broker is away" if not tron.broker.connected else "the Tron is starting or stopping"
    body = problem.problem(503, detail=f"Not ready: {why}.", request_id=request.scope["state"]["request_id"])
    return Response(body, 503, {"retry-after": "2"}, media_type=problem.MEDIA_TYPE)


ROUTES = [
    Route("/", dashboard),
    Route("/docs", docs),
    Route("/static/{file}", static),
    Route("/api/openapi.yaml", openapi_yaml),
    Route("/api/openapi.json", openapi_json),
    Route("/health", health),
    Route("/ready", ready),
]


@cache
def _document() -> bytes:
    return files("funcatron.tron").joinpath("openapi.yaml").read_bytes()


@cache
def _names() -> frozenset[str]:
    return frozenset(one.name for one in files(__package__).joinpath("static").iterdir())


def _asset(name: str) -> Response:
    if name not in _names():
        raise HTTPException(404, "There is no such file.")
    content = files(__package__).joinpath("static", name).read_bytes()
    return Response(content, media_type=TYPES[name.rsplit(".", 1)[-1]], headers={"cache-control": "no-cache"})
