"""Runs a long-lived part, `tron` or `runner ID`, without loading the rest of the command line: it stays in memory."""

from __future__ import annotations

import os
import socket
import sys

from funcatron.errors import FuncatronError


def main() -> None:
    """Run `tron` or `runner [ID]` as the arguments say, and exit with its code."""
    part, *rest = sys.argv[1:]
    sys.exit(serve(part, rest[0] if rest else None))


def serve(part: str, runner_id: str | None = None, **flags: object) -> int:
    """Run a part until it is told to stop (SIGTERM: gracefully); return its exit code.

    The process's title tells its role: `funcatron tron`, `funcatron runner ID`.
    """
    import setproctitle

    from funcatron import logs, settings

    try:
        loaded = settings.load(**flags)
        if part == "tron":
            from funcatron.tron.server import run as run_tron

            setproctitle.setproctitle("funcatron tron")
            logs.setup("tron", loaded.log_level)
            return run_tron(loaded)
        from funcatron.runner.server import run as run_runner

        identity = runner_id or f"{socket.gethostname()}-{os.getpid()}"
        setproctitle.setproctitle(f"funcatron runner {identity}")
        logs.setup("runner", loaded.log_level)
        return run_runner(loaded, identity)
    except FuncatronError as err:
        print(f"{part}: {err}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    main()
