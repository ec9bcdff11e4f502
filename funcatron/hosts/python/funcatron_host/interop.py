"""What code written for Connexion, Flask or Starlette expects around it, when the bundle brings those libraries."""

from __future__ import annotations

import sys

from . import answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from .calls import Call


class Frameworks:
    """The contexts to set for each call; none unless the bundle's own modules use such a library."""

    def __init__(self) -> None:
        self.active = False

    def enter(self, call: Call) -> None:
        """Set the contexts for the rest of a call. Runs in the call's own context, so nothing has to be undone."""


def find(folder: str) -> Frameworks:
    """Look at what was loaded."""
    return Frameworks()


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
        "path": context.path,
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


_ = sys
