"""The supervisor's process: supervisord under our title, which also turns over the log files that nginx writes.

Run as `python -m funcatron.stack.supervise CONFIG`, in the data folder.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import setproctitle
from supervisor import events, supervisord  # type: ignore[import-untyped]  # it ships no types

# nginx with ten thousand waiting requests, and the broker, need more than the customary 1,024
OPEN_FILES = 65_536
LOG_BYTES = 20 * 1024 * 1024
LOG_BACKUPS = 3
NGINX_LOGS = (Path("log/access.log"),)
NGINX_PID = Path("nginx/nginx.pid")


def main() -> None:
    """Go to the background, into a session of our own, and run supervisord until it is told to stop."""
    config = sys.argv[1]
    if os.fork():
        os._exit(0)
    os.setsid()
    setproctitle.setproctitle("funcatron supervisor")
    raise_open_files()
    supervisord.Supervisor = Supervisor  # the one that its main makes
    supervisord.main(["--nodaemon", "--configuration", config])


class Supervisor(supervisord.Supervisor):  # type: ignore[misc]  # it ships no types
    """supervisord with what the stack needs besides."""

    def runforever(self) -> None:
        """Subscribe to its events (it forgets subscriptions made before it runs), and run."""
        events.subscribe(events.Tick60Event, lambda _: rotate())
        for kind in (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent):
            events.subscribe(kind, end_group)
        super().runforever()


def raise_open_files() -> None:
    """Let the parts open as many files as the machine allows, up to OPEN_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def end_group(event: Any) -> None:
    """Ask what a part that has died leaves of its process group to end, as it is asked itself.

    Workers of an nginx whose master was killed would keep the port, and no new master could start.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(event.process.pid, event.process.config.stopsignal)


def rotate(limit: int = LOG_BYTES) -> None:
    """Set aside the files that nginx has filled, and have it open new ones."""
    full = [file for file in NGINX_LOGS if file.exists() and file.stat().st_size >= limit]
    for file in full:
        for number in range(LOG_BACKUPS - 1, 0, -1):
            older = numbered(file, number)
            if older.exists():
                older.replace(numbered(file, number + 1))
        file.replace(numbered(file, 1))
    if full and NGINX_PID.exists():
        os.kill(int(NGINX_PID.read_text()), signal.SIGUSR1)


def numbered(file: Path, number: int) -> Path:
    """Return the name of a log file's backup."""
    return file.with_name(f"{file.name}.{number}")


if __name__ == "__main__":
    main()
