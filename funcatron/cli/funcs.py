"""Commands about Funcs: bundle, deploy, list, describe, undeploy, enable, disable, routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from funcatron.cli import output
from funcatron.cli.progress import Progress, condition, existing, local_time, served, shas, split_told
from funcatron.cli.state import State, split_pair
from funcatron.errors import FuncatronError, NotFound

if TYPE_CHECKING:
    from funcatron.client import Client

Json = dict[str, Any]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Deployed = Annotated[str, typer.Argument(metavar="NAME|SHA", help="A deployment's name, or how its SHA begins.")]
Timeout = Annotated[float, typer.Option(min=1, help="Longest wait, s.")]
Ready = Annotated[
    float, typer.Option("--timeout", min=1, max=3600, help="It is given up if it does not serve by then, s.")
]
READY_TIMEOUT = 120.0
GONE_TIMEOUT = 60.0
GRACE = 15.0
"""How much longer than a version may take its end is waited for, s: the Tron says it, or the one that takes over."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (bundle, deploy, undeploy, enable, disable, describe, routes):
        app.command(rich_help_panel="Funcs")(command)
    app.command("list", rich_help_panel="Funcs")(list_deployments)


@contextmanager
def client(context: typer.Context) -> Iterator[Client]:
    """Give a client of the Tron that the settings name."""
    from funcatron.client import Client

    state: State = context.obj
    with Client.of(state.settings) as made:
        yield made


def bundle(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with code and funcatron.yaml.")],
    file: Annotated[Path | None, typer.Option("--output", "-o", help="The bundle.", show_default="FOLDER.pex")] = None,
    python: Annotated[str | None, typer.Option(help="Interpreter to build for.")] = None,
    platform: Annotated[list[str] | None, typer.Option(help="Foreign platform to build for, as pex names it.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what pex says.")] = False,
) -> None:
    """Build a Func bundle: code, libraries (requirements.txt) and spec become one PEX.

    The spec is checked first; every fault of it is told.

    **Examples**

    - `funcatron bundle examples/python/petstore -o petstore.pex`
    """
    from funcatron import bundles

    lines: list[str] = []
    made = bundles.build(
        folder,
        file or Path(f"{folder.resolve().name}.pex"),
        output.say if verbose else lines.append,
        python=python,
        platforms=platform or (),
    )
    if lines:
        output.say(lines[-1])
    output.say(f"deploy it with: funcatron deploy {made}")


