"""Commands about the versions of a deployment: history, rollback, split, promote."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from funcatron.cli import output
from funcatron.cli.funcs import GRACE, READY_TIMEOUT, AsJson, Deployed, Ready, client, limit_of
from funcatron.cli.progress import Json, Progress, local_time, served, split_told
from funcatron.errors import SettingsError

Name = Annotated[str, typer.Argument(help="A deployment's name.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (history, rollback, split, promote):
        app.command(rich_help_panel="Versions")(command)


def history(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Of this deployment only, also of one that is gone.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="So many of the newest.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on from here: the last page says where.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was done to deployments: when, by whom, to which version, and what came of it. The newest first.

    As JSON, properties and settings are there as well; secrets among them are masked.

    **Examples**

    - `funcatron history petstore`
    - `funcatron history petstore -n 5 --cursor 1234`
    - `funcatron history --json | jq '.events[] | select(.outcome == "failed")'`
    """
    with client(context) as tron:
        page = tron.history_page(name, limit, cursor)
    if as_json:
        output.emit_json({"next": None, **page})
        return
    rows = [
        (local_time(one["at"]), one["name"], one["sha"][:8], one["what"], one["outcome"], one["who"], in_a_line(one))
        for one in page["events"]
    ]
    output.table(("AT", "NAME", "SHA", "WHAT", "OUTCOME", "WHO", ""), rows)
    if page.get("next"):
        of = f" {name}" if name else ""
        output.say(f"there is more: funcatron history{of} -n {limit} --cursor {page['next']}")


def rollback(
    context: typer.Context,
    name: Deployed,
    sha: Annotated[str | None, typer.Argument(help="Of what served before, or how it begins.")] = None,
    timeout: Ready = READY_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Go back to what served before, with the properties and settings that it had, and wait until it serves.

    Without a SHA: a deployment that is under way is given up, a split ends in favour of what served before it; else the
    version that served before the present one comes back. `funcatron history NAME` has the SHAs.

    **Examples**

    - `funcatron rollback petstore`
    - `funcatron rollback petstore 4f2c81d0 --timeout 30`
    """
    with client(context) as tron:
        before = tron.deployment(name)
        progress = Progress(quiet if as_json else output.say, before)
        begun = tron.rollback(before["name"], sha, limit_of(timeout))
        progress.show(begun)
        done = served(tron.wait(begun["name"], begun["sha"], timeout + GRACE, progress.show), "rolled back")
    tell(done, f"{done['name']} serves {done['sha'][:8]} at {done['url']}", as_json=as_json)


def split(
    context: typer.Context,
    name: Deployed,
    shares: Annotated[list[str], typer.Argument(metavar="SHA=PERCENT SHA=PERCENT", help="100 in all.")],
    sticky: Annotated[
        str, typer.Option(metavar="request-id|header:NAME", help="What decides; the same value gets the same version.")
    ] = "request-id",
    above: Annotated[
        str | None,
        typer.Option(
            "--rollback-above", metavar="RATE%", help="It ends by itself when more of its answers are errors."
        ),
    ] = None,
    window: Annotated[float, typer.Option(min=1, max=3600, help="Over which errors are counted, s.")] = 60.0,
    timeout: Ready = READY_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Let two versions serve side by side, and give each its share of the requests. One of them is what serves now.

    The other one, of which a stored bundle is enough, is loaded first. Other percentages later change the shares at
    once. `promote` gives all to one of them, `rollback` to what served before. Errors are answers 5xx; with
    `--rollback-above` the new version is taken out once it has more of them than that, and than the other one.

    **Examples**

    - `funcatron split petstore 4f2c81d0=90 77aa01bc=10`
    - `funcatron split petstore 4f2c81d0=50 77aa01bc=50 --sticky header:X-User`
    - `funcatron split petstore 4f2c81d0=95 77aa01bc=5 --rollback-above 5% --window 60`
    """
    wanted, rate = [share_of(one) for one in shares], rate_of(above) if above is not None else None
    with client(context) as tron:
        before = tron.deployment(name)
        progress = Progress(quiet if as_json else output.say, before)
        begun = tron.split(
            before["name"], wanted, sticky=sticky, rollback_above=rate, window=window, limit=limit_of(timeout)
        )
        progress.show(begun)
        done = tron.wait(begun["name"], begun["sha"], timeout + GRACE, progress.show, split=True)
        done = served(done, "split")
    tell(done, f"{done['name']} is split: {split_told(done['split'])}", as_json=as_json)


def promote(
    context: typer.Context,
    name: Deployed,
    sha: Annotated[str, typer.Argument(help="Of one of the two versions, or how it begins.")],
    as_json: AsJson = False,
) -> None:
    """Give all requests to one version of a split; the other one is drained.

    **Examples**

    - `funcatron promote petstore 77aa01bc`
    """
    with client(context) as tron:
        done = tron.promote(tron.deployment(name)["name"], sha)
    tell(done, f"{done['name']}: {done['sha'][:8]} gets all requests", as_json=as_json)


def share_of(text: str) -> tuple[str, int]:
    """Return SHA and percentage of `SHA=PERCENT`. Raises SettingsError."""
    found = re.fullmatch(r"([0-9a-fA-F]+)=(\d{1,3})\s?%?", text)
    if found is None:
        raise SettingsError(f"{text!r} is not SHA=PERCENT, as in 4f2c81d0=90")
    return found[1], int(found[2])


def rate_of(text: str) -> float:
    """Return the rate that `5%` or `0.05` says, from 0 to 1. Raises SettingsError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s?(%?)", text)
    rate = float(found[1]) / (100 if found[2] else 1) if found is not None else 1.0
    if rate >= 1:
        raise SettingsError(f"{text!r} is no rate of errors below 100 %: say it as 5% or 0.05")
    return rate


def in_a_line(event: Json) -> str:
    """Return the detail of an event on one line; `--json` has all of it."""
    first, *others = (event["detail"] or "").splitlines() or [""]
    return first + (" …" if others else "")


def tell(done: Json, message: str, *, as_json: bool) -> None:
    """Print how a command ended."""
    if as_json:
        output.emit_json(done)
    else:
        output.say(message)


def quiet(_: str) -> None:
    """Say nothing: what is printed is JSON."""
