"""Commands about this machine: up, down, status, logs, config, and the long-lived parts tron and runner."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from typing import Annotated, Any

import typer

from funcatron.cli import output
from funcatron.cli.output import Exit
from funcatron.cli.state import State, in_file
from funcatron.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (up, down, status, logs, config):
        app.command(rich_help_panel="This machine")(command)
    for part in (tron, runner):
        app.command(rich_help_panel="Parts")(part)


def up(context: typer.Context) -> None:
    """Start the stack on this machine: broker, Tron, Runners, Frontend. Idempotent.

    The first time the samples are deployed as well. Everything lies in the data folder (var); nothing else that runs
    on the machine is touched. A taken port is an error that names the setting to change it.

    **Examples**

    - `funcatron up`
    - `FUNCATRON_HTTP_PORT=9080 funcatron up`
    - `funcatron --set http_port=9080 --set admin_port=9300 up`
    """
    from funcatron.stack import Stack, samples

    stack = Stack(state(context).settings, say=output.say)
    started = stack.up()
    samples.deploy_once(stack.settings, stack.folders, output.say)
    output.say("the stack is up" if started else "the stack was up already")
    output.say(samples.hint(stack.settings))


def down(context: typer.Context) -> None:
    """Stop the stack gracefully: what is in flight is answered first. No process is left; what was deployed is kept.

    **Examples**

    - `funcatron down`
    """
    from funcatron.stack import Stack

    ran = Stack(state(context).settings, say=output.say).down()
    output.say("the stack is down" if ran else "nothing ran")


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show each part of the stack: is it up and ready, its process, memory and since when. Exit code 1 if not all are.

    **Examples**

    - `funcatron status`
    - `funcatron status --json`
    """
    from funcatron.stack import Stack

    parts = Stack(state(context).settings).status()
    if as_json:
        output.emit_json([dataclasses.asdict(part) for part in parts])
    elif not parts:
        output.say("nothing runs here; start it with `make up` (or `funcatron up`)")
    else:
        marks = {True: "yes", False: "no", None: "-"}
        output.table(
            ("PART", "STATE", "READY", "PID", "MEMORY", "UP", ""),
            [
                (
                    part.name,
                    part.state,
                    marks[part.ready],
                    part.pid or "-",
                    output.size(part.memory_bytes) if part.pid else "-",
                    output.duration(part.up_for) if part.pid else "-",
                    part.note,
                )
                for part in parts
            ],
        )
    if not parts or not all(part.fine for part in parts):
        raise typer.Exit(Exit.FAILED)


def logs(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many of the last lines; 0 for all.")] = 200,
    component: Annotated[str | None, typer.Option(help="Only of this part: tron, runner, frontend, broker …")] = None,
    name: Annotated[str | None, typer.Option(help="Only of this deployment.")] = None,
    sha: Annotated[str | None, typer.Option(help="Only of the bundle whose SHA starts so.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Only of this request.")] = None,
    level: Annotated[str | None, typer.Option(help="Only from this level on: debug, info, warning, error.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are.")] = False,
) -> None:
    """Show the logs of all parts of the stack, in the order of time.

    **Examples**

    - `funcatron logs -f`
    - `funcatron logs --name petstore --level warning`
    - `funcatron logs --request-id 4f2c… --json`
    """
    from funcatron.cli import loglines

    wanted = loglines.Filter(component, shas_of(context, name), sha, request_id, loglines.severity(level))
    with contextlib.suppress(KeyboardInterrupt):  # how following is meant to end
        loglines.show(state(context).settings.data / "log", wanted, lines, follow=follow, raw=as_json)


def shas_of(context: typer.Context, name: str | None) -> frozenset[str] | None:
    """Return the SHAs of a deployment's name, or None if none was given."""
    if name is None:
        return None
    from funcatron.cli.funcs import shas_named

    return shas_named(state(context), name)


def config(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the effective settings, and for each where its value comes from. Secrets are masked.

    **Examples**

    - `funcatron config`
    - `FUNCATRON_HTTP_PORT=9080 funcatron config --json`
    """
    now = state(context)
    in_file()
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "value": without_password(getattr(now.settings, name)),
            "source": now.source(name),
            "about": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]
    if as_json:
        output.emit_json(rows)
        return
    shown = [(row["name"], "-" if row["value"] is None else row["value"], row["source"], row["about"]) for row in rows]
    output.table(("SETTING", "VALUE", "FROM", "WHAT IT IS"), shown)


def without_password(value: object) -> object:
    """Mask the password of a URL; other values are as they were."""
    return re.sub(r"(?<=://)([^/@:]*):[^@/]*@", r"\1:**********@", value) if isinstance(value, str) else value


def tron(context: typer.Context) -> None:
    """Run a Tron in the foreground, until SIGTERM. `funcatron up` starts one; this is for containers and debugging.

    **Examples**

    - `FUNCATRON_BROKER_HOST=rabbit.example funcatron tron`
    """
    from funcatron.cli.serve import serve

    raise typer.Exit(serve("tron", **state(context).flags))


def runner(
    context: typer.Context, runner_id: Annotated[str | None, typer.Argument(help="Its id; unique.")] = None
) -> None:
    """Run a Runner in the foreground, until SIGTERM. `funcatron up` starts as many as the setting `runners` says.

    **Examples**

    - `funcatron runner runner-7`
    """
    from funcatron.cli.serve import serve

    raise typer.Exit(serve("runner", runner_id, **state(context).flags))


def state(context: typer.Context) -> State:
    """Return what the global options said."""
    found: State = context.obj
    return found
