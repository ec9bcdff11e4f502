"""Commands about how deployments are scaled: scale, scaling."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from funcatron.cli import output
from funcatron.cli.funcs import AsJson, Deployed, client
from funcatron.cli.progress import Json, local_time

if TYPE_CHECKING:
    from funcatron.client import Client

SETTINGS = ("min", "max", "target-wait", "warm", "idle")
LEFT_OUT = frozenset({"queue", "name", "policy"})
"""What is no figure, or is shown by `scale`."""

LOOK = 1.0
"""Between two looks for new decisions, s: there is one a second at most."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (scale, scaling):
        app.command(rich_help_panel="Scaling")(command)


def scale(
    context: typer.Context,
    name: Deployed,
    least: Annotated[int | None, typer.Option("--min", min=0, help="Instances at least.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Instances at most.")] = None,
    target_wait: Annotated[float | None, typer.Option(help="How long a request may wait in the queue, s.")] = None,
    warm: Annotated[int | None, typer.Option(min=0, help="Instances that are kept ready while it is used.")] = None,
    idle: Annotated[float | None, typer.Option(help="Instances stay for so long without requests, s.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget first what was set before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set how a deployment is scaled, and show it. What is not named stays as it was; nothing is deployed anew.

    Where nothing is set, the spec's `x-funcatron.instances` or the policy decides. Without options: only show it.

    **Examples**

    - `funcatron scale petstore --min 0 --max 20 --target-wait 0.1`
    - `funcatron scale petstore --warm 2 --idle 300`
    - `funcatron scale petstore --reset`
    """
    values = (least, most, target_wait, warm, idle)
    given = {key: value for key, value in zip(SETTINGS, values, strict=True) if value is not None}
    with client(context) as tron:
        now = set_scaling(tron, name, given, reset=reset) if given or reset else tron.scaling(name)
    if as_json:
        output.emit_json(now)
        return
    shown = [f"{key} {now[key]:g}" for key in SETTINGS if now[key] is not None]
    output.say(f"{name}: {', '.join(shown) or 'nothing is set, the spec or the policy decides'}")


def set_scaling(tron: Client, name: str, given: Json, *, reset: bool) -> Json:
    """Change some settings, and none that somebody else changes at the same moment."""
    from funcatron.client import ApiError

    while True:
        now = tron.scaling(name)
        kept = {} if reset else {key: now[key] for key in SETTINGS}
        try:
            return tron.set_scaling(name, kept | given, now["revision"])
        except ApiError as err:
            if err.status != 412:  # else it was changed meanwhile: change that
                raise


def scaling(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Only of this deployment, or of `:runners` or `:trons`.", show_default="all")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with what is decided.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="So many of the last ones.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --watch, a line each.")] = False,
) -> None:
    """Show the decisions about how many instances run: the figures that went in, what came out, and why.

    The newest is the last. A decision is kept when it says something new.

    **Examples**

    - `funcatron scaling petstore`
    - `funcatron scaling petstore --watch`
    - `funcatron scaling --watch --json | jq .outputs`
    """
    with client(context) as tron:
        found = list(reversed(tron.decisions(name, limit)["decisions"]))
        if as_json and not watch:
            output.emit_json(found)
            return
        if not found and not watch:
            output.say("nothing was decided yet")
        with contextlib.suppress(KeyboardInterrupt):  # how watching is meant to end
            for one in watched(tron, name, found) if watch else found:
                line(one) if as_json else show(one)


def watched(tron: Client, name: str | None, found: list[Json]) -> Iterator[Json]:
    """Yield these decisions, then those that come, for ever."""
    last = found[-1]["id"] if found else 0
    yield from found
    while True:
        for one in tron.decisions_after(name, last):
            last = one["id"]
            yield one
        time.sleep(LOOK)


def show(one: Json) -> None:
    """Print a decision for people."""
    what = f"{one['name']} {one['sha'][:8]}".rstrip()
    output.say(f"{local_time(one['at'])}  {what}  {figures(one['outputs'])}")
    output.say(f"    {one['why']}")
    told = figures({key: value for key, value in measured(one["inputs"]).items() if key not in LEFT_OUT})
    if told:
        output.say(f"    from: {told}")


def measured(inputs: Json) -> Json:
    """Return the figures that a decision was made from, without what makes it possible to decide it again."""
    func: Json = inputs.get("func", inputs)
    return func


def line(one: Json) -> None:
    """Print a decision for programs that read line by line."""
    sys.stdout.write(json.dumps(one, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def figures(values: Json, within: str = "") -> str:
    """Return figures on one line; those that are not known are left out."""
    return ", ".join(told for key, value in values.items() if (told := figure(within + key, value)))


def figure(key: str, value: Any) -> str:
    """Return a figure with its name."""
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, dict):
        return figures(value, f"{key}.")
    if isinstance(value, float):
        return f"{key} {value:.4g}"
    return f"{key} {value if isinstance(value, (str, int)) else json.dumps(value)}"
