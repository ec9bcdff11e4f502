"""The command line: `funcatron`. `main` is its entry point; each command imports what it needs when it runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code (see `funcatron --help`)."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["tron"], ["runner"]) and not {"--help", "-h"} & set(arguments):
        from funcatron.cli.serve import main as serve

        serve()
    from funcatron.cli.app import run

    sys.exit(run(arguments))
