"""The command `invoke`: calls an operation by its name, through the Frontend as any client would."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from funcatron.cli import output
from funcatron.cli.funcs import client
from funcatron.cli.output import Exit
from funcatron.cli.state import State, split_pair
from funcatron.errors import FuncatronError

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]
PLACEHOLDER = re.compile(r"\{([^}]+)\}")


class FrontendAway(FuncatronError):
    """No Frontend answers."""


@dataclass(frozen=True)
class Call:
    """The HTTP request that a command line asks for. `target` is raw path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(rich_help_panel="Funcs")(invoke)


def invoke(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="NAME[/OPERATION]", help="Deployment, and its operation's id.")],
    pairs: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE…", help="Path and query parameters.")] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="Body; @FILE reads a file, @- stdin.")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", "-H", metavar="NAME: VALUE")] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-X", help="Which method, where an id is not enough.")
    ] = None,
    frontend: Annotated[str | None, typer.Option(help="URL of the Frontend.", show_default="this machine's")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Longest wait, s.")] = 65.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print status, headers and body as JSON.")] = False,
) -> None:
    """Call an operation of a deployment by name. Parameters that the path has go there, the others into the query.

    The operation may be the last part of its id, and left out where there is only one. The status goes to stderr, the
    body to stdout. Exit code 4 if the Func answers 4xx, 5 if it answers 5xx.

    **Examples**

    - `funcatron invoke hello/greet name=Ada times=2`
    - `funcatron invoke petstore/add --data '{"name": "Rex", "age": 3}'`
    - `funcatron invoke petstore/add --data @rex.json -H 'X-Request-Id: try-1'`
    """
    state: State = context.obj
    name, _, wanted = target.partition("/")
    with client(context) as tron:
        found = tron.deployment(name)
    operation = choose(found, wanted, method)
    parameters = [split_pair(pair, exact=True) for pair in pairs or []]
    call = build(found, operation, parameters, body_of(data), header or [])
    base = frontend or (origin(found["url"]) if state.settings.tron_url else state.settings.frontend)
    response = send(base, call, timeout)
    show(response, as_json=as_json)
    if response.status_code >= 400:
        raise typer.Exit(Exit.CLIENT_ERROR if response.status_code < 500 else Exit.SERVER_ERROR)


def choose(found: Json, wanted: str, method: str | None) -> Json:
    """Return the operation that a command line means. Raises FuncatronError that lists what there is."""
    every: list[Json] = found["operations"]
    fitting = [one for one in every if not wanted or wanted == one["id"]] or [
        one for one in every if re.split(r"[.:/#]", one["id"])[-1] == wanted
    ]
    if method is not None:
        fitting = [one for one in fitting if one["method"] == method.upper()]
    if len(fitting) == 1:
        return fitting[0]
    listed = "\n".join(f"  {found['name']}/{one['id']}  ({one['method']} {one['path']})" for one in every)
    what = "which operation?" if not wanted else f"{'several' if fitting else 'no'} operations {wanted!r}"
    raise FuncatronError(f"{found['name']}: {what} There are:\n{listed}")


def build(
    found: Json, operation: Json, parameters: Sequence[tuple[str, str]], body: bytes | None, lines: Sequence[str]
) -> Call:
    """Return the request for an operation. Raises FuncatronError for path parameters that are missing."""
    given = dict(parameters)
    names = PLACEHOLDER.findall(operation["path"])
    missing = [name for name in names if name not in given]
    if missing:
        raise FuncatronError(f"{operation['id']} needs {', '.join(f'{name}=…' for name in missing)} (in its path)")
    path = PLACEHOLDER.sub(lambda match: quote(given[match[1]], safe=""), operation["path"])
    query = urlencode([(name, value) for name, value in parameters if name not in names])
    base = "" if found["path"] == "/" else found["path"]
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if body is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    if found["host"]:
        headers.setdefault("Host", found["host"])
    return Call(operation["method"], base + path + (f"?{query}" if query else ""), headers, body)


def body_of(data: str | None) -> bytes | None:
    """Return the body that `--data` gives: text, @FILE, or @- for stdin."""
    if data is None or not data.startswith("@"):
        return None if data is None else data.encode()
    if data == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as err:
        raise FuncatronError(f"the body cannot be read: {err}") from err


def origin(url: str) -> str:
    """Return a URL's scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def send(base: str, call: Call, timeout: float) -> httpx.Response:
    """Send a request. Raises FrontendAway."""
    import httpx

    try:
        with httpx.Client(timeout=timeout, trust_env=False) as http:
            url = httpx.URL(base.rstrip("/")).copy_with(raw_path=call.target.encode())
            return http.request(call.method, url, headers=dict(call.headers), content=call.body)
    except httpx.ConnectError as err:
        raise FrontendAway(f"no Frontend answers at {base}: is `make up` running? (--frontend names another)") from err
    except (httpx.HTTPError, httpx.InvalidURL) as err:
        raise FrontendAway(f"the Frontend at {base} did not answer: {err or type(err).__name__}") from err


def show(response: httpx.Response, *, as_json: bool) -> None:
    """Print an answer."""
    if as_json:
        pairs = [[name, value] for name, value in response.headers.multi_items()]
        output.emit_json({"status": response.status_code, "headers": pairs, "body": response.text})
        return
    sys.stderr.write(f"HTTP {response.status_code} {response.reason_phrase}\n")
    sys.stderr.flush()
    sys.stdout.flush()
    sys.stdout.buffer.write(response.content)
    if sys.stdout.isatty() and not response.content.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
