"""The command `migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from funcatron.cli import output
from funcatron.cli.output import Exit
from funcatron.cli.state import State


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(rich_help_panel="Parts")(migrate)


def migrate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it is needed: exit code 1 if so. Nothing is changed.")
    ] = False,
) -> None:
    """Bring the Registry's tables to the revision that this Funcatron needs. Idempotent; nothing is lost.

    A Tron that finds older tables does not start and names this command. All of it is one transaction: it is done, or
    nothing is. The Registry is the one that the setting `registry` names.

    **Examples**

    - `funcatron migrate --check`
    - `funcatron --set registry=postgresql://funcatron@db.example/funcatron migrate`
    """
    from funcatron.stores import migrate as migrations
    from funcatron.stores.schema import HEAD

    state: State = context.obj
    url = state.settings.registry_url
    if not check:
        before, after = migrations.migrate(url)
        output.say(_told(before, after))
        return
    found = migrations.revision_of(url)
    if found is None:
        output.say(f"there are no tables yet: the first start makes them, at revision {HEAD}")
    elif found == HEAD:
        output.say(f"the Registry is at revision {HEAD}: nothing is to do")
    else:
        output.say(f"the Registry is at revision {found} and is to be migrated to {HEAD}")
        raise typer.Exit(Exit.FAILED)


def _told(before: str | None, after: str) -> str:
    if before is None:
        return f"the Registry was new: its tables are made, at revision {after}"
    if before == after:
        return f"the Registry is at revision {after} already"
    return f"the Registry was migrated from revision {before} to {after}"
