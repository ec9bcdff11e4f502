"""Commands about the processes of an installation: trons, runners, drain."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from funcatron.cli import output
from funcatron.cli.funcs import AsJson, Timeout, client
from funcatron.cli.progress import Json, local_time
from funcatron.errors import FuncatronError, NotFound

if TYPE_CHECKING:
    from funcatron.client import Client

LOOK = 0.5
"""Between two looks at a Runner that drains, s."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (trons, runners, drain):
        app.command(rich_help_panel="Installation")(command)


def trons(context: typer.Context, as_json: AsJson = False) -> None:
    """List the Trons: which one leads, where each is, what each has dispatched.

    **Examples**

    - `funcatron trons`
    """
    with client(context) as tron:
        found = tron.trons()
    if as_json:
        output.emit_json(found)
        return
    rows = [
        (
            one["id"],
            f"leads, epoch {one['epoch']}" if one["leads"] else "follows",
            one["url"] or "-",
            one.get("version") or "-",
            one["dispatched"],
            local_time(one["since"]),
            local_time(one["seen"]),
        )
        for one in found
    ]
    output.table(("TRON", "STATE", "URL", "VERSION", "DISPATCHED", "SINCE", "HEARD"), rows)


def runners(context: typer.Context, as_json: AsJson = False) -> None:
    """List the Runners: where each is, what it has and uses, what it runs. `?` is what is not known.

    **Examples**

    - `funcatron runners`
    - `funcatron runners --json | jq -r '.[].id'`
    """
    with client(context) as tron:
        found = tron.runners()
    if as_json:
        output.emit_json(found)
    elif not found:
        output.say("no Runner is connected: deployments wait for one")
    else:
        output.table(
            ("RUNNER", "MACHINE", "PID", "CORES", "MEMORY FREE", "HOSTS", "IN FLIGHT", "FUNCS", "SINCE"), rows(found)
        )


def rows(found: list[Json]) -> list[tuple[object, ...]]:
    """Return the table of Runners."""
    made: list[tuple[object, ...]] = []
    for one in found:
        known, info = one["figures"] or {}, one["info"]
        used, cores, free = known.get("cores-used"), known.get("cores"), known.get("memory-available")
        made.append(
            (
                one["id"],
                info.get("hostname") or "?",
                info.get("pid") or "?",
                f"{'?' if used is None else format(used, '.1f')} of {'?' if cores is None else format(cores, 'g')}",
                "?" if free is None else output.size(free),
                sum(known["hosts"].values()) if "hosts" in known else "?",
                known.get("in-flight", "?"),
                sum(loaded["stage"] != "failed" for loaded in one["bundles"]),
                local_time(one["since"]),
            )
        )
    return made


def drain(
    context: typer.Context,
    runner: Annotated[str, typer.Argument(help="Its id, from `funcatron runners`.")],
    timeout: Timeout = 120.0,
) -> None:
    """Take a Runner out of service and wait until it has ended: it finishes what it has in hand, others take over.

    **Examples**

    - `funcatron drain runner-2`
    """
    with client(context) as tron:
        tron.drain_runner(runner)
        output.say(f"{runner} takes nothing new and finishes what it has in hand")
        if not ended(tron, runner, timeout):
            raise FuncatronError(f"{runner} has not ended after {timeout:g} s; it goes on: see `funcatron runners`")
    output.say(f"{runner} has ended")


def ended(tron: Client, runner: str, limit: float) -> bool:
    """Wait until a Runner is no more; False if that takes longer than `limit` seconds."""
    until, told = time.monotonic() + limit, None
    while time.monotonic() < until:
        try:
            found = tron.runner(runner)
        except NotFound:
            return True
        left = (found["figures"] or {}).get("in-flight")
        if left and left != told:
            output.say(f"  {left} in flight")
        told = left
        time.sleep(LOOK)
    return False
