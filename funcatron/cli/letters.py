"""The commands `dead-letters list | retry | drop`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from funcatron.cli import output
from funcatron.cli.funcs import AsJson, client

commands = typer.Typer(no_args_is_help=True, help="Messages that could not be delivered or failed with nobody waiting.")
Letter = Annotated[str, typer.Argument(help="Its id, from the list.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(commands, name="dead-letters", rich_help_panel="Funcs")


@commands.command("list")
def list_letters(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="So many of the oldest.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first: why each died, when, and of which request.

    **Examples**

    - `funcatron dead-letters list`
    """
    with client(context) as tron:
        letters = tron.dead_letters(limit)
    if as_json:
        output.emit_json(letters)
    elif not letters:
        output.say("there are no dead letters")
    else:
        rows = [
            (one["id"], at(one["at"]), one["action"] or "-", one["request-id"] or "-", one["reason"]) for one in letters
        ]
        output.table(("ID", "AT", "ACTION", "REQUEST", "REASON"), rows)


@commands.command()
def retry(context: typer.Context, letter: Letter) -> None:
    """Send a dead letter again.

    **Examples**

    - `funcatron dead-letters retry 4f2c81d0`
    """
    with client(context) as tron:
        tron.retry(letter)
    output.say(f"{letter} was sent again")


@commands.command()
def drop(context: typer.Context, letter: Letter) -> None:
    """Throw a dead letter away.

    **Examples**

    - `funcatron dead-letters drop 4f2c81d0`
    """
    with client(context) as tron:
        tron.drop(letter)
    output.say(f"{letter} is gone")


def at(milliseconds: int | None) -> str:
    """Return a time for people, in local time."""
    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000).strftime("%Y-%m-%d %H:%M:%S")
