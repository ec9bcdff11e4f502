"""How a component is started on this machine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from funcatron.settings import Settings, load
from funcatron.substrates.process.proc import MARKER, Identity, stat

# The process waits until it is on record, and ends if whoever made it dies before: none runs that nobody knows of.
SCRIPT = 'umask "$1"; cd "$2" || exit; shift 2; read -r _ || exit 0; exec "$@" </dev/null'
RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Launch:
    """How one instance is started: its command, in which "{id}" stands for its id, its whole environment, its working
    folder and umask. Told to end, it may go on for `grace` seconds."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    grace: float
    umask: str = "022"

    def command(self, instance: str) -> tuple[str, ...]:
        """Return the command of an instance."""
        return tuple(it.replace("{id}", instance) for it in self.argv)


@dataclass(frozen=True, slots=True)
class Started:
    """A process that waits for `go`."""

    identity: Identity
    pipe: int

    def go(self) -> None:
        """Let it run."""
        try:
            with suppress(BrokenPipeError):  # it has been killed
                os.write(self.pipe, b"\n")
        finally:
            os.close(self.pipe)

    def drop(self) -> None:
        """Let it end instead, and bury it."""
        os.close(self.pipe)
        os.waitpid(self.identity.pid, 0)


def launches(settings: Settings) -> dict[str, Launch]:
    """Return how Runners and Trons are started: as `make up` does, with the environment and settings of this Tron."""
    dropped = ("SUPERVISOR_", MARKER)
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    # setproctitle would write titles over the environment in /proc, and with it over the marker
    env |= {"SPT_NOENV": "1", "PYTHONUNBUFFERED": "1", **_flags(settings)}
    python = (sys.executable, "-P", "-m", "funcatron.cli.serve")
    here, grace = Path.cwd(), settings.substrate_grace
    return {
        "runner": Launch((*python, "runner", "{id}"), env, here, grace),
        # each Tron needs a port of its own; Func hosts, which may run as other users, read nothing of a Tron's
        "tron": Launch((*python, "tron"), {**env, "FUNCATRON_ADMIN_PORT": "0"}, here, grace, umask="077"),
    }


def _flags(settings: Settings) -> dict[str, str]:
    """Return, as environment, the settings that were given to this process by flags: its children have the rest."""
    mine, theirs = settings.model_dump(), load().model_dump()
    changed = {name: value for name, value in mine.items() if value is not None and value != theirs[name]}
    return {f"FUNCATRON_{name.upper()}": _text(value) for name, value in changed.items()}


def _text(value: object) -> str:
    return str(value.get_secret_value()) if hasattr(value, "get_secret_value") else str(value)


def _inherited() -> list[int]:
    """Return the descriptors that this process was started with and would pass on: pipes that somebody waits at, locks.
    Those that Python makes are not passed on."""
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # closed meanwhile
            if number > 2 and os.get_inheritable(number):
                found.append(number)
    return found


def start(how: Launch, command: tuple[str, ...], env: Mapping[str, str], log: Path) -> Started:
    """Make a process in a session of its own that waits for `go`; what it writes is appended to the log.

    Command and environment are those of the instance, the rest is as `how` says.

    Raises OSError if the machine has no room for it.
    """
    waiting, pipe = os.pipe()
    try:
        pid = os.posix_spawn(
            "/bin/sh",
            ("/bin/sh", "-c", SCRIPT, "funcatron", how.umask, str(how.cwd), *command),
            dict(env),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, waiting, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, it) for it in _inherited()),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=RESET,
        )
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(waiting)
    found = stat(pid)
    if found is None:  # somebody else buries this process's children
        os.close(pipe)
        raise ProcessLookupError(f"process {pid} has gone at once")
    return Started(found.identity, pipe)
