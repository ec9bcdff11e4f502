"""The supervisor of the stack: its configuration, how it is started, and its control interface."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funcatron.stack import processes
from funcatron.stack.folders import Folders, StackError, write_private
from funcatron.stack.parts import Part, base_environment
from funcatron.stack.unix import UnixConnection

START_TIMEOUT = 15.0
# Relative paths count from the data folder, in which supervisord runs: no path of the machine needs quoting.
HEAD = """\
; Written by `funcatron up`; changes are lost.
[supervisord]
nodaemon = true
silent = true
logfile = log/supervisor.log
logfile_maxbytes = 5MB
logfile_backups = 2
pidfile = run/supervisord.pid
childlogdir = log
umask = 022
{user}
[unix_http_server]
file = {socket}
chmod = 0600
username = funcatron
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
PROGRAM = """
[program:{part.name}]
command = /bin/sh run/parts/{part.name}
priority = {part.priority}
autostart = false
autorestart = true
startsecs = 1
startretries = 10
umask = {part.umask}
stopsignal = {part.stop_signal}
stopwaitsecs = {part.stop_wait}
killasgroup = true
redirect_stderr = true
stdout_logfile = log/{part.name}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 3
"""


@dataclass(frozen=True)
class State:
    """What the supervisor says of a part."""

    name: str
    state: str
    pid: int
    started: int
    description: str

    @property
    def up(self) -> bool:
        """Is its process there?"""
        return self.state in {"STARTING", "RUNNING"}

    @property
    def failed(self) -> bool:
        """Has the supervisor given up on it?"""
        return self.state in {"FATAL", "UNKNOWN"}


class UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        """Return a new connection for each call: a supervisor that was restarted meanwhile is met as well."""
        _, self._extra_headers, _ = self.get_host_info(str(host))
        return UnixConnection(self.path)


class Supervisor:
    """Starts the supervisor of a data folder, and talks to it."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders

    @property
    def secret(self) -> str:
        """The password of its control interface (the socket is for the owner only as well)."""
        return self.folders.secret("supervisor")

    def write(self, parts: Iterable[Part]) -> None:
        """Write its configuration and a start script for each part."""
        user = "user = root\n" if os.getuid() == 0 else ""
        text = HEAD.format(socket=escaped(self.folders.supervisor_socket), user=user, password=self.secret)
        scripts = self.folders.run / "parts"
        scripts.mkdir(mode=0o700, exist_ok=True)
        for part in parts:
            write_private(scripts / part.name, part.script())
            text += PROGRAM.format(part=part)
        write_private(self.folders.supervisor_config, text)

    def start(self) -> None:
        """Start supervisord in a session of its own and wait for its control socket."""
        self.folders.supervisor_socket.unlink(missing_ok=True)
        with (self.folders.log / "supervisord.out").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "funcatron.stack.supervise", str(self.folders.supervisor_config)],
                cwd=self.folders.data,
                env=base_environment(self.folders),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        answered = processes.wait_until(lambda: process.poll() is not None or self.running(), START_TIMEOUT)
        if not answered or process.returncode is not None:
            process.kill()
            said = Path(output.name).read_text().strip()[-2000:]
            raise StackError(f"the supervisor does not start; it said:\n{said}\n(log: {output.name})")

    def call(self, method: str, *arguments: Any) -> Any:
        """Call one of supervisord's methods. Raises StackError when it cannot be reached or refuses."""
        try:
            transport = UnixTransport(self.folders.supervisor_socket)
            proxy = xmlrpc.client.ServerProxy(f"http://funcatron:{self.secret}@localhost", transport=transport)
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as err:
            raise StackError(f"the supervisor refuses {method}{arguments}: {err.faultString}") from err
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as err:
            raise StackError(f"the supervisor of {self.folders.data} does not answer: {err}") from err

    def running(self) -> bool:
        """Does it answer?"""
        try:
            return bool(self.call("supervisor.getState")["statename"] == "RUNNING")
        except StackError:
            return False

    def pid(self) -> int:
        """Return its process id."""
        return int(self.call("supervisor.getPID"))

    def states(self) -> dict[str, State]:
        """Return what it says of each part, by name."""
        return {
            info["name"]: State(info["name"], info["statename"], info["pid"], info["start"], info["description"])
            for info in self.call("supervisor.getAllProcessInfo")
        }

    def start_part(self, name: str) -> None:
        """Start a part if it is not up; does not wait."""
        if not self.states()[name].up:
            self.call("supervisor.startProcess", name, False)

    def stop_part(self, name: str) -> None:
        """Stop a part and wait for it."""
        self.call("supervisor.stopProcess", name, True)

    def stop(self, timeout: float) -> bool:
        """Stop all parts, the last started first, then the supervisor; return whether it ended in time."""
        process = processes.read(self.pid())
        self.call("supervisor.shutdown")
        return process is None or processes.wait_until(lambda: not process.alive(), timeout)


def escaped(path: Path) -> str:
    """Return a path as supervisord's configuration wants it."""
    return str(path).replace("%", "%%")
