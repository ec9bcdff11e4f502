"""The ports of the stack: which ones there are, and whether they are free."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from funcatron.settings import Settings
from funcatron.stack import broker, processes
from funcatron.stack.folders import StackError


@dataclass(frozen=True)
class Port:
    """One TCP port that the stack needs, and the setting that changes it."""

    setting: str
    number: int
    address: str
    use: str

    @property
    def variable(self) -> str:
        """The environment variable that changes it."""
        return "FUNCATRON_" + self.setting.upper()


def ports_of(settings: Settings) -> list[Port]:
    """Return every port that these settings make the stack listen on."""
    own = broker.LISTENER
    uses = [
        ("http_port", settings.bind, "HTTP of the Frontend"),
        ("admin_port", settings.admin_host, "admin API of the Tron"),
    ]
    brokers = [
        ("amqp_port", own, "AMQP of the broker"),
        ("stomp_port", own, "STOMP of the broker"),
        ("management_port", own, "management of the broker"),
        ("dist_port", own, "Erlang distribution of the broker"),
        ("epmd_port", own, "Erlang port mapper of the broker"),
    ]
    uses += brokers if broker.is_own(settings) else []
    return [Port(name, getattr(settings, name), address, use) for name, address, use in uses]


def check(wanted: Iterable[Port]) -> None:
    """Raise StackError if ports are taken or named twice: which, by whom, and the setting that changes it."""
    ports = list(wanted)
    problems = clashes(ports) + [describe(port) for port in ports if taken(port)]
    if problems:
        raise StackError("\n".join(problems))


def clashes(ports: list[Port]) -> list[str]:
    """Return a sentence for each port that two settings name."""
    first: dict[int, Port] = {}
    problems = []
    for port in ports:
        other = first.setdefault(port.number, port)
        if other is not port:
            problems.append(f"{other.variable} and {port.variable} are both {port.number}: they must differ")
    return problems


def taken(port: Port) -> bool:
    """Can the port not be bound? Raises StackError when the address is not one of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(port.address, port.number, type=socket.SOCK_STREAM)[0]
    except OSError as err:
        raise StackError(f"cannot listen on {port.address!r} ({port.use}): {err.strerror}") from err
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
            trial.listen(1)
        except OSError as err:
            if err.errno == errno.EADDRINUSE:
                return True
            raise StackError(
                f"cannot listen on {port.address} port {port.number} ({port.use}): {err.strerror}"
            ) from err
    return False


def describe(port: Port) -> str:
    """Return what to tell of a taken port."""
    holders = [process for process in map(processes.read, processes.listeners(port.number)) if process]
    who = "; ".join(f"process {process.pid}: {shortened(process.command)}" for process in holders)
    return (
        f"port {port.number} ({port.use}) is taken by {who or 'a process of another user'}.\n"
        f"  Stop that, or choose another port: {port.variable}=… in the environment, "
        f"{port.setting} = … in funcatron.toml, or --set {port.setting}=…"
    )


def shortened(command: str, length: int = 120) -> str:
    """Cut a long command line."""
    return command if len(command) <= length else command[: length - 1] + "…"
