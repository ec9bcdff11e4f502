"""The parts of the stack as the supervisor sees them: command, environment, order, and how each is stopped."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field

from funcatron.settings import Settings
from funcatron.stack import broker, frontend
from funcatron.stack.folders import Folders
from funcatron.stack.processes import MARKER

# What parts may see of the environment of whoever starts the stack; settings reach them by a file.
INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "COVERAGE_PROCESS_START",
)


# Func hosts, which may run as other users, read nothing of the Tron's or the broker's
PRIVATE = "077"


@dataclass(frozen=True)
class Part:
    """One supervised program. Lower priorities start first and stop last; times are seconds."""

    name: str
    command: tuple[str, ...]
    priority: int
    stop_wait: int
    stop_signal: str = "TERM"
    umask: str = "022"
    environment: dict[str, str] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    """Files, relative to the data folder, that an earlier run may have left and that keep it from starting."""

    def script(self) -> str:
        """Return the shell script that becomes this program, so that paths need quoting by one tool's rules only."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        removal = [f"rm -f -- {shlex.join(self.stale)}"] if self.stale else []
        return "\n".join(["#!/bin/sh", *exports, *removal, f"exec {shlex.join(self.command)}", ""])


def parts_of(settings: Settings, folders: Folders, password: str) -> list[Part]:
    """Return the parts in the order in which they start.

    They stop in the opposite order: the Frontend takes no more and waits for what is in flight, then the Runners
    finish, then the Tron, and at last the broker, so that `make down` under load loses nothing.
    """
    waiting = int(settings.request_timeout) + frontend.SHUTDOWN_SLACK + 5
    working = int(settings.func_timeout) + 5
    python = (sys.executable, "-P", "-m", "funcatron.cli.serve")
    ours = {"FUNCATRON_CONFIG": str(folders.settings), "PYTHONUNBUFFERED": "1"}
    runners = [
        Part(f"runner-{number}", (*python, "runner", f"runner-{number}"), 40, working, environment=ours)
        for number in range(1, settings.runners + 1)
    ]
    gate = Part(
        "frontend",
        frontend.command(folders),
        50,
        waiting,
        stop_signal="QUIT",
        environment=frontend.environment(settings, password),
        stale=(frontend.STATUS_SOCKET,),
    )
    brokers = broker_parts(settings, folders) if broker.is_own(settings) else []
    return [*brokers, Part("tron", (*python, "tron"), 30, 15, umask=PRIVATE, environment=ours), *runners, gate]


def broker_parts(settings: Settings, folders: Folders) -> list[Part]:
    """Return the broker and Erlang's port mapper, which the broker would start by itself and leave behind."""
    environment = broker.environment(settings, folders)
    mapper = (broker.epmd_program(), "-port", str(settings.epmd_port), "-address", broker.LISTENER)
    return [
        Part("epmd", mapper, 10, 5, environment={"HOME": environment["HOME"]}),
        Part("broker", (broker.server_program(),), 20, 30, umask=PRIVATE, environment=environment),
    ]


def base_environment(folders: Folders) -> dict[str, str]:
    """Return the environment of the supervisor itself, which every part inherits."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    kept.setdefault("LANG", "C.UTF-8")
    # setproctitle would write titles over the environment in /proc, and with it over the marker
    return {**kept, "HOME": str(folders.data), "SPT_NOENV": "1", MARKER: str(folders.data)}