def deploy(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The bundle.")],
    name: Annotated[str | None, typer.Option(help="Deploy under this name.", show_default="the spec's")] = None,
    prop: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A property for the Func.")] = None,
    timeout: Ready = READY_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Deploy a bundle and wait until it serves: no request is lost. What served before goes on until then.

    If it never gets ready, it is taken back by itself: what served before goes on, and the exit code is 1. The values
    of properties are JSON where they can be read as such (`--prop limit=5`), else text.

    **Examples**

    - `funcatron deploy petstore.pex`
    - `funcatron deploy petstore.pex --prop url=postgres://db/pets --timeout 30`
    """
    say = (lambda _: None) if as_json else output.say
    with client(context) as tron:
        done = rollout(tron, file, name, properties(prop or []), timeout, say)
    if as_json:
        output.emit_json(done)
        return
    output.say(f"{done['name']} serves at {done['url']}")
    output.say(f"SHA {done['sha']}")
    show_operations(done)


def rollout(tron: Client, file: Path, name: str | None, props: Json, timeout: float, say: output.Say) -> Json:
    """Store a bundle, deploy it, wait until it serves; return the deployment. Raises FuncatronError if it does not."""
    stored = tron.add_bundle(file)
    sha, wanted = str(stored["sha"]), name or str(stored["name"])
    say(f"stored {file.name}: SHA {sha[:8]}, {output.size(stored['size'])}")
    progress = Progress(say, before=existing(tron, wanted))
    progress.show(tron.deploy(wanted, sha, props, limit=limit_of(timeout)))
    return served(tron.wait(wanted, sha, timeout + GRACE, progress.show), "deployed")


def limit_of(timeout: float) -> float | None:
    """Return what the Tron is told of `--timeout`: nothing where it is as usual."""
    return None if timeout == READY_TIMEOUT else timeout


def properties(pairs: list[str]) -> Json:
    """Return properties from NAME=VALUE, values as JSON where they are."""
    made: Json = {}
    for pair in pairs:
        name, value = split_pair(pair, exact=True)
        try:
            made[name] = json.loads(value)
        except ValueError:
            made[name] = value
    return made


def list_deployments(context: typer.Context, as_json: AsJson = False) -> None:
    """List what is deployed.

    **Examples**

    - `funcatron list`
    - `funcatron list --json | jq -r '.[].name'`
    """
    with client(context) as tron:
        found = tron.deployments()
    if as_json:
        output.emit_json(found)
    elif not found:
        output.say("nothing is deployed; deploy a bundle with `funcatron deploy FILE`")
    else:
        rows = [
            (one["name"], shas(one), condition(one), one["version"] or "-", one["url"], local_time(one["updated"]))
            for one in found
        ]
        output.table(("NAME", "SHA", "STAGE", "VERSION", "URL", "UPDATED"), rows)


def describe(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="NAME|SHA|FILE", help="A deployment, a stored bundle, or a file.")],
    as_json: AsJson = False,
) -> None:
    """Describe a deployment, a stored bundle, or a bundle on this machine: spec, operations, stages, Runners.

    **Examples**

    - `funcatron describe petstore`
    - `funcatron describe 4f2c81d0`
    - `funcatron describe petstore.pex`
    """
    if Path(what).is_file():
        found = described_file(Path(what))
    else:
        with client(context) as tron:
            found = described(tron, what)
    if as_json:
        output.emit_json(found)
        return
    for key, value in found.items():
        if key not in {"operations", "stages", "runners"} and value not in (None, [], {}):
            shown = split_told(value) if key == "split" else value
            output.say(f"{key + ':':<11} {shown if isinstance(shown, (str, int, bool)) else json.dumps(shown)}")
    show_operations(found)
    for stage in found.get("stages", ()):
        output.say(f"  {local_time(stage['at'])}  {stage['stage']:<10} {stage['sha'][:8]}  {stage['detail'] or ''}")
    for runner in found.get("runners", ()):
        output.say(f"  runner {runner['id']}: {runner['stage']} {runner['sha'][:8]} {runner['error'] or ''}")


def described(tron: Client, what: str) -> Json:
    """Return a deployment, else a stored bundle."""
    try:
        return tron.deployment(what)
    except NotFound as err:
        try:
            return tron.bundle(what)
        except NotFound:
            raise NotFound(f"{err} (nor is there a file or a stored bundle {what!r})") from err


def described_file(file: Path) -> Json:
    """Return what a bundle on this machine is."""
    from funcatron import bundles, spec

    found = bundles.recognise(file)
    api = spec.load(found.spec_files, found.entry)
    return {
        "name": api.name,
        "sha": found.sha,
        "kind": found.kind,
        "host": api.host,
        "path": api.base_path,
        "size": found.size,
        "title": api.title,
        "version": api.version,
        "operations": [{"id": one.id, "method": one.method.upper(), "path": one.path} for one in api.operations],
    }


def undeploy(context: typer.Context, name: Deployed, timeout: Timeout = GONE_TIMEOUT) -> None:
    """Take a deployment out of service: routes first, then what is in flight is finished. Its bundle stays stored.

    **Examples**

    - `funcatron undeploy petstore`
    """
    with client(context) as tron:
        gone = tron.undeploy(name)
        if not tron.wait_gone(gone["name"], timeout):
            raise FuncatronError(f"{gone['name']} is not drained after {timeout:g} s; it goes on")
    output.say(f"{gone['name']} (SHA {gone['sha'][:8]}) is undeployed")


def enable(context: typer.Context, name: Deployed, timeout: Ready = READY_TIMEOUT) -> None:
    """Bring a disabled deployment, or a stored bundle, into service and wait until it serves.

    **Examples**

    - `funcatron enable petstore`
    - `funcatron enable 4f2c81d0`
    """
    with client(context) as tron:
        found = described(tron, name)
        props, settings = found.get("props"), found.get("settings")
        tron.deploy(found["name"], found["sha"], props, settings, limit_of(timeout))
        done = served(tron.wait(found["name"], found["sha"], timeout + GRACE), "enabled")
    output.say(f"{done['name']} serves at {done['url']}")


def disable(context: typer.Context, name: Deployed) -> None:
    """Take a deployment out of service, but keep it and its properties for `enable`.

    **Examples**

    - `funcatron disable petstore`
    """
    with client(context) as tron:
        found = tron.deployment(name)
        tron._call("POST", "/api/v1/disable", json={"sha": found["sha"]})  # the original's call; v2 has none
    output.say(f"{found['name']} (SHA {found['sha'][:8]}) is disabled")


def routes(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the route table in the order in which routes are tried.

    **Examples**

    - `funcatron routes`
    """
    with client(context) as tron:
        table = tron.routes()
    if as_json:
        output.emit_json(table)
        return
    rows = []
    for one in table["routes"]:
        for share in one.get("split") or [one]:
            part = f" {share['percent']} %" if "percent" in share else ""
            sha = (share.get("sha") or "-")[:8] + part
            rows.append((one["host"] or "*", one["path"], one.get("name") or "-", sha, share["queue"]))
    output.table(("HOST", "PATH", "NAME", "SHA", "QUEUE"), rows)


def show_operations(found: Json) -> None:
    """Print the operations of a deployment or a bundle."""
    base = "" if found.get("path") in {None, "/"} else str(found["path"])
    rows = [(f"  {one['method']}", base + one["path"], one["id"]) for one in found["operations"]]
    if rows:
        output.table(("  METHOD", "PATH", "OPERATION"), rows)


def shas_named(state: State, name: str) -> frozenset[str]:
    """Return every SHA that was ever deployed under a name."""
    from funcatron.client import Client

    with Client.of(state.settings) as tron:
        return frozenset(str(event["sha"]) for event in tron.history(name, 1000) if event.get("sha"))
