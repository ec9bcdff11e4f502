"""Funcatron itself: a private stack, started by the code of `make up`, and a second Frontend with the other routing."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.broker import private_settings
from benchmarks.processes import BenchError, Process, free_port, until
from benchmarks.procfs import family
from benchmarks.subjects.base import Subject, answers
from benchmarks.subjects.peers import GREET_QUERY
from funcatron.bundles import build
from funcatron.settings import Settings
from funcatron.stack import Stack, frontend, readiness
from funcatron.stack.folders import Folders

SPEC = Path(__file__).parent.parent / "spec"


class Frontend:
    """One more nginx on a stack's broker, with other settings than the stack's own."""

    def __init__(self, settings: Settings, folder: Path, password: str, **changes: object) -> None:
        """`folder` takes its configuration and logs; `changes` are settings."""
        update = {"data": folder, "http_port": free_port(), **changes}
        self.settings = settings.model_copy(update=update)
        self._folders, self._password = Folders(folder), password
        self._process: Process | None = None

    def start(self) -> None:
        """Start it and return when it is linked to the broker."""
        self._folders.make()
        frontend.write(self.settings, self._folders)
        environment = frontend.environment(self.settings, self._password)
        log, command = self._folders.log, frontend.command(self._folders)
        self._process = Process("nginx", command, log, env=environment, cwd=self.settings.data)
        ready = readiness.checks_of(self.settings, self._folders)["frontend"].ready
        self._process.wait_until(lambda: all(ready() for _ in range(16)))  # ask often enough to meet all workers

    def stop(self) -> None:
        """End it. Idempotent."""
        if self._process is not None:
            self._process.stop()
        self._process = None

    def pids(self) -> list[int]:
        """nginx's master and its workers."""
        if self._process is None:
            raise BenchError("the Frontend is not running")
        return family(self._process.pid)


class FuncatronServers:
    """What both routings share: broker, Tron, Runner, bundle. The stack's own Frontend routes direct."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = private_settings(folder / "stack", routing="direct")
        self.stack = Stack(self.settings)
        self._greet = f"{self.settings.frontend}/bench/greet?{GREET_QUERY}"
        self._firehose: Frontend | None = None
        self._running = False

    def start(self) -> None:
        """Bring the stack up with the bench's bundle. Idempotent."""
        if self._running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._running = True  # also a half-started one is to be stopped
        self.stack.up()
        self.deploy(bundle(self.folder))
        self._firehose = self.frontend("frontend-firehose", routing="firehose")
        self._firehose.start()

    def stop(self) -> None:
        """End all of it. Idempotent."""
        if not self._running:
            return
        with contextlib.ExitStack() as steps:
            steps.callback(self.stack.down)
            if self._firehose is not None:
                steps.callback(self._firehose.stop)
        self._running = False

    def frontend(self, name: str, **changes: object) -> Frontend:
        """One more Frontend on this stack, not started yet."""
        return Frontend(self.stack.settings, self.folder / name, self.stack.password(), **changes)

    def deploy(self, file: Path) -> str:
        """Deploy a bundle by the original's calls; returns its SHA once it serves."""
        sha = str(self.admin("add_func", file.read_bytes())["sha"])
        self.admin("enable", json.dumps({"sha": sha, "props": {}}).encode())
        if not until(answers(self._greet), 30):
            raise BenchError(f"the bench's bundle does not serve:\n{self.stack.tail('runner-1')}")
        return sha

    def admin(self, call: str, body: bytes | None = None) -> dict[str, Any]:
        """One call of the admin API, POST with a body, else GET; raises BenchError with what it answered."""
        request = urllib.request.Request(f"{self.settings.tron}/api/v1/{call}", data=body)
        if body is not None:
            request.add_header("Content-Type", "application/octet-stream")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as err:
            raise BenchError(f"the admin API answers {call} with {err.code}: {err.read().decode()}") from err

    def restart(self, *parts: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Stop parts, the last named first, do something, start them, and wait until requests are served."""
        supervisor = self.stack.supervisor
        for part in reversed(parts):
            supervisor.stop_part(part)
        meanwhile()
        checks = readiness.checks_of(self.settings, self.stack.folders)
        for part in parts:
            supervisor.start_part(part)
            if part in checks and not until(checks[part].ready, 60):
                raise BenchError(f"{part} is not ready again:\n{self.stack.tail(part)}")
        if not until(answers(self._greet), 30):
            raise BenchError(f"no request is served after a restart:\n{self.stack.tail(parts[-1])}")

    def pid(self, part: str) -> int:
        """The process id of one of the stack's parts."""
        return self.stack.supervisor.states()[part].pid

    def nginx(self, routing: str) -> list[int]:
        """The Frontend of a routing: its master, then its workers."""
        if routing == "direct":
            return family(self.pid("frontend"))
        if self._firehose is None:
            raise BenchError("the Frontend is not running")
        return self._firehose.pids()

    def url(self, routing: str) -> str:
        """The base URL of a routing's Frontend."""
        if routing == "direct" or self._firehose is None:
            return self.settings.frontend
        return self._firehose.settings.frontend


class Funcatron(Subject):
    """Funcatron by one of its two routings."""

    def __init__(self, servers: FuncatronServers, routing: str) -> None:
        self.name = f"funcatron-{routing}"
        self.servers, self.routing = servers, routing

    def start(self) -> None:
        self.servers.start()

    def stop(self) -> None:
        self.servers.stop()

    def url(self, operation: str) -> str:
        path = f"{self.servers.url(self.routing)}/bench/{operation}"
        return f"{path}?{GREET_QUERY}" if operation == "greet" else path

    def components(self) -> Mapping[str, Sequence[int]]:
        runner, *hosts = family(self.servers.pid("runner-1"))
        return {
            "broker": family(self.servers.pid("broker")),
            "nginx": self.servers.nginx(self.routing),
            "tron": family(self.servers.pid("tron")),
            "runner": [runner],
            "host": hosts,
        }


def bundle(folder: Path) -> Path:
    """Build the bench's bundle, a PEX."""
    return build(SPEC, folder / "bench.pex")
