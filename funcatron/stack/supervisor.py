"""The supervisor of the stack: its configuration, how it is started, and its control interface."""

from __future__ import annotations

import base64
import http.client
import os
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

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
        """Start supervisord, which goes to the background, and wait for its control socket."""
        self.folders.supervisor_socket.unlink(missing_ok=True)
        output = self.folders.log / "supervisord.out"
        with output.open("w") as stream:
            subprocess.run(
                [sys.executable, "-P", "-m", "funcatron.stack.supervise", str(self.folders.supervisor_config)],
                cwd=self.folders.data,
                env=base_environment(self.folders),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if not processes.wait_until(lambda: self.running() or not processes.of_stack(self.folders.data), START_TIMEOUT):
            processes.end(processes.of_stack(self.folders.data))
        if not self.running():
            said = output.read_text().strip()[-2000:]
            raise StackError(f"the supervisor does not start; it said:\n{said}\n(log: {output})")

    def call(self, method: str, *arguments: Any) -> Any:
        """Call one of supervisord's methods. Raises StackError when it cannot be reached or refuses."""
        connection = UnixConnection(self.folders.supervisor_socket)
        try:
            password = base64.b64encode(f"funcatron:{self.secret}".encode()).decode()
            headers = {"Content-Type": "text/xml", "Authorization": f"Basic {password}"}
            connection.request("POST", "/RPC2", xmlrpc.client.dumps(arguments, method), headers)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise StackError(f"the supervisor of {self.folders.data} answers with HTTP {response.status}")
            (value,), _ = xmlrpc.client.loads(response.read())
        except xmlrpc.client.Fault as err:
            raise StackError(f"the supervisor refuses {method}{arguments}: {err.faultString}") from err
        except (OSError, http.client.HTTPException, ExpatError) as err:
            raise StackError(f"the supervisor of {self.folders.data} does not answer: {err}") from err
        finally:
            connection.close()
        return value

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
        if self.states()[name].up:
            return
        try:
            self.call("supervisor.startProcess", name, False)
        except StackError:
            if not self.states()[name].up:  # it may have been restarted just now
                raise

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
