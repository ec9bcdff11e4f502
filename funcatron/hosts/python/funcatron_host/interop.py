"""What code written for Connexion, Flask or Starlette expects around it, when the bundle brings those libraries.

`connexion.request`, `connexion.context` and `flask.request`, `flask.g`, `flask.current_app` are context variables of
theirs: they are set for each call. Responses that are ASGI applications are run. Nothing of this costs a bundle that
does not use such a library.
"""

from __future__ import annotations

import sys
from io import BytesIO
from types import FunctionType, ModuleType
from urllib.parse import unquote, unquote_to_bytes

from . import answers
from .loading import loaded_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from .calls import Call


class Frameworks:
    """Sets the contexts for each call. `enter` runs in the call's own context, so nothing has to be undone."""

    def __init__(self) -> None:
        self._entries: List[Callable[[Call], None]] = []
        self.active = False

    def add(self, entry: Callable[[Call], None]) -> None:
        """Let `entry` run for each call."""
        self._entries.append(entry)
        self.active = True

    def enter(self, call: Call) -> None:
        """Set the contexts for the rest of a call."""
        for entry in self._entries:
            entry(call)


def find(folder: str) -> Frameworks:
    """Look at what was loaded: Connexion if it is there, Flask only if the bundle's own modules use it."""
    found = Frameworks()
    connexion = sys.modules.get("connexion.context")
    if connexion is not None and hasattr(connexion, "_context"):
        found.add(_connexion(connexion))
    flask: Any = sys.modules.get("flask")
    if flask is not None and any(_uses(module, "flask") for module in loaded_from(folder)):
        found.add(_flask(flask.Flask("funcatron", static_folder=None)))
    return found


def _uses(module: Any, library: str) -> bool:
    """Whether a module's names hold something of a library. Proxies are only looked at: they have no value yet."""
    for value in list(vars(module).values()):
        kind = type(value)
        name = value.__name__ if kind is ModuleType else kind.__module__
        if kind is FunctionType or isinstance(value, type):
            name = value.__module__ or ""
        if name.partition(".")[0] == library or name == "werkzeug.local":
            return True
    return False


def _connexion(module: Any) -> Callable[[Call], None]:
    def enter(call: Call) -> None:
        body = call.raw_body()

        async def receive() -> Dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        module._context.set(call.context._values)
        module._scope.set(scope(call))
        module._receive.set(receive)

    return enter


def _flask(app: Any) -> Callable[[Call], None]:
    return lambda call: app.request_context(environ(call)).push()


def environ(call: Call) -> Dict[str, Any]:
    """The WSGI environment of a call (PEP 3333)."""
    context = call.context
    name, _, port = context.host.partition(":")
    made: Dict[str, Any] = {
        "REQUEST_METHOD": context.method or "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(context.path).decode("latin-1"),
        "RAW_URI": context.path,
        "QUERY_STRING": context.query,
        "SERVER_NAME": name or "localhost",
        "SERVER_PORT": port or ("443" if context.scheme == "https" else "80"),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": context.remote_addr,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": context.scheme,
        "wsgi.input": BytesIO(context.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(context.body)),
    }
    for key, value in context.headers.items():
        wsgi = key.upper().replace("-", "_")
        if wsgi == "CONTENT_TYPE":
            made[wsgi] = value
        elif wsgi != "CONTENT_LENGTH":
            made["HTTP_" + wsgi] = value
    return made


async def run_asgi(
    response: Callable[..., Any], call: Call, piece: Callable[[Optional[answers.Made], bytes, bool], None]
) -> None:
    """Run a response that is an ASGI application (a file, a stream, one with background work); pass its pieces on."""
    made: List[answers.Made] = []

    async def receive() -> Dict[str, Any]:
        import asyncio

        await asyncio.get_running_loop().create_future()  # the client never goes away, as far as can be known here
        return {}

    async def send(message: Dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]
            made.append(answers.make((None, message["status"], headers), ()))
        elif message["type"] == "http.response.body":
            start = made.pop() if made else None
            piece(start, message.get("body", b""), message.get("more_body", False))

    await response(scope(call), receive, send)


def scope(call: Call) -> Dict[str, Any]:
    """The ASGI scope of a call."""
    context = call.context
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": context.method or "GET",
        "scheme": context.scheme,
        "path": unquote(context.path),
        "raw_path": context.path.encode("latin-1", "replace"),
        "root_path": "",
        "query_string": context.query.encode("latin-1", "replace"),
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name in context.headers
            for value in context.headers.getlist(name)
        ],
        "client": (context.remote_addr, 0) if context.remote_addr else None,
        "server": (context.host, None),
        "path_params": dict(context.path_params),
        "extensions": {},
    }
