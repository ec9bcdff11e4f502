"""A whole private stack for tests: booted by the code of `make up`, on free ports, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from funcatron.settings import Settings
from funcatron.stack import Stack, processes, readiness
from funcatron.stack.processes import Process, wait_until
from funcatron.stack.supervisor import State

PORTS = ("http_port", "admin_port", "amqp_port", "stomp_port", "management_port", "dist_port", "epmd_port")
# how the process of each role shows in `ps`
ROLES = {
    "supervisor": r"funcatron supervisor",
    "broker": r"\S*beam(\.smp)? ",
    "tron": r"funcatron tron",
    "runner": r"funcatron runner ",
    "host": r"funcatron host ",
    "nginx": r"nginx: master",
    "nginx worker": r"nginx: worker process(?! is shutting down)",
}


def free_ports(count: int) -> list[int]:
    """Return so many different TCP ports that are free now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class PrivateStack:
    """The stack below one folder. `up()` and `down()` are those of the command line; `kill()` takes parts away.

    Any setting can be given by name; ports are free ones unless given.
    """

    def __init__(self, data: Path, **settings: Any) -> None:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.settings = Settings(**{"data": data, **ports, **settings})
        self.stack = Stack(self.settings, say=print)
        self.data = self.stack.folders.data

    @property
    def url(self) -> str:
        """The Frontend's URL."""
        return self.settings.frontend

    @property
    def admin(self) -> str:
        """The admin API's URL."""
        return self.settings.tron

    @property
    def password(self) -> str:
        """The broker's password."""
        return self.settings.password

    def up(self) -> PrivateStack:
        """Boot it and wait until all parts are ready."""
        self.stack.up()
        return self

    def down(self) -> None:
        """Stop it gracefully."""
        self.stack.down()

    def environment(self) -> dict[str, str]:
        """Return an environment in which `funcatron` speaks with this stack."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FUNCATRON_")}
        wanted = {"data": self.data} | {name: getattr(self.settings, name) for name in self.settings.model_fields_set}
        return clean | {f"FUNCATRON_{name.upper()}": str(value) for name, value in wanted.items()}

    def processes(self, role: str | None = None) -> list[Process]:
        """Return its processes, or those of one role."""
        every = processes.of_stack(self.data)
        return every if role is None else [one for one in every if re.match(ROLES[role], one.command)]

    def kill(self, role: str, number: signal.Signals = signal.SIGKILL, count: int = 1) -> list[Process]:
        """Send a signal to `count` processes of a role, wait until they have gone (SIGKILL, SIGTERM), return them."""
        victims = self.processes(role)[:count]
        assert len(victims) == count, f"{len(victims)} processes of role {role!r} run, {count} were to be killed"
        for victim in victims:
            os.kill(victim.pid, number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            assert wait_until(lambda: not any(victim.alive() for victim in victims), 10), f"{role} does not end"
        return victims

    def states(self) -> dict[str, State]:
        """Return what the supervisor says of each part."""
        return self.stack.supervisor.states()

    def stop_part(self, name: str) -> None:
        """Have the supervisor stop a part: `broker`, `tron`, `runner-1`, `frontend` …"""
        self.stack.supervisor.stop_part(name)

    def start_part(self, name: str) -> None:
        """Have the supervisor start a part; does not wait for readiness."""
        self.stack.supervisor.start_part(name)

    def restart_part(self, name: str) -> None:
        """Stop and start a part; does not wait for readiness."""
        self.stop_part(name)
        self.start_part(name)

    def wait_ready(self, *names: str, timeout: float = 30.0) -> None:
        """Wait until the parts named (all by default) are ready."""
        checks = readiness.checks_of(self.settings, self.stack.folders)
        for name in names or tuple(checks):
            assert wait_until(checks[name].ready, timeout), f"{name} is not ready after {timeout} s:\n{self.log(name)}"

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
        """Wait until a condition holds."""
        assert wait_until(condition, timeout), f"not so after {timeout} s: {what}"

    def log(self, name: str, lines: int = 40) -> str:
        """Return the last lines of a part's log."""
        return self.stack.tail(name, lines)

    def logs(self) -> str:
        """Return the last lines of all logs, for a test's failure."""
        files = sorted(file.stem for file in self.stack.folders.log.glob("*.log"))
        return "\n".join(f"--- {name}\n{self.log(name)}" for name in files)


@contextmanager
def running(data: Path, **settings: Any) -> Iterator[PrivateStack]:
    """Boot a private stack, and take it down at the end whatever happened."""
    stack = PrivateStack(data, **settings)
    try:
        yield stack.up()
    finally:
        stack.down()
        left = stack.processes()
        assert not left, f"processes are left: {left}"
