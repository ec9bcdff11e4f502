"""The commands of `funcatron`, and what all of them share: global options, errors, exit codes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from funcatron import __version__
from funcatron.cli import funcs, invoke, letters, local, machines, migrate, output, scaling, versions
from funcatron.cli.invoke import FrontendAway
from funcatron.cli.original import translate
from funcatron.cli.output import Exit
from funcatron.cli.state import State
from funcatron.errors import FuncatronError, SettingsError

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=output.EXIT_CODES,
)


def version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        output.say(f"funcatron {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    data: Annotated[Path | None, typer.Option(help="Folder of everything that is written.", show_default="var")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file.", show_default="funcatron.toml")] = None,
    tron_url: Annotated[str | None, typer.Option(help="URL of the Tron's admin API.")] = None,
    token: Annotated[str | None, typer.Option(help="Bearer token of the admin API.")] = None,
    pairs: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other setting.")] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Serverless on your own cluster: functions and a Swagger file, behind nginx and a message broker.

    Settings come from a flag, else from the environment (FUNCATRON_HTTP_PORT=…), else from the file funcatron.toml;
    `funcatron config` shows each with where it came from.

    **Examples**

    - `funcatron up`
    - `funcatron bundle examples/python/petstore -o petstore.pex`
    - `funcatron deploy petstore.pex`
    - `funcatron --tron-url http://tron.example:3000 --token SECRET list --json`
    """
    if config is not None:
        os.environ["FUNCATRON_CONFIG"] = str(config)
    context.obj = State.of(pairs or [], data=data, tron_url=tron_url, admin_token=token)


for group in (local, funcs, versions, scaling, invoke, letters, machines, migrate):
    group.add_to(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Expected errors become one line on stderr, never a traceback."""
    try:
        app(translate(arguments), prog_name="funcatron")
    except SystemExit as err:
        return err.code if isinstance(err.code, int) else Exit.OK
    except FuncatronError as err:
        output.error(str(err))
        return exit_code(err)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Exit.FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return Exit.OK


def exit_code(err: FuncatronError) -> Exit:
    """Return the exit code of an error."""
    from funcatron.client import TronAway

    if isinstance(err, (TronAway, FrontendAway)):
        return Exit.UNREACHABLE
    return Exit.USAGE if isinstance(err, SettingsError) else Exit.FAILED
